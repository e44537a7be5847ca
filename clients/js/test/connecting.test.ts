import assert from 'node:assert/strict';
import { test } from 'node:test';

import { record, ScriptedServer } from './support/scripted.js';

test('connects and says to whom', async () => {
  const server = new ScriptedServer();
  const client = server.client({ token: 't', name: 'test' });
  const log = record(client, 'state', 'connected');
  const link = await server.link(1);
  const connect = await link.greet(server.env, { user: 'ada' });
  assert.deepEqual(connect.connect, { token: 't', name: 'test' });
  assert.deepEqual(client.info, { client: 'c-websocket', user: 'ada', region: 'here', node: 'n1', transport: 'websocket' });
  assert.deepEqual(log.map(({ name, event }) => event.state ?? name), ['connected', 'connected']);
});

test('falls back at once when a transport does not come up, and stays with what worked', async () => {
  const server = new ScriptedServer();
  const client = server.client({}, 'webtransport', 'websocket', 'sse');
  (await server.link(1)).lose();
  const link = await server.link(2);
  assert.equal(link.transport, 'websocket');
  await link.greet(server.env);
  link.lose();
  assert.equal(client.state, 'connecting');
  await server.env.advance(1_000);
  assert.equal((await server.link(3)).transport, 'websocket');
});

test('a transport that hangs is given up in time', async () => {
  const server = new ScriptedServer();
  server.client({ connectTimeoutMs: 3_000 }, 'webtransport', 'websocket');
  const hanging = await server.link(1);
  await server.env.advance(2_999);
  assert.equal(server.links.length, 1);
  await server.env.advance(1);
  assert.notEqual(hanging.closed, undefined);
  assert.equal((await server.link(2)).transport, 'websocket');
});

test('attempts back off with jitter, and only a lasting connection resets it', async () => {
  const server = new ScriptedServer();
  server.env.chance = 0.5;
  const client = server.client();
  const waits: number[] = [];
  client.on('state', (change) => change.retryInMs !== undefined && waits.push(change.retryInMs));
  for (let attempt = 1; attempt <= 4; attempt++) {
    (await server.link(attempt)).lose();
    await server.env.advance(waits.at(-1) as number);
  }
  const brief = await server.link(5);
  await brief.greet(server.env);
  brief.lose();
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000]);
  await server.env.advance(8_000);
  const lasting = await server.link(6);
  await lasting.greet(server.env);
  await server.env.advance(5_000);
  lasting.lose();
  assert.equal(waits.at(-1), 500);
});

test('a refused connect waits as long as the server asks, on the same transport', async () => {
  const server = new ScriptedServer();
  const client = server.client({}, 'webtransport', 'websocket');
  const states = record(client, 'state');
  const link = await server.link(1);
  link.events.opened();
  await link.answer(server.env, 'connect', { error: { code: 'server_full', message: 'later', retry_after_ms: 7_000 } });
  assert.equal(states.at(-1)?.event.retryInMs, 7_500);
  await server.env.advance(7_499);
  assert.equal(server.links.length, 1);
  await server.env.advance(1);
  await server.link(2);
});

test('close codes are obeyed', async () => {
  for (const [code, state] of [[1000, 'disconnected'], [1009, 'disconnected'], [4502, 'disconnected'], [4599, 'disconnected'],
    [1001, 'connecting'], [1006, 'connecting'], [1011, 'connecting'], [4000, 'connecting'], [4001, 'connecting'], [4004, 'connecting'], [4099, 'connecting']] as const) {
    const server = new ScriptedServer();
    const { client, link } = await server.connected();
    link.lose(code, 'because');
    assert.equal(client.state, state, String(code));
  }
});

test('a close announced by a push counts like a close code', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected({}, 'sse');
  const states = record(client, 'state');
  link.say({ close: { code: 4501, reason: 'revoked' } });
  assert.deepEqual(states.at(-1)?.event.cause, { code: 4501, reason: 'revoked' });
  assert.equal(client.state, 'disconnected');
  assert.notEqual(link.closed, undefined);
});

test('after giving up nothing is left running, and connect() starts again', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  client.subscribe('chat:1');
  link.lose(4500, 'unauthorized');
  assert.equal(server.env.timers, 0);
  client.connect();
  await (await server.link(2)).greet(server.env);
  assert.equal(client.state, 'connected');
  assert.equal((await server.link()).all('subscribe').length, 1);
  client.close();
  assert.equal(server.env.timers, 0);
});

test('what is not of the protocol ends the connection, not the client', async () => {
  for (const text of ['nonsense', '[1]', 'null', '{"id":2']) {
    const server = new ScriptedServer();
    const { client, link } = await server.connected();
    link.events.received(text);
    assert.equal(client.state, 'connecting', text);
  }
});

test('unknown pushes and fields are ignored', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  link.say({ weather: { sun: true } }, { id: 99, pong: {} }, { pub: { channel: 'not:mine', offset: 1, data: 1 } });
  assert.equal(client.state, 'connected');
});

test('requests of one turn leave as batches within the limits', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  const before = link.frames.length;
  for (let channel = 0; channel < 100; channel++) client.subscribe(`c:${channel}`);
  await server.env.settle();
  assert.deepEqual(link.frames.slice(before).map((frame) => frame.split('\n').length), [64, 36]);
});
