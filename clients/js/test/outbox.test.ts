import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SkywaveError } from '../src/index.js';
import { ScriptedServer, type Json, type Link } from './support/scripted.js';

const ack = (offset: number, duplicate = false) => ({ published: { epoch: 'a', offset, duplicate } });
const data = (link: Link) => link.all('publish').map((message) => message.publish.data);

async function reconnect(server: ScriptedServer, link: Link): Promise<Link> {
  link.lose();
  await server.env.advance(1_000);
  const next = await server.link();
  await next.greet(server.env);
  return next;
}

test('resolves with the position and carries an id', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const published = client.publish('chat:1', { text: 'hello' });
  assert.equal(client.pending, 1);
  const message = await link.answer(server.env, 'publish', ack(15));
  assert.match(message.publish.id, /^[0-9A-Z]{26}$/);
  assert.deepEqual(await published, { id: message.publish.id, position: { epoch: 'a', offset: 15 }, duplicate: false });
  assert.equal(client.pending, 0);
});

test('in an ephemeral channel there is no position', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const published = client.publish('live:1', 1, { id: 'mine' });
  await link.answer(server.env, 'publish', { published: { duplicate: false } });
  assert.deepEqual(await published, { id: 'mine', position: undefined, duplicate: false });
});

test('what was published before there was a connection is sent once there is one', async () => {
  const server = new ScriptedServer();
  const client = server.client();
  const link = await server.link();
  const published = client.publish('chat:1', 'early');
  await link.greet(server.env);
  await link.answer(server.env, 'publish', ack(1));
  await published;
});

test('after a reconnect the unacknowledged are sent again: same ids, same order, before newer ones', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const results = ['a', 'b', 'c'].map((text) => client.publish('chat:1', text));
  await link.answer(server.env, 'publish', ack(1));
  link.lose();
  results.push(client.publish('chat:1', 'd'));
  const first = link.all('publish');
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env);
  assert.deepEqual(data(next), ['b', 'c', 'd']);
  assert.deepEqual(next.all('publish').slice(0, 2).map((m) => m.publish.id), first.slice(1).map((m) => m.publish.id));
  for (const [offset, duplicate] of [[2, true], [3, false], [4, false]] as const) await next.answer(server.env, 'publish', ack(offset, duplicate));
  assert.deepEqual((await Promise.all(results)).map(({ position, duplicate }) => [position?.offset, duplicate]), [[1, false], [2, true], [3, false], [4, false]]);
});

test('only so many are under way at a time', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected({ outbox: { inFlight: 2 } });
  for (const text of ['a', 'b', 'c', 'd']) void client.publish('chat:1', text);
  await server.env.settle();
  assert.deepEqual(data(link), ['a', 'b']);
  await link.answer(server.env, 'publish', ack(1));
  await server.env.settle();
  assert.deepEqual(data(link), ['a', 'b', 'c']);
});

test('a full outbox says so at once', async () => {
  const server = new ScriptedServer();
  const client = server.client({ outbox: { entries: 2, bytes: 200 } });
  void client.publish('chat:1', 1).catch(() => {});
  await assert.rejects(client.publish('chat:1', 'x'.repeat(300)), { code: 'outbox_full', outcomeUnknown: false });
  void client.publish('chat:1', 2).catch(() => {});
  await assert.rejects(client.publish('chat:1', 3), { code: 'outbox_full' });
  assert.equal(client.pending, 2);
});

test('what cannot be sent is refused before it is queued', async () => {
  const server = new ScriptedServer();
  const { client } = await server.connected();
  const cycle: Json = {};
  cycle['self'] = cycle;
  await assert.rejects(client.publish('chat:1', cycle), { code: 'invalid_data' });
  await assert.rejects(client.publish('chat:1', 10n), { code: 'invalid_data' });
  await assert.rejects(client.publish('chat:1', 'é'.repeat(40_000)), { code: 'too_large' });
  assert.equal(client.pending, 0);
});

test('a refusal for good rejects, and the rest goes on', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const refused = assert.rejects(client.publish('user:7', 1), { name: 'SkywaveError', code: 'forbidden', outcomeUnknown: false });
  const taken = client.publish('chat:1', 2);
  await link.answer(server.env, 'publish', { error: { code: 'forbidden', message: 'no' } });
  await link.answer(server.env, 'publish', ack(1));
  await refused;
  await taken;
});

test('a refusal for now makes the channel wait and goes first; other channels go on', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected({ outbox: { inFlight: 1 } });
  const results = [client.publish('chat:1', 'a'), client.publish('chat:1', 'b'), client.publish('chat:2', 'c')];
  await link.answer(server.env, 'publish', { error: { code: 'log_unavailable', message: 'disk full', retry_after_ms: 2_000 } });
  await link.answer(server.env, 'publish', ack(1));
  assert.deepEqual(data(link), ['a', 'c']);
  await server.env.advance(2_500);
  await link.answer(server.env, 'publish', ack(1));
  await link.answer(server.env, 'publish', ack(2));
  assert.deepEqual(data(link), ['a', 'c', 'a', 'b']);
  await Promise.all(results);
});

test('an acknowledgement that does not come makes it ask again under the same id', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const published = client.publish('chat:1', 'a', { id: 'once' });
  await link.expect(server.env, 'publish');
  await server.env.advance(10_000);
  await link.answer(server.env, 'ping', { pong: {} });
  await server.env.advance(1_000);
  const again = await link.answer(server.env, 'publish', ack(7, true));
  assert.equal(again.publish.id, 'once');
  assert.equal((await published).position?.offset, 7);
});

test('giving up tells whether the outcome is known', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const sent = assert.rejects(client.publish('chat:1', 'a', { timeoutMs: 5_000 }), { code: 'timeout', outcomeUnknown: true });
  await server.env.advance(5_000);
  await sent;
  link.lose();
  const unsent = assert.rejects(client.publish('chat:1', 'b', { timeoutMs: 100 }), { code: 'timeout', outcomeUnknown: false });
  await server.env.advance(100);
  await unsent;
  const closed = assert.rejects(client.publish('chat:1', 'c'), (error: SkywaveError) => error.code === 'closed' && !error.outcomeUnknown);
  client.close();
  await closed;
});

test('a given-up publication is not sent after all', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  link.lose();
  const given = assert.rejects(client.publish('chat:1', 'gone', { timeoutMs: 100 }));
  await server.env.advance(100);
  await given;
  const next = await reconnect(server, link).catch(() => server.link());
  assert.deepEqual(data(await next), []);
});

test('a token refused for a publication is replaced once', async () => {
  const server = new ScriptedServer();
  let tokens = 0;
  const { client, link } = await server.connected({ getToken: () => `t${++tokens}` });
  const published = client.publish('chat:1', 'a');
  await link.answer(server.env, 'publish', { error: { code: 'token_expired', message: 'old' } });
  const refresh = await link.answer(server.env, 'refresh', { refreshed: {} });
  assert.equal(refresh.refresh.token, 't2');
  await server.env.advance(1_000);
  await link.answer(server.env, 'publish', ack(1));
  await published;
});

test('a pause rejects nothing: what waits is sent when the application connects again', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const results = [client.publish('chat:1', 'a')];
  await link.expect(server.env, 'publish');
  client.disconnect();
  assert.equal(client.state, 'disconnected');
  results.push(client.publish('chat:1', 'b'));
  await server.env.advance(60_000);
  client.connect();
  const next = await server.link(2);
  await next.greet(server.env);
  assert.deepEqual(data(next), ['a', 'b']);
  await next.answer(server.env, 'publish', ack(1));
  await next.answer(server.env, 'publish', ack(2));
  await Promise.all(results);
});
