import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { FindRoute } from '../src/index.js';
import { ScriptedServer } from './support/scripted.js';

/** Answers questions for a route with these nodes, and notes the questions. */
function router(...nodes: string[]) {
  const asked: unknown[][] = [];
  const findRoute: FindRoute = async (...question) => {
    asked.push(question);
    if (nodes.length === 0) throw new Error('404');
    return nodes;
  };
  return { asked, findRoute };
}

test('goes where it is sent, and says so', async () => {
  const server = new ScriptedServer();
  const { asked, findRoute } = router('wss://n1.test/', 'https://n2.test');
  server.client({ route: 'room 1', token: 't', findRoute });
  const link = await server.link(1);
  assert.deepEqual(asked, [['https://relay.test', 'room 1', 't']]);
  assert.equal(link.base, 'https://n1.test');
  const { connect } = await link.greet(server.env);
  assert.deepEqual([connect.key, connect.placed], ['room 1', true]);
});

test('passes nodes over that do not answer, over every transport, and ends at the usual address', async () => {
  const server = new ScriptedServer();
  const { asked, findRoute } = router('https://n1.test', 'https://n2.test');
  const client = server.client({ route: true, findRoute }, 'websocket', 'sse');
  const tried = [];
  for (let count = 1; count <= 6; count += 1) {
    const link = await server.link(count);
    tried.push([link.base, link.transport]);
    link.lose();
  }
  assert.deepEqual(tried, [
    ['https://n1.test', 'websocket'], ['https://n1.test', 'sse'],
    ['https://n2.test', 'websocket'], ['https://n2.test', 'sse'],
    ['https://relay.test', 'websocket'], ['https://relay.test', 'sse'],
  ]);
  assert.equal(asked.length, 1);
  assert.equal(client.state, 'connecting');
  await server.env.advance(1_000);
  assert.equal(asked.length, 2, 'and asks anew');
  assert.equal((await server.link(7)).base, 'https://n1.test');
});

test('who was sent in vain is not sent again', async () => {
  const server = new ScriptedServer();
  const { findRoute } = router('https://n1.test');
  server.client({ route: true, findRoute });
  (await server.link(1)).lose();
  const { connect } = await (await server.link(2)).greet(server.env);
  assert.deepEqual([connect.key, connect.placed], [undefined, true]);
});

test('without an answer it connects as if it had not asked', async () => {
  const server = new ScriptedServer();
  const { findRoute } = router();
  server.client({ route: true, findRoute });
  const link = await server.link(1);
  assert.equal(link.base, 'https://relay.test');
  assert.equal((await link.greet(server.env)).connect.placed, undefined);
});

test('when nobody answers at the usual address any more, it goes to the nodes that were named there', async () => {
  const server = new ScriptedServer();
  const nodes = ['https://relay.test', 'https://n2.test', 'https://n3.test'];
  let alive = true;
  const findRoute: FindRoute = async () => {
    if (!alive) throw new Error('nobody there');
    return nodes;
  };
  server.client({ route: true, findRoute });
  const first = await server.link(1);
  await first.greet(server.env);
  alive = false;
  first.lose();
  await server.env.advance(1_000);
  const tried = [];
  for (let count = 2; count <= 4; count += 1) {
    const link = await server.link(count);
    tried.push(link.base);
    if (count < 4) link.lose();
  }
  assert.deepEqual(tried, nodes);
  assert.equal((await (await server.link(4)).greet(server.env)).connect.placed, true);
});

test('a relay that never answers is not waited for long', async () => {
  const server = new ScriptedServer();
  server.client({ route: true, findRoute: () => new Promise(() => {}) });
  await server.link(0);
  await server.env.advance(5_000);
  assert.equal((await server.link(1)).base, 'https://relay.test');
});

test('asks again after a loss', async () => {
  const server = new ScriptedServer();
  const { asked, findRoute } = router('https://n1.test', 'https://n2.test');
  server.client({ route: true, findRoute });
  const link = await server.link(1);
  await link.greet(server.env);
  link.lose();
  await server.env.advance(1_000);
  assert.equal(asked.length, 2);
  assert.equal((await server.link(2)).base, 'https://n1.test');
});

test('a move names the place, without a question', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected();
  link.say({ move: { target: 'https://n2.test', within_ms: 10_000 } });
  await server.env.advance(1_000);
  const next = await server.link(2);
  assert.equal(next.base, 'https://n2.test');
  assert.equal((await next.greet(server.env)).connect.placed, true);
  assert.equal(client.state, 'connected');
});

test('a client that is not routed asks nobody', async () => {
  const server = new ScriptedServer();
  const { asked, findRoute } = router('https://n1.test');
  const { link } = await server.connected({ findRoute });
  assert.deepEqual([asked.length, link.base], [0, 'https://relay.test']);
});
