import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pub, record, ScriptedServer } from './support/scripted.js';

/** Subscribed to a durable and an ephemeral channel on the first node, and asked to move. */
async function moving(server: ScriptedServer, within_ms = 10_000) {
  const { client, link: old } = await server.connected();
  const durable = client.subscribe('chat:1');
  const ephemeral = client.subscribe('live:1');
  const log = record(durable, 'publication', 'recovered', 'gap');
  const live = record(ephemeral, 'publication');
  await old.answer(server.env, 'subscribe', { subscribed: { channel: 'chat:1', epoch: 'a', offset: 10 } });
  await old.answer(server.env, 'subscribe', { subscribed: { channel: 'live:1' } });
  old.say({ move: { target: 'wss://other.test', within_ms } });
  await server.env.advance(1_000);
  return { client, old, log, live };
}

test('connects to the target, recovers there, and only then leaves', async () => {
  const server = new ScriptedServer();
  const { client, old, log, live } = await moving(server);
  const next = await server.link(2);
  assert.equal(next.base, 'https://other.test');
  old.say(pub('chat:1', 11));
  await next.greet(server.env, { node: 'n2' });
  assert.equal(client.info?.node, 'n2');
  assert.equal(old.closed, undefined);
  old.say(pub('chat:1', 12), { pub: { channel: 'live:1', data: 'old' } });

  const ask = await next.answer(server.env, 'subscribe', { subscribed: { channel: 'chat:1', epoch: 'a', offset: 12, recovery: 'exact' } });
  assert.equal(ask.subscribe.recover.offset, 11);
  next.say(pub('chat:1', 12), pub('chat:1', 13), { pub: { channel: 'live:1', data: 'early' } });
  assert.equal(old.closed, undefined);
  old.say(pub('chat:1', 13));
  await next.answer(server.env, 'subscribe', { subscribed: { channel: 'live:1' } });
  assert.notEqual(old.closed, undefined, 'left');
  next.say({ pub: { channel: 'live:1', data: 'new' } });

  assert.deepEqual(log.map(({ name, event }) => event.position?.offset ?? [name, event.count]), [11, 12, ['recovered', 0], 13]);
  assert.deepEqual(live.map(({ event }) => event.data), ['old', 'early', 'new']);
  assert.equal(client.state, 'connected');
});

test('unacknowledged publications are sent again on the new connection and count once', async () => {
  const server = new ScriptedServer();
  const { client, old } = await moving(server);
  const published = client.publish('chat:1', 'x');
  const sent = await old.expect(server.env, 'publish');
  const next = await server.link(2);
  await next.greet(server.env);
  const again = await next.expect(server.env, 'publish');
  assert.equal(again.publish.id, sent.publish.id);
  old.say({ id: sent.id, published: { epoch: 'a', offset: 11, duplicate: false } });
  assert.equal((await published).position?.offset, 11);
  next.say({ id: again.id, published: { epoch: 'a', offset: 11, duplicate: true } });
  assert.equal(client.pending, 0);
});

test('when the target is not there, the old connection serves on and another attempt goes to the usual address', async () => {
  const server = new ScriptedServer();
  const { client, old, log } = await moving(server);
  (await server.link(2)).lose();
  old.say(pub('chat:1', 11));
  assert.equal(client.state, 'connected');
  assert.equal(log.length, 1);
  await server.env.advance(1_000);
  assert.equal((await server.link(3)).base, 'https://relay.test');
});

test('with nowhere to go it leaves by itself before the time is over, and comes back', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  link.say({ move: { within_ms: 5_000 } });
  await server.env.advance(3_000);
  (await server.link(2)).lose();
  await server.env.advance(900);
  assert.equal(link.closed, undefined);
  await server.env.advance(200);
  assert.notEqual(link.closed, undefined);
  assert.equal(client.state, 'connecting');
  await server.env.advance(2_000);
  await (await server.link()).greet(server.env);
  assert.equal(client.state, 'connected');
});

test('the attempts of a move that led nowhere do not delay coming back', async () => {
  const server = new ScriptedServer();
  const { client, old } = await moving(server, 60_000);
  const waits: number[] = [];
  client.on('state', ({ retryInMs }) => retryInMs !== undefined && waits.push(retryInMs));
  for (let attempt = 2; attempt < 6; attempt++) {
    (await server.link(attempt)).lose();
    await server.env.advance(10_000);
    old.say({});
  }
  (await server.link(6)).lose();
  old.lose(4000, 'node is draining');
  assert.deepEqual(waits, [500]);
});

test('when the old connection ends during the move, the move is the reconnect', async () => {
  const server = new ScriptedServer();
  const { client, old } = await moving(server);
  const next = await server.link(2);
  old.lose(4000, 'node is draining');
  assert.equal(client.state, 'connecting');
  await next.greet(server.env);
  assert.equal(client.state, 'connected');
  await server.env.advance(60_000);
  assert.equal(next.all('subscribe').length > 0, true);
});

test('a subscription that is not answered does not keep the old connection for ever', async () => {
  const server = new ScriptedServer();
  const { old } = await moving(server);
  const next = await server.link(2);
  await next.greet(server.env);
  await server.env.advance(4_999);
  assert.equal(old.closed, undefined);
  await server.env.advance(1);
  assert.notEqual(old.closed, undefined);
});

test('a malformed target is no target', async () => {
  const server = new ScriptedServer();
  const { link } = await server.connected();
  link.say({ move: { target: 'ftp://x', within_ms: 100 } });
  await server.env.advance(1_000);
  assert.equal((await server.link(2)).base, 'https://relay.test');
});
