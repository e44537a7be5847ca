import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pub, record, ScriptedServer, type Json, type Link } from './support/scripted.js';
import type { SubscribeOptions } from '../src/index.js';

const EVENTS = ['publication', 'recovered', 'gap'] as const;
const subscribed = (offset: number, extra: Json = {}) => ({ subscribed: { channel: 'chat:1', epoch: 'a', offset, ...extra } });
const offsets = (log: { name: string; event: any }[]) =>
  log.filter(({ name }) => name === 'publication').map(({ event }) => event.position.offset);

/** Connected, and subscribed to `chat:1` at offset 10 of epoch `a`. */
async function standing(server: ScriptedServer, options: SubscribeOptions = {}) {
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1', options);
  const log = record(channel, ...EVENTS);
  await link.answer(server.env, 'subscribe', subscribed(10));
  return { client, channel, log, link };
}

async function reconnect(server: ScriptedServer, link: Link): Promise<Link> {
  link.lose();
  await server.env.advance(1_000);
  const next = await server.link();
  assert.notEqual(next, link);
  await next.greet(server.env);
  return next;
}

test('a first subscribe starts at the end of the channel', async () => {
  const server = new ScriptedServer();
  const { channel, log, link } = await standing(server);
  assert.deepEqual(link.all('subscribe')[0]?.subscribe, { channel: 'chat:1' });
  assert.deepEqual(channel.position, { epoch: 'a', offset: 10 });
  link.say(pub('chat:1', 11, { from: 'ada' }), pub('chat:1', 12));
  assert.deepEqual(offsets(log), [11, 12]);
  assert.deepEqual(log[0]?.event, {
    channel: 'chat:1', position: { epoch: 'a', offset: 11 }, id: 'm11', from: 'ada', time: 1_700_000_000_011, data: 11, recovered: false,
  });
});

test('what was missed while away comes once and in order, and is accounted for', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  link.say(pub('chat:1', 11));
  const next = await reconnect(server, link);
  const ask = await next.answer(server.env, 'subscribe', subscribed(13, { recovery: 'exact' }));
  assert.deepEqual(ask.subscribe.recover, { epoch: 'a', offset: 11 });
  next.say(pub('chat:1', 12));
  assert.equal(log.some(({ name }) => name === 'recovered'), false, 'not before everything is there');
  next.say(pub('chat:1', 13), pub('chat:1', 14));
  assert.deepEqual(log.map(({ name, event }) => (name === 'publication' ? [event.position.offset, event.recovered] : [name, event.count])), [
    [11, false], [12, true], [13, true], ['recovered', 2], [14, false],
  ]);
  const { from, to } = log.find(({ name }) => name === 'recovered')?.event;
  assert.deepEqual([from.offset, to.offset], [11, 13]);
});

test('a recovery cut short goes on from where it stood, and the account is of the whole', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  const second = await reconnect(server, link);
  await second.answer(server.env, 'subscribe', subscribed(14, { recovery: 'exact' }));
  second.say(pub('chat:1', 11), pub('chat:1', 12));
  const third = await reconnect(server, second);
  const ask = await third.answer(server.env, 'subscribe', subscribed(15, { recovery: 'exact' }));
  assert.equal(ask.subscribe.recover.offset, 12);
  third.say(pub('chat:1', 13), pub('chat:1', 14), pub('chat:1', 15));
  assert.deepEqual(offsets(log), [11, 12, 13, 14, 15]);
  assert.deepEqual(log.at(-1)?.event, { from: { epoch: 'a', offset: 10 }, to: { epoch: 'a', offset: 15 }, count: 5 });
});

test('nothing missed is a recovery too', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  const next = await reconnect(server, link);
  await next.answer(server.env, 'subscribe', subscribed(10, { recovery: 'exact' }));
  assert.deepEqual(log, [{ name: 'recovered', event: { from: { epoch: 'a', offset: 10 }, to: { epoch: 'a', offset: 10 }, count: 0 } }]);
});

test('duplicates are dropped', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  link.say(pub('chat:1', 9), pub('chat:1', 11), pub('chat:1', 11), pub('chat:1', 10), pub('chat:1', 12));
  assert.deepEqual(offsets(log), [11, 12]);
});

test('a hole makes it subscribe again from its position, and nothing is delivered out of order', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  link.say(pub('chat:1', 11), pub('chat:1', 13), pub('chat:1', 14));
  await link.expect(server.env, 'unsubscribe');
  link.say(pub('chat:1', 15));
  const ask = await link.answer(server.env, 'subscribe', subscribed(15, { recovery: 'exact' }));
  assert.equal(ask.subscribe.recover.offset, 11);
  link.say(pub('chat:1', 12), pub('chat:1', 13), pub('chat:1', 14), pub('chat:1', 15), pub('chat:1', 16));
  assert.deepEqual(offsets(log), [11, 12, 13, 14, 15, 16]);
  assert.equal(link.all('subscribe').length, 2);
});

test('publications that overtake the answer to subscribe wait for it', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const channel = client.subscribe('chat:1', { recover: { epoch: 'a', offset: 10 } });
  const log = record(channel, ...EVENTS);
  const ask = await link.expect(server.env, 'subscribe');
  link.say(pub('chat:1', 11), pub('chat:1', 12), pub('chat:1', 13));
  assert.equal(log.length, 0);
  link.say({ id: ask.id, ...subscribed(12, { recovery: 'exact' }) });
  assert.deepEqual(log.map(({ name, event }) => (event as any).position?.offset ?? name), [11, 12, 'recovered', 13]);
});

test('a gap is announced with its reason and ends the recovery as not exact', async () => {
  const server = new ScriptedServer();
  const { channel, log, link } = await standing(server);
  const next = await reconnect(server, link);
  await next.answer(server.env, 'subscribe', subscribed(30, { recovery: 'gap', gap: { from: 11, to: 25, reason: 'retention' } }));
  for (let offset = 26; offset <= 31; offset++) next.say(pub('chat:1', offset));
  assert.deepEqual(log[0], { name: 'gap', event: { from: 11, to: 25, epoch: 'a', reason: 'retention' } });
  assert.deepEqual(offsets(log), [26, 27, 28, 29, 30, 31]);
  assert.equal(log.some(({ name }) => name === 'recovered'), false);
  assert.equal(channel.position?.offset, 31);
});

test('a gap pushed while standing moves the position', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  link.say({ gap: { channel: 'chat:1', epoch: 'a', from: 11, to: 12, reason: 'unavailable' } }, pub('chat:1', 13));
  link.say({ gap: { channel: 'chat:1', epoch: 'a', from: 11, to: 12, reason: 'unavailable' } });
  assert.deepEqual(log.map(({ name, event }) => event.position?.offset ?? name), ['gap', 13]);
});

test('what is missing before a pushed gap is recovered', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  link.say({ gap: { channel: 'chat:1', epoch: 'a', from: 12, to: 14, reason: 'unavailable' } });
  await link.expect(server.env, 'unsubscribe');
  const ask = await link.answer(server.env, 'subscribe', subscribed(15, { recovery: 'exact' }));
  assert.equal(ask.subscribe.recover.offset, 10);
  for (let offset = 11; offset <= 15; offset++) link.say(pub('chat:1', offset));
  assert.deepEqual(offsets(log), [11, 12, 13, 14, 15]);
  assert.equal(log.some(({ name }) => name === 'gap'), false);
});

test('another generation of the log is a gap, and its numbers count from then on', async () => {
  const server = new ScriptedServer();
  const { channel, log, link } = await standing(server);
  const next = await reconnect(server, link);
  await next.answer(server.env, 'subscribe', subscribed(2, { epoch: 'b', recovery: 'gap', gap: { from: 1, to: 2, reason: 'epoch' } }));
  next.say(pub('chat:1', 3));
  assert.deepEqual(log.map(({ event }) => event.position?.offset ?? event.reason), ['epoch', 3]);
  assert.deepEqual(channel.position, { epoch: 'b', offset: 3 });
});

test('a position beyond the cut of a failover is told, and new publications under old numbers are delivered', async () => {
  const server = new ScriptedServer();
  const { log, link } = await standing(server);
  const next = await reconnect(server, link);
  await next.answer(server.env, 'subscribe', subscribed(8, { recovery: 'gap', gap: { from: 9, to: 10, reason: 'failover' } }));
  next.say(pub('chat:1', 9));
  assert.deepEqual(log.map(({ name, event }) => event.position?.offset ?? [name, event.reason]), [['gap', 'failover'], 9]);
});

test('positions are saved and make the next page load resume', async () => {
  const saved = new Map<string, any>();
  const positions = { load: (channel: string) => saved.get(channel), save: (channel: string, position: unknown) => void saved.set(channel, position) };
  const server = new ScriptedServer();
  const { client, link } = await server.connected({ positions });
  client.subscribe('chat:1');
  await link.answer(server.env, 'subscribe', subscribed(10));
  link.say(pub('chat:1', 11));
  client.close();

  const reloaded = new ScriptedServer();
  const again = await reloaded.connected({ positions });
  again.client.subscribe('chat:1');
  const ask = await again.link.expect(reloaded.env, 'subscribe');
  assert.deepEqual(ask.subscribe.recover, { epoch: 'a', offset: 11 });
});

test('a listener that throws stops neither the others nor the order', async () => {
  const server = new ScriptedServer();
  const { channel, link } = await standing(server);
  channel.on('publication', ({ data }) => {
    throw data;
  });
  const log = record(channel, 'publication');
  link.say(pub('chat:1', 11), pub('chat:1', 12));
  assert.deepEqual(offsets(log), [11, 12]);
  assert.deepEqual(server.env.reported, [11, 12]);
});
