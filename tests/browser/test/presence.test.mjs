import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { Relay } from '../support/relay.mjs';
import { closeBrowser, Tab } from '../support/tab.mjs';

after(closeBrowser);

test('a second tab of the same user does not make the first one leave', async (t) => {
  const relay = await Relay.start(t);
  const token = relay.token('ada');
  const konrad = await Tab.open(t, relay, 'Konrad');
  const first = await Tab.open(t, relay, 'Ada', { token });
  const second = await Tab.open(t, relay, 'Ada', { token, transport: 'websocket', beside: first });
  for (const tab of [konrad, first, second]) await tab.present('Ada', 'Konrad');
  assert.equal(await first.page.locator('#fact-user').innerText(), 'ada');

  await second.page.close();
  // Something that comes after the second tab has left: had it counted as a leave, it would be seen by now.
  const third = await Tab.open(t, relay, 'Sonja');
  await konrad.present('Ada', 'Konrad', 'Sonja');
  await third.page.close();
  await konrad.present('Ada', 'Konrad');
  await first.page.close();
  await konrad.present('Konrad');
  konrad.assertQuiet();
});

test('the token does not stay in the address', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada', { token: relay.token('ada') });
  assert.equal(new URL(ada.page.url()).hash, '#chat:lobby');
  await ada.page.reload();
  await ada.connected();
  assert.equal(await ada.page.locator('#fact-user').innerText(), 'ada');
});

test('typing shows, is ended by the message, and expires by itself', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada', { transport: 'webtransport' });
  const konrad = await Tab.open(t, relay, 'Konrad', { transport: 'websocket' });
  await konrad.present('Ada', 'Konrad');
  await ada.page.locator('#message').pressSequentially('hello');
  await konrad.typing('Ada is typing …');
  await ada.page.press('#message', 'Enter');
  await konrad.sees('hello');
  await konrad.typing('');
  await konrad.page.locator('#message').pressSequentially('hm');
  await ada.typing('Konrad is typing …');
  await ada.typing('');
  assert.equal(await konrad.page.inputValue('#message'), 'hm');
  ada.assertQuiet();
  konrad.assertQuiet();
});

test('a new name is known to the others', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada');
  const konrad = await Tab.open(t, relay, 'Konrad');
  await konrad.present('Ada', 'Konrad');
  await ada.page.fill('#name', 'Countess');
  await ada.page.press('#name', 'Enter');
  await konrad.present('Countess', 'Konrad');
  await ada.say('hello');
  await konrad.sees('hello');
  assert.equal((await konrad.messages())[0].author, 'Countess');
});

test('a burst measures durable and ephemeral deliveries', async (t) => {
  const relay = await Relay.start(t);
  const ada = await Tab.open(t, relay, 'Ada');
  await ada.page.click('#burst');
  await ada.page.waitForFunction(() => /durable [\d.]+ ms, ephemeral [\d.]+ ms/.test(document.getElementById('latency-summary').textContent));
  ada.assertQuiet();
});
