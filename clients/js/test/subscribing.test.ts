import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pub, record, ScriptedServer } from './support/scripted.js';

const stood = { subscribed: { channel: 'chat:1', epoch: 'a', offset: 0 } };

test('the same channel is the same subscription; presence can be added', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1');
  await link.answer(server.env, 'subscribe', stood);
  assert.equal(client.subscribe('chat:1'), channel);
  assert.equal(client.subscribe('chat:1', { presence: true }), channel);
  await link.expect(server.env, 'unsubscribe');
  assert.equal((await link.expect(server.env, 'subscribe')).subscribe.presence, true);
});

test('joins and leaves', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1', { presence: true });
  const log = record(channel, 'join', 'leave');
  await link.answer(server.env, 'subscribe', stood);
  link.say({ join: { channel: 'chat:1', client: 'c2', user: 'ada' } }, { leave: { channel: 'chat:1', client: 'c3' } });
  assert.deepEqual(log, [{ name: 'join', event: { client: 'c2', user: 'ada' } }, { name: 'leave', event: { client: 'c3' } }]);
  const members = channel.presence();
  await link.answer(server.env, 'presence', { presence: { channel: 'chat:1', members: [{ client: 'c2', user: 'ada' }] } });
  assert.deepEqual(await members, [{ client: 'c2', user: 'ada' }]);
});

test('after unsubscribe nothing comes, and subscribing again is a new start', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1');
  const log = record(channel, 'publication', 'unsubscribed');
  await link.answer(server.env, 'subscribe', stood);
  channel.unsubscribe();
  link.say(pub('chat:1', 1));
  assert.deepEqual(log, [{ name: 'unsubscribed', event: {} }]);
  await link.expect(server.env, 'unsubscribe');
  assert.notEqual(client.subscribe('chat:1'), channel);
});

test('a refusal for good ends it, with the reason', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('user:7');
  const log = record(channel, 'error', 'unsubscribed');
  await link.answer(server.env, 'subscribe', { error: { code: 'forbidden', message: 'no' } });
  assert.deepEqual(log.map(({ name, event }) => [name, event.error.code]), [['error', 'forbidden'], ['unsubscribed', 'forbidden']]);
  assert.equal(channel.state, 'unsubscribed');
});

test('a refusal for now is tried again when the server says', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1');
  const log = record(channel, 'error');
  await link.answer(server.env, 'subscribe', { error: { code: 'rate_limited', message: 'slow down', retry_after_ms: 3_000 } });
  assert.equal(log[0]?.event.retryInMs, 3_500);
  await server.env.advance(3_500);
  await link.answer(server.env, 'subscribe', stood);
  assert.equal(channel.state, 'subscribed');
});

test('the server may end a subscription', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1');
  const log = record(channel, 'unsubscribed');
  await link.answer(server.env, 'subscribe', stood);
  link.say({ unsubscribed: { channel: 'chat:1', code: 'forbidden', message: 'not any more' } });
  assert.equal(log[0]?.event.error.code, 'forbidden');
});

test('ephemeral publications are delivered as they come, without a position', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected({}, 'webtransport');
  const channel = client.subscribe('live:1');
  const log = record(channel, 'publication', 'position');
  await link.answer(server.env, 'subscribe', { subscribed: { channel: 'live:1' } });
  link.say({ pub: { channel: 'live:1', data: { x: 1 } } }, { pub: { channel: 'live:1', data64: 'AP8=' } });
  assert.deepEqual(log.map(({ event }) => event.data), [{ x: 1 }, Uint8Array.of(0, 255)]);
  assert.equal(channel.publishEphemeral({ typing: true }), true);
  assert.deepEqual(link.datagrams, [{ publish: { channel: 'live:1', data: { typing: true } } }]);
  link.lose();
  assert.equal(channel.publishEphemeral({ typing: true }), false);
});

test('without datagrams an ephemeral publication goes with the rest, without an id', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  assert.equal(client.publishEphemeral('live:1', Uint8Array.of(0, 255)), true);
  assert.deepEqual(await link.expect(server.env, 'publish'), { publish: { channel: 'live:1', data64: 'AP8=' } });
});

test('history is a page of publications with positions', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const page = client.history('chat:1', { before: 3, limit: 2, reverse: true });
  const ask = await link.answer(server.env, 'history', {
    history: { channel: 'chat:1', epoch: 'a', offset: 9, publications: [{ offset: 2, id: 'm2', data: 'two', time: 2 }, { offset: 1, data: 'one', time: 1 }] },
  });
  assert.deepEqual(ask.history, { channel: 'chat:1', after: 0, before: 3, limit: 2, reverse: true });
  const { head, publications } = await page;
  assert.equal(head, 9);
  assert.deepEqual(publications.map(({ position, data }) => [position, data]), [[{ epoch: 'a', offset: 2 }, 'two'], [{ epoch: 'a', offset: 1 }, 'one']]);
});

test('a question survives a reconnect and a temporary error, but not a refusal or its time', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const page = client.history('chat:1');
  await link.expect(server.env, 'history');
  link.lose();
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env);
  await next.answer(server.env, 'history', { error: { code: 'store_unavailable', message: 'later' } });
  await server.env.advance(1_000);
  await next.answer(server.env, 'history', { history: { channel: 'chat:1', epoch: 'a', offset: 0, publications: [] } });
  assert.deepEqual((await page).publications, []);

  const refused = assert.rejects(client.presence('live:1'), { code: 'not_available' });
  await next.answer(server.env, 'presence', { error: { code: 'not_available', message: 'no presence' } });
  await refused;

  const late = assert.rejects(client.presence('chat:1'), { code: 'timeout' });
  await server.env.advance(15_000);
  await late;
});
