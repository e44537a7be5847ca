// The TypeScript client outside a browser, far behind: everything comes, whatever the distance and however often the relay dies.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Skywave } from '../../../clients/js/dist/index.js';
import { Relay } from '../support/relay.mjs';

const DISTANCE = 50_000;
const KILLS = 5;

// Node before 22 has a WebSocket only when asked for; the package's scripts do.
const transports = globalThis.WebSocket === undefined ? ['sse'] : ['websocket', 'sse'];

for (const transport of transports) {
  test(`Node over ${transport}: fifty thousand missed publications through ${KILLS} kills, each once and in order`, async (t) => {
    const relay = await Relay.start(t, '[namespaces.chat]\nhistory_size = 200000\n');
    await relay.publishLines('chat:far', Array.from({ length: DISTANCE }, (_, index) => String(index)));
    const client = new Skywave({ url: relay.url, transports: [transport], heartbeatMs: 2_000, backoff: { max: 500 } });
    relay.host(() => client.close());
    const { epoch, head } = await client.history('chat:far', { limit: 1 });
    assert.equal(head, DISTANCE);

    const channel = client.subscribe('chat:far', { recover: { epoch, offset: 0 } });
    const recoveries = [];
    channel.on('gap', (gap) => assert.fail(`gap ${JSON.stringify(gap)}`));
    channel.on('recovered', (recovery) => recoveries.push(recovery));
    let seen = 0;
    let wake = () => {};
    channel.on('publication', ({ position, data, recovered }) => {
      assert.equal(position.offset, seen + 1);
      assert.equal(data, String(seen));
      assert.ok(recovered);
      seen += 1;
      wake();
    });
    const reaches = async (count) => {
      while (seen < count) await new Promise((resolve) => (wake = resolve));
    };
    for (let kill = 1; kill <= KILLS; kill++) {
      await reaches(seen + 1);
      await relay.kill();
      await relay.restart();
    }
    await reaches(DISTANCE);
    assert.deepEqual(recoveries.map(({ from, to, count }) => [from.offset, to.offset, count]), [[0, DISTANCE, DISTANCE]]);
  });
}
