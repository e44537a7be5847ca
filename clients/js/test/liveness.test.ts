import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ScriptedServer } from './support/scripted.js';

test('answers the ping of the server in kind', async () => {
  const server = new ScriptedServer();
  const { link } = await server.connected();
  link.say({});
  await server.env.settle();
  assert.equal(link.frames.at(-1), '{}');
});

test('a silent server is asked, and given up when it says nothing', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  await server.env.advance(27_000);
  await link.answer(server.env, 'ping', { pong: {} });
  await server.env.advance(27_000 + 9_000);
  assert.equal(link.all('ping').length, 2);
  assert.equal(client.state, 'connected');
  await server.env.advance(2_000);
  assert.equal(client.state, 'connecting');
  assert.notEqual(link.closed, undefined);
});

test('anything heard counts as a sign of life', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  for (let second = 0; second < 100; second += 20) {
    await server.env.advance(20_000);
    link.say({});
  }
  assert.equal(client.state, 'connected');
  assert.equal(link.all('ping').length, 0);
});

test('a shorter heartbeat finds a dead peer sooner', async () => {
  const server = new ScriptedServer();
  const { client } = await server.connected({ heartbeatMs: 3_000 });
  await server.env.advance(6_100);
  assert.equal(client.state, 'connecting');
});

test('an unanswered request raises suspicion before the idle time is over', async () => {
  const server = new ScriptedServer();
  const { client } = await server.connected();
  client.publish('chat:1', 'hello').catch(() => {});
  await server.env.advance(14_000);
  assert.equal(client.state, 'connecting');
});

test('when the page is shown or the network is back, nothing is waited out', async () => {
  const server = new ScriptedServer();
  server.env.chance = 0.9;
  const { client, link } = await server.connected();
  server.env.watcher?.('visible');
  await link.answer(server.env, 'ping', { pong: {} });
  await server.env.advance(4_000);
  assert.equal(client.state, 'connected');

  server.env.watcher?.('online');
  await server.env.advance(4_000);
  assert.equal(client.state, 'connecting');
  for (let attempt = 2; attempt < 8; attempt++) {
    await server.env.advance(30_000);
    (await server.link()).lose();
  }
  const attempts = server.links.length;
  await server.env.advance(1_500);
  server.env.watcher?.('online');
  await server.link(attempts + 1);
});
