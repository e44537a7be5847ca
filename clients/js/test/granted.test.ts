import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Skywave } from '../src/index.js';
import { pub, record, ScriptedServer, type Json } from './support/scripted.js';

const VIP = 'chat:vip';
const subscribed = (offset: number, extra: Json = {}) => ({ subscribed: { channel: VIP, epoch: 'a', offset, ...extra } });
const refused = (code: string) => ({ error: { code, message: 'no' } });

/** What the client tells of granted channels. */
const listen = (client: Skywave) => record(client, 'granted', 'publication', 'gap', 'withdrawn');

/** Publications by offset, everything else by name. */
const short = (log: { name: string; event: any }[]) =>
  log.splice(0).map(({ name, event }) => (name === 'publication' ? (event.position?.offset ?? 'ephemeral') : name));

/** Put into the channel at offset 5, on the first connection. */
async function granted(server: ScriptedServer, options: Json = {}) {
  const { client, link } = await server.connected(options);
  const log = listen(client);
  link.say(subscribed(5), pub(VIP, 6));
  assert.deepEqual(short(log), ['granted', 6]);
  return { client, link, log };
}

/** The same, and on the way to another node: both connections stand, because a subscription is not answered on the new one. */
async function moving(server: ScriptedServer) {
  const { client, link: old } = await server.connected();
  client.subscribe('chat:own');
  await old.answer(server.env, 'subscribe', { subscribed: { channel: 'chat:own', epoch: 'a', offset: 0 } });
  const log = listen(client);
  old.say(subscribed(5), pub(VIP, 6), { move: { within_ms: 10_000 } });
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env, { node: 'n2' });
  assert.equal(old.closed, undefined);
  assert.deepEqual(short(log), ['granted', 6]);
  /** Lets the client leave the old node. */
  const settle = () => next.answer(server.env, 'subscribe', { subscribed: { channel: 'chat:own', epoch: 'a', offset: 0, recovery: 'exact' } });
  return { client, old, next, log, settle };
}

test('a backend puts the client into a channel and takes it out again', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const log = listen(client);
  link.say({ subscribed: { channel: VIP, epoch: 'a', offset: 7 } }, pub(VIP, 8), pub('chat:other', 1));
  assert.deepEqual(log.map(({ name, event }) => [name, event.channel, event.position]), [
    ['granted', VIP, { epoch: 'a', offset: 7 }],
    ['publication', VIP, { epoch: 'a', offset: 8 }],
  ]);
  log.length = 0;
  link.say({ unsubscribed: { channel: VIP, code: 'forbidden', message: 'no more' } }, pub(VIP, 9));
  assert.deepEqual(log.map(({ name, event }) => [name, event.error?.code]), [['withdrawn', 'forbidden']]);
});

test('copies are dropped, and what is missing is announced', async () => {
  const server = new ScriptedServer();
  const { link, log } = await granted(server);
  link.say(pub(VIP, 6), pub(VIP, 5), pub(VIP, 9), pub(VIP, 8));
  assert.deepEqual(log[0], { name: 'gap', event: { channel: VIP, from: 7, to: 8, epoch: 'a', reason: 'unavailable' } });
  assert.deepEqual(short(log), ['gap', 9]);
  link.say({ gap: { channel: VIP, epoch: 'b', from: 1, to: 3, reason: 'epoch' } }, pub(VIP, 4));
  assert.deepEqual(log[0], { name: 'gap', event: { channel: VIP, from: 1, to: 3, epoch: 'b', reason: 'epoch' } });
  assert.deepEqual(log[1]?.event.position, { epoch: 'b', offset: 4 });
});

test('a channel that a backend grants is told of until the connection ends', async () => {
  const server = new ScriptedServer();
  const { link, log } = await granted(server);
  link.lose();
  assert.deepEqual(log, [{ name: 'withdrawn', event: { channel: VIP } }]);
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env);
  next.say(pub(VIP, 7));
  await server.env.settle();
  assert.equal(log.length, 1);
  assert.equal(next.all('subscribe').length, 0, 'it is not asked for again');
});

test('grants end when the application disconnects', async () => {
  const server = new ScriptedServer();
  const { client, log } = await granted(server);
  client.disconnect();
  assert.deepEqual(log, [{ name: 'withdrawn', event: { channel: VIP } }]);
});

test('a client that is closed because a grant ended stays closed', async () => {
  const server = new ScriptedServer();
  const { client, link } = await granted(server);
  client.on('withdrawn', () => client.close());
  link.lose();
  await server.env.advance(60_000);
  assert.equal(client.state, 'disconnected');
  assert.equal(server.links.length, 1);
});

test('a client that is closed because a grant ended in a move stays closed', async () => {
  const server = new ScriptedServer();
  const { client, link } = await granted(server);
  client.on('withdrawn', () => client.close());
  link.say({ move: { within_ms: 10_000 } });
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env);
  assert.equal(client.state, 'disconnected');
  assert.notEqual(next.closed, undefined);
});

test('so does one whose grant ended because it moved twice', async () => {
  const server = new ScriptedServer();
  const { client, next } = await moving(server);
  client.on('withdrawn', () => client.close());
  next.say({ move: { within_ms: 10_000 } });
  await server.env.advance(1_000);
  const third = await server.link(3);
  await third.greet(server.env);
  assert.equal(client.state, 'disconnected');
  assert.notEqual(third.closed, undefined);
});

test('while the client moves, the grant on the new connection follows the one on the old without a copy', async () => {
  const server = new ScriptedServer();
  const { old, next, log, settle } = await moving(server);
  old.say(pub(VIP, 7));
  next.say(subscribed(7), pub(VIP, 8));
  old.say(pub(VIP, 8), pub(VIP, 9));
  next.say(pub(VIP, 9));
  await settle();
  assert.notEqual(old.closed, undefined, 'left');
  next.say(pub(VIP, 10));
  assert.deepEqual(short(log), [7, 8, 9, 10]);
});

test('what the old node did not send before it was left is announced', async () => {
  const server = new ScriptedServer();
  const { next, log, settle } = await moving(server);
  next.say(subscribed(8));
  assert.deepEqual(short(log), []);
  await settle();
  assert.deepEqual(log, [{ name: 'gap', event: { channel: VIP, from: 7, to: 8, epoch: 'a', reason: 'unavailable' } }]);
});

test('without a grant on the new connection it ends with the old one', async () => {
  const server = new ScriptedServer();
  const { old, log, settle } = await moving(server);
  old.say(pub(VIP, 7));
  await settle();
  assert.deepEqual(short(log), [7, 'withdrawn']);
});

test('a granted channel that the application subscribes to is its own, without a copy or a hole', async () => {
  const server = new ScriptedServer();
  const { client, link, log } = await granted(server);
  const channel = client.subscribe(VIP);
  const own = record(channel, 'publication', 'gap', 'recovered', 'error');
  const first = await link.expect(server.env, 'subscribe');
  link.say(pub(VIP, 7), { id: first.id, ...refused('already_subscribed') });
  assert.deepEqual(short(log), [7, 'withdrawn'], 'the grant serves until it is taken over');
  await link.expect(server.env, 'unsubscribe');
  const ask = await link.expect(server.env, 'subscribe');
  assert.deepEqual(ask.subscribe, { channel: VIP, recover: { epoch: 'a', offset: 7 } });
  // On its way when the grant ended.
  link.say(pub(VIP, 8), { id: ask.id, ...subscribed(9, { recovery: 'exact' }) }, pub(VIP, 8), pub(VIP, 9), pub(VIP, 10));
  assert.deepEqual(short(own), [8, 9, 'recovered', 10]);
  assert.deepEqual(log, []);
  assert.equal(channel.state, 'subscribed');
});

test('where it went on is saved when a subscription takes a grant over', async () => {
  const saved = new Map<string, any>();
  const positions = { load: (channel: string) => saved.get(channel), save: (channel: string, position: unknown) => void saved.set(channel, position) };
  const server = new ScriptedServer();
  const { client, link } = await granted(server, { positions });
  client.subscribe(VIP);
  await link.answer(server.env, 'subscribe', refused('already_subscribed'));
  assert.deepEqual(saved.get(VIP), { epoch: 'a', offset: 6 });
});

test('a subscription that names where to start starts there', async () => {
  const server = new ScriptedServer();
  const { client, link } = await granted(server);
  const own = record(client.subscribe(VIP, { recover: { epoch: 'a', offset: 2 } }), 'publication');
  await link.answer(server.env, 'subscribe', refused('already_subscribed'));
  const ask = await link.answer(server.env, 'subscribe', subscribed(6, { recovery: 'exact' }));
  assert.equal(ask.subscribe.recover.offset, 2);
  link.say(pub(VIP, 3));
  assert.deepEqual(short(own), [3]);
});

test('a grant outlives a subscription that is refused', async () => {
  const server = new ScriptedServer();
  const { client, link, log } = await granted(server);
  const own = record(client.subscribe(VIP), 'publication', 'unsubscribed');
  link.say(pub(VIP, 7));
  await link.answer(server.env, 'subscribe', refused('forbidden'));
  link.say(pub(VIP, 8));
  assert.deepEqual(short(log), [7, 8]);
  assert.deepEqual(short(own), ['unsubscribed']);
});

test('a channel that is granted while the application subscribes goes on as a grant until it is taken over', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const log = listen(client);
  const own = record(client.subscribe(VIP), 'publication', 'gap', 'recovered', 'error');
  const first = await link.expect(server.env, 'subscribe');
  link.say(subscribed(5), pub(VIP, 6), { id: first.id, ...refused('already_subscribed') });
  assert.deepEqual(short(log), ['granted', 6, 'withdrawn']);
  await link.expect(server.env, 'unsubscribe');
  const ask = await link.expect(server.env, 'subscribe');
  assert.deepEqual(ask.subscribe, { channel: VIP, recover: { epoch: 'a', offset: 6 } });
  link.say({ id: ask.id, ...subscribed(8, { recovery: 'exact' }) }, pub(VIP, 7), pub(VIP, 8), pub(VIP, 9));
  assert.deepEqual(short(own), [7, 8, 'recovered', 9]);
  assert.deepEqual(short(log), []);
});

test('a channel that is granted while a subscription is refused stays granted', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const log = listen(client);
  const own = record(client.subscribe(VIP), 'publication', 'unsubscribed');
  const ask = await link.expect(server.env, 'subscribe');
  link.say(subscribed(5), { id: ask.id, ...refused('forbidden') }, pub(VIP, 6));
  assert.deepEqual(short(log), ['granted', 6]);
  assert.deepEqual(short(own), ['unsubscribed']);
});

test('a backend ends the grant while the application subscribes: the subscription goes on by itself', async () => {
  const server = new ScriptedServer();
  const { client, link, log } = await granted(server);
  const channel = client.subscribe(VIP);
  const own = record(channel, 'publication', 'unsubscribed');
  link.say(pub(VIP, 7), { unsubscribed: { channel: VIP, code: 'forbidden', message: 'out' } });
  await link.answer(server.env, 'subscribe', subscribed(7, { recovery: 'exact' }));
  link.say(pub(VIP, 7), pub(VIP, 8));
  assert.deepEqual(short(log), [7, 'withdrawn']);
  assert.deepEqual(short(own), [8]);
});

test('subscribing on the new connection takes over what was granted on the old one', async () => {
  const server = new ScriptedServer();
  const { client, old, next, log } = await moving(server);
  const own = record(client.subscribe(VIP), 'publication', 'gap');
  await next.expect(server.env, 'subscribe');
  const ask = await next.expect(server.env, 'subscribe');
  assert.deepEqual(ask.subscribe.recover, { epoch: 'a', offset: 6 });
  // Streams are independent: this one overtakes the answer.
  next.say(pub(VIP, 8));
  old.say(pub(VIP, 7));
  assert.deepEqual(short(log), [7]);
  next.say({ id: ask.id, ...subscribed(8, { recovery: 'exact' }) });
  old.say(pub(VIP, 8), pub(VIP, 9));
  next.say(pub(VIP, 7), pub(VIP, 8), pub(VIP, 9));
  assert.deepEqual(short(log), ['withdrawn']);
  assert.deepEqual(short(own), [8, 9]);
});

test('a lost connection while a granted channel is subscribed to leaves no hole', async () => {
  const server = new ScriptedServer();
  const { client, link, log } = await granted(server);
  const own = record(client.subscribe(VIP), 'publication');
  link.say(pub(VIP, 7));
  link.lose();
  assert.deepEqual(short(log), [7, 'withdrawn']);
  await server.env.advance(1_000);
  const next = await server.link(2);
  await next.greet(server.env);
  const ask = await next.answer(server.env, 'subscribe', subscribed(8, { recovery: 'exact' }));
  assert.deepEqual(ask.subscribe.recover, { epoch: 'a', offset: 7 });
  next.say(pub(VIP, 8));
  assert.deepEqual(short(own), [8]);
});

test('unsubscribing ends the grant too', async () => {
  const server = new ScriptedServer();
  const { client, link, log } = await granted(server);
  client.subscribe(VIP).unsubscribe();
  await link.expect(server.env, 'unsubscribe');
  link.say(pub(VIP, 7));
  assert.deepEqual(short(log), ['withdrawn']);
});

test('a grant that ends while it is taken over does not end the subscription that follows it', async () => {
  const server = new ScriptedServer();
  const { client, link } = await granted(server);
  const channel = client.subscribe(VIP);
  const own = record(channel, 'publication', 'unsubscribed');
  await link.answer(server.env, 'subscribe', refused('already_subscribed'));
  const ask = await link.expect(server.env, 'subscribe');
  link.say({ unsubscribed: { channel: VIP, code: 'forbidden', message: 'out' } });
  link.say({ id: ask.id, ...subscribed(6, { recovery: 'exact' }) }, pub(VIP, 7));
  assert.deepEqual(short(own), [7]);
  assert.equal(channel.state, 'subscribed');
});
