// The TypeScript client outside a browser, against a real relay.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Skywave } from '../../../clients/js/dist/index.js';
import { Relay } from '../support/relay.mjs';

const MESSAGES = 1_000;
const KILLS = 3;

// Node before 22 has a WebSocket only when asked for; the package's scripts do.
const transports = globalThis.WebSocket === undefined ? ['sse'] : ['websocket', 'sse'];

for (const transport of transports) {
  test(`Node over ${transport}: a thousand messages through ${KILLS} kills, each once and in order`, async (t) => {
    const relay = await Relay.start(t);
    const connect = () => new Skywave({ url: relay.url, transports: [transport], heartbeatMs: 20_000, backoff: { max: 1_000 } });
    const [publisher, subscriber] = [connect(), connect()];
    relay.host(() => {
      publisher.close();
      subscriber.close();
    });
    const channel = subscriber.subscribe('chat:stream');
    await new Promise((resolve) => channel.once('subscribed', resolve));
    const seen = [];
    const recoveries = [];
    channel.on('gap', (gap) => assert.fail(`gap ${JSON.stringify(gap)}`));
    channel.on('recovered', (recovery) => recoveries.push(recovery));
    const complete = new Promise((resolve) => {
      channel.on('publication', ({ position, data }) => {
        seen.push({ offset: position.offset, data });
        if (seen.length === MESSAGES) resolve();
      });
    });

    const acknowledged = [];
    let next = 0;
    // One at a time from four loops: whatever is under way when the relay dies is a matter of chance.
    const publish = async () => {
      while (next < MESSAGES) {
        const number = next++;
        const { position } = await publisher.publish('chat:stream', number);
        acknowledged.push({ offset: position.offset, data: number });
      }
    };
    const publishing = Promise.all([publish(), publish(), publish(), publish()]);
    for (let kill = 1; kill <= KILLS; kill++) {
      while (acknowledged.length < (MESSAGES * kill) / (KILLS + 1)) await new Promise((resolve) => setImmediate(resolve));
      await relay.kill();
      await relay.restart();
    }
    await publishing;
    await complete;

    assert.deepEqual(seen.map(({ offset }) => offset), Array.from({ length: MESSAGES }, (_, index) => index + 1));
    assert.deepEqual(seen.map(({ data }) => data).sort((a, b) => a - b), Array.from({ length: MESSAGES }, (_, index) => index));
    assert.deepEqual(acknowledged.sort((a, b) => a.offset - b.offset), seen, 'acknowledged where it was delivered');
    // A recovery that a further kill cuts short is part of the next one.
    assert.ok(recoveries.length >= 1 && recoveries.length <= KILLS, `${recoveries.length} recoveries`);
  });
}

test('a pipelined burst keeps its order through a kill', async (t) => {
  const relay = await Relay.start(t);
  const client = new Skywave({ url: relay.url, transports: transports.slice(0, 1), heartbeatMs: 20_000, backoff: { max: 1_000 } });
  relay.host(() => client.close());
  const results = Array.from({ length: 150 }, (_, number) => client.publish('chat:burst', number));
  await results[10];
  await relay.kill();
  await relay.restart();
  const offsets = (await Promise.all(results)).map(({ position }) => position.offset);
  assert.deepEqual(offsets, Array.from({ length: 150 }, (_, number) => number + 1));
});

test('presence, history and tokens as the relay tells them', async (t) => {
  const relay = await Relay.start(t);
  let tokens = 0;
  const client = new Skywave({ url: relay.url, transports: transports.slice(0, 1), getToken: () => (tokens++, relay.token('ada')) });
  relay.host(() => client.close());
  const channel = client.subscribe('chat:1', { presence: true });
  await new Promise((resolve) => channel.once('subscribed', resolve));
  assert.equal(client.info.user, 'ada');
  assert.deepEqual(await channel.presence(), [{ client: client.info.client, user: 'ada' }]);
  for (const number of [1, 2, 3]) await channel.publish(number);
  const page = await client.history('chat:1', { limit: 2, reverse: true });
  assert.equal(page.head, 3);
  assert.deepEqual(page.publications.map(({ data, from, position }) => [data, from, position.offset]), [[3, 'ada', 3], [2, 'ada', 2]]);
  assert.deepEqual((await channel.publish(Uint8Array.of(0, 255))).position.offset, 4);
  const [binary] = (await client.history('chat:1', { after: 3 })).publications;
  assert.deepEqual(binary.data, Uint8Array.of(0, 255));
  await assert.rejects(client.publish('user:eve', 1), { code: 'forbidden' });
  await client.publish('user:ada', 1);
  assert.equal(tokens, 1);
});
