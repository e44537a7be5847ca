import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Relay } from '../support/relay.mjs';
import { assertOrder, assertSameLog, closeBrowser, Tab } from '../support/tab.mjs';

after(closeBrowser);

const TRANSPORTS = { webtransport: 'over WebTransport', websocket: 'over WebSocket', sse: 'over SSE' };

for (const [one, other] of [['websocket', 'websocket'], ['webtransport', 'websocket'], ['sse', 'webtransport']]) {
  test(`two tabs chat: ${one} and ${other}`, async (t) => {
    const relay = await Relay.start(t);
    const ada = await Tab.open(t, relay, 'Ada', { transport: one });
    const konrad = await Tab.open(t, relay, 'Konrad', { transport: other });
    assert.equal(await ada.transport(), TRANSPORTS[one]);
    assert.equal(await konrad.transport(), TRANSPORTS[other]);

    const said = { Ada: [], Konrad: [] };
    for (let round = 1; round <= 10; round++) {
      for (const tab of [ada, konrad]) {
        said[tab.name].push(`${tab.name} ${round}`);
        await tab.say(`${tab.name} ${round}`);
      }
    }
    const tabs = [ada, konrad];
    for (const tab of tabs) await tab.has(20);
    await assertSameLog(tabs, [...said.Ada, ...said.Konrad]);
    for (const tab of tabs) {
      await assertOrder(tab, 'Ada', said.Ada);
      await assertOrder(tab, 'Konrad', said.Konrad);
      tab.assertQuiet();
    }
  });
}

test('the best transport is chosen by itself', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada');
  assert.equal(await ada.transport(), 'over WebTransport');
  ada.assertQuiet();
});

test('changing the transport keeps the log, and what is said meanwhile', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada', { transport: 'websocket' });
  const said = [];
  for (const [index, transport] of ['webtransport', 'sse', 'websocket', 'auto'].entries()) {
    said.push(`before ${index}`, `at once after ${index}`);
    await ada.say(`before ${index}`);
    await ada.page.locator(`#transports input[value=${transport}]`).check({ force: true });
    await ada.say(`at once after ${index}`);
    await ada.has(said.length);
  }
  await assertSameLog([ada], said);
  await assertOrder(ada, 'Ada', said);
  ada.assertQuiet();
});

test('a late tab and a reloaded one see the history, then what follows', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada');
  for (const text of ['one', 'two', 'three']) await ada.say(text);
  await ada.has(3);
  const konrad = await Tab.open(t, relay, 'Konrad');
  await konrad.has(3);
  await ada.page.reload();
  await ada.connected();
  await ada.has(3);
  await konrad.say('four');
  for (const tab of [ada, konrad]) await tab.has(4);
  await assertSameLog([ada, konrad], ['one', 'two', 'three', 'four']);
});

test('rooms are apart, and the fragment of the URL names them', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada', { room: 'chat:one' });
  const konrad = await Tab.open(t, relay, 'Konrad', { room: 'chat:two' });
  await ada.say('only here');
  await ada.has(1);
  await konrad.page.fill('#room-input', 'chat:one');
  await konrad.page.press('#room-input', 'Enter');
  await konrad.sees('only here');
  await konrad.present('Ada', 'Konrad');
  await ada.present('Ada', 'Konrad');
  assert.equal(await konrad.page.locator('#room-title').innerText(), 'chat:one');
  await konrad.page.goBack();
  await konrad.page.waitForFunction(() => document.querySelectorAll('#log .entry').length === 0);
  await ada.present('Ada');
  ada.assertQuiet();
  konrad.assertQuiet();
});

test('a room that may not be entered says why', async (t) => {
  const relay = await Relay.start(t);
  for (const [room, reason] of [['user:somebody', /forbidden/], ['nowhere:1', /unknown_namespace/], ['a b', /invalid_channel/]]) {
    const ada = await Tab.load(t, relay, 'Ada', { room });
    await ada.page.waitForFunction(() => document.getElementById('composer-note').textContent !== '');
    assert.match(await ada.page.locator('#composer-note').innerText(), reason);
    ada.assertQuiet();
  }
});

test('an ephemeral room works without positions', async (t) => {
  const relay = await Relay.start(t);
  const tabs = [];
  for (const [name, transport] of [['Ada', 'webtransport'], ['Konrad', 'websocket']]) {
    const tab = await Tab.load(t, relay, name, { room: 'live:room', transport });
    tabs.push(tab);
    await tab.present(...tabs.map(({ name }) => name));
  }
  for (const tab of tabs) {
    await tab.say(`${tab.name} was here`);
    for (const other of tabs) await other.sees(`${tab.name} was here`);
  }
  for (const tab of tabs) {
    assert.equal(await tab.page.locator('#log .entry').count(), 2);
    tab.assertQuiet();
  }
});

test('hostile text is shown as text', async (t) => {
  const relay = await Relay.start(t);
  const name = '<b onclick=alert(1)>Eve</b>';
  const texts = [
    '<img src=x onerror="document.title=\'owned\'">',
    '<script>document.title="owned"</script>',
    '</li></ol><h1>owned</h1>',
    '\u202Egnp.exe \u0000 {{constructor.constructor("alert(1)")()}}',
    '{"__proto__":{"polluted":true}}',
  ];
  const eve = await Tab.open(t, relay, name);
  const ada = await Tab.open(t, relay, 'Ada');
  for (const text of texts) await eve.say(text);
  await eve.has(texts.length);
  // Data that no page of ours would send.
  const odd = [null, 7, 'plain', [], { text: { toString: 1 } }, { name: ['x'], text: 'odd name', client: {}, author: 1 }];
  for (const data of odd) await relay.publish('chat:lobby', data);
  for (const data of [null, { kind: 'typing', client: {} }, { kind: 'typing', client: 'x', name: { a: 1 } }]) await relay.publish('live:chat:lobby', data);
  await ada.has(texts.length + odd.length);
  const shown = await ada.messages();
  assert.deepEqual(shown.slice(0, texts.length).map(({ text }) => text), texts);
  assert.equal(shown[0].author, name);
  assert.equal(await ada.page.title(), 'chat:lobby · Skywave');
  assert.equal(await ada.page.evaluate(() => ({}).polluted), undefined);
  assert.equal(await ada.page.locator('#log img, #log script, #log h1, #log b').count(), 0);
  ada.assertQuiet();
  eve.assertQuiet();
});
