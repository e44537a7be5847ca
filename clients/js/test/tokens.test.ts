import assert from 'node:assert/strict';
import { test } from 'node:test';

import { record, ScriptedServer } from './support/scripted.js';

function tokens() {
  const calls: string[] = [];
  return { calls, getToken: async () => (calls.push(`t${calls.length + 1}`), calls.at(-1) as string) };
}

test('a token is kept across reconnects', async () => {
  const server = new ScriptedServer();
  const source = tokens();
  const { link } = await server.connected({ getToken: source.getToken });
  link.lose();
  await server.env.advance(1_000);
  const again = await (await server.link(2)).greet(server.env);
  assert.equal(again.connect.token, 't1');
  assert.deepEqual(source.calls, ['t1']);
});

test('an expiring token is refreshed while connected', async () => {
  const server = new ScriptedServer();
  const source = tokens();
  const { client, link } = await server.connected({ getToken: source.getToken });
  link.say({ expiring: { seconds: 60 } });
  const refresh = await link.answer(server.env, 'refresh', { refreshed: { expires_in_seconds: 3_600 } });
  assert.equal(refresh.refresh.token, 't2');
  assert.equal(client.state, 'connected');
});

test('an expired token is replaced before connecting again', async () => {
  const server = new ScriptedServer();
  const { link } = await server.connected({ getToken: tokens().getToken });
  link.lose(4010, 'token expired');
  await server.env.advance(1_000);
  const again = await (await server.link(2)).greet(server.env);
  assert.equal(again.connect.token, 't2');
});

test('a token that cannot be replaced ends it', async () => {
  const server = new ScriptedServer();
  const { client, link } = await server.connected({ token: 'only' });
  link.lose(4010, 'token expired');
  assert.equal(client.state, 'disconnected');
});

test('tokens that are never accepted are not fetched for ever', async () => {
  const server = new ScriptedServer();
  const source = tokens();
  const client = server.client({ getToken: source.getToken });
  for (let attempt = 1; attempt <= 3; attempt++) {
    const link = await server.link(attempt);
    link.events.opened();
    await link.answer(server.env, 'connect', { error: { code: 'unauthorized', message: 'forged' } });
    await server.env.advance(5_000);
  }
  assert.equal(client.state, 'disconnected');
  assert.deepEqual(source.calls, ['t1', 't2', 't3']);
});

test('a source of tokens that fails is asked again', async () => {
  const server = new ScriptedServer();
  let calls = 0;
  const client = server.client({
    getToken: () => {
      if (++calls < 3) throw new Error('the identity service is down');
      return 't';
    },
  });
  const log = record(client, 'error');
  await server.env.advance(3_000);
  await (await server.link(1)).greet(server.env);
  assert.equal(client.state, 'connected');
  assert.deepEqual(log.map(({ event }) => event.message), Array(2).fill('the identity service is down'));
});
