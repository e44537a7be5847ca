import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Relay } from '../support/relay.mjs';
import { assertOrder, assertSameLog, closeBrowser, Tab } from '../support/tab.mjs';

after(closeBrowser);

const ENDINGS = { 'kill -9': (relay) => relay.kill(), SIGTERM: (relay) => relay.stop() };

for (const [ending, end] of Object.entries(ENDINGS)) test(`${ending} and restart: every tab shows every message once and in order, and says that it recovered`, async (t) => {
  const relay = await Relay.start(t);
  const tabs = [
    await Tab.open(t, relay, 'Ada', { transport: 'webtransport' }),
    await Tab.open(t, relay, 'Konrad', { transport: 'websocket' }),
    await Tab.open(t, relay, 'Sonja', { transport: 'sse' }),
  ];
  const said = Object.fromEntries(tabs.map(({ name }) => [name, []]));
  const all = () => Object.values(said).flat();
  const round = async (when) => {
    for (const tab of tabs) {
      const text = `${tab.name} ${when} ${said[tab.name].length}`;
      said[tab.name].push(text);
      await tab.say(text);
    }
  };

  for (let cut = 1; cut <= 2; cut++) {
    for (let count = 0; count < 3; count++) await round('before');
    // Not waited for: some of these are under way when the relay dies.
    await end(relay);
    for (let count = 0; count < 3; count++) await round('while it was down');
    await relay.restart();
    for (const tab of tabs) await tab.connected();
    await round('after');
    for (const tab of tabs) await tab.has(all().length);

    await assertSameLog(tabs, all());
    for (const tab of tabs) {
      assert.match(await tab.recovery(), /^Recovered exactly: (nothing was missed|\d+ messages?) after offset \d+/);
      for (const { name } of tabs) await assertOrder(tab, name, said[name]);
    }
  }
  for (const [index, transport] of ['WebTransport', 'WebSocket', 'SSE'].entries()) {
    assert.equal(await tabs[index].transport(), `over ${transport}`);
    tabs[index].assertQuiet({ away: true });
  }
});

test('a tab that was away is told how many messages it recovered, and from where', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada');
  const konrad = await Tab.open(t, relay, 'Konrad', { clock: true });
  await ada.say('one');
  for (const tab of [ada, konrad]) await tab.has(1);
  // He is away for five seconds of his own time: as long as it takes her to say all this.
  await konrad.stopTime();
  await konrad.page.click('#interrupt');
  await konrad.page.waitForSelector('#status[data-state=disconnected]');
  const away = Array.from({ length: 7 }, (_, number) => `while away ${number}`);
  for (const text of away) await ada.say(text);
  await ada.has(8);
  await konrad.say('written offline');
  assert.equal(await konrad.page.locator('#log-pending .entry').count(), 1);
  await konrad.passTime(5_000);

  const words = await konrad.recovery();
  assert.match(words, /^Recovered exactly: 7 messages after offset 1/);
  for (const tab of [ada, konrad]) await tab.has(9);
  await assertSameLog([ada, konrad], ['one', ...away, 'written offline']);
  assert.equal(await konrad.page.locator('#log .entry-recovered').count(), 7);
  assert.equal(await konrad.page.locator('#log .notice-exact').innerText(), 'recovered exactly: 7 messages after offset 1');
  konrad.assertQuiet();
});

test('messages can be written before the relay is there, and arrive in order', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada', { transport: 'websocket' });
  await relay.kill();
  await ada.page.waitForSelector('#status[data-state=connecting]');
  const texts = Array.from({ length: 12 }, (_, number) => `patience ${number}`);
  for (const text of texts) await ada.say(text);
  assert.equal(await ada.page.locator('#log-pending .entry').count(), 12);
  await relay.restart();
  await ada.has(12);
  await assertSameLog([ada], texts);
  await assertOrder(ada, 'Ada', texts);
});
