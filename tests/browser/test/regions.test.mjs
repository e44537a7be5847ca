// Three regions, a browser in each: one order everywhere, whatever is killed.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Cluster } from '../support/cluster.mjs';
import { assertSameLog, closeBrowser, Tab } from '../support/tab.mjs';

after(closeBrowser);

/** In turn; each comes back before the next one goes. */
const KILLED = ['eu-edge-1', 'us-edge-1', 'asia-edge-1', 'eu-core-1', 'eu-core-2', 'eu-nats-1', 'us-nats-1', 'eu-kafka-1'];

test('a browser in each of three regions sees the same order while edges, cores, NATS and Kafka are killed in turn', async (t) => {
  const cluster = await Cluster.up(t);
  const tabs = [
    await Tab.open(t, cluster.edge('eu'), 'Ada', { transport: 'webtransport' }),
    await Tab.open(t, cluster.edge('us'), 'Konrad', { transport: 'websocket' }),
    await Tab.open(t, cluster.edge('asia'), 'Sonja', { transport: 'sse' }),
  ];
  const homes = ['eu-edge-1', 'us-edge-1', 'asia-edge-1'];
  for (const [index, tab] of tabs.entries()) await tab.isAt(homes[index]);
  const said = Object.fromEntries(tabs.map(({ name }) => [name, []]));
  const all = () => Object.values(said).flat();
  const round = async (when) => {
    for (const tab of tabs) {
      const text = `${tab.name} ${when}`;
      said[tab.name].push(text);
      await tab.say(text);
    }
  };
  // One order for all. Not asserted: that it is the order of writing. What was sent before the first was acknowledged may
  // overtake it when that one has to be sent again (clients/js/README.md, `outbox.inFlight`).
  const complete = async () => {
    for (const tab of tabs) await tab.has(all().length, { timeout: 120_000 });
    await assertSameLog(tabs, all());
  };

  for (const name of KILLED) {
    await round(`before ${name}`);
    // Not waited for: some of these are under way when it dies.
    await cluster.kill(name);
    await round(`without ${name}`);
    const index = homes.indexOf(name);
    if (index >= 0) {
      // Goes on at the other edge of its region, over the same transport, without the first one.
      await tabs[index].isAt(name.replace('-1', '-2'));
      await complete();
    }
    await cluster.restart(name);
    await round(`after ${name}`);
    await complete();
  }
  for (const [index, transport] of ['WebTransport', 'WebSocket', 'SSE'].entries()) {
    assert.equal(await tabs[index].transport(), `over ${transport}`);
    tabs[index].assertQuiet({ away: true });
  }
});
