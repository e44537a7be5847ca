// One person with a browser: a Chromium context of its own with the page open, and what a test wants to do and read there.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.SKYWAVE_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
/** Anything a test waits for happens within this time. */
const TIMEOUT_MS = 60_000;
const FAILURES = join(import.meta.dirname, '../failures');
/** What a browser itself reports while a server is away; nothing of it is a fault of the page. */
const SERVER_AWAY = /net::ERR_|WebSocket connection to|Failed to establish a connection|Failed to load resource/;

let browser;

async function launch() {
  browser ??= await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
  return browser;
}

/** To be called once a test file is through. */
export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

export class Tab {
  /** Everything on the console that is an error or a warning, and every uncaught exception. */
  complaints = [];

  constructor(page, name) {
    this.page = page;
    this.name = name;
    page.on('crash', () => this.complaints.push('the tab crashed'));
    page.on('pageerror', (error) => this.complaints.push(String(error.stack ?? error)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.complaints.push(message.text());
    });
  }

  /** Opens the page as `name` over `transport` and waits until it is in the room. `beside`: another tab of the same browser. */
  static async open(t, relay, name, options) {
    const tab = await Tab.load(t, relay, name, options);
    await tab.connected();
    return tab;
  }

  /** The same without waiting for the room. */
  static async load(t, relay, name, { transport = 'auto', room = 'chat:lobby', token, beside, clock } = {}) {
    const context = beside?.page.context() ?? (await (await launch()).newContext({ viewport: { width: 1280, height: 860 } }));
    const page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    const tab = new Tab(page, name);
    relay.host(async () => {
      if (!t.passed) await tab.#photograph(t.name);
      await page.close();
    });
    await page.addInitScript(
      ([name, transport]) => {
        localStorage.setItem('skywave.name', name);
        localStorage.setItem('skywave.page.transport', transport);
      },
      [name, transport],
    );
    // Time as the test likes: see `stopTime`.
    if (clock) await page.clock.install();
    await page.goto(`${relay.url}/#${room}${token === undefined ? '' : `?token=${token}`}`);
    return tab;
  }

  async connected() {
    await this.page.waitForSelector('#status[data-state=connected]');
    // In the room as well: only then does it know its position.
    await this.page.waitForFunction(() => document.getElementById('position-offset').textContent !== '–');
  }

  /** No timer of the page (opened with `clock`) runs any more, until … */
  async stopTime() {
    // A moment that is still to come when the page hears of it, and too soon for anything to be due.
    await this.page.clock.pauseAt(Date.now() + 10_000);
  }

  /** … so much time has passed at once; then it goes on as ever. */
  async passTime(ms) {
    await this.page.clock.fastForward(ms);
    await this.page.clock.resume();
  }

  async transport() {
    return this.page.locator('#status-transport').innerText();
  }

  /** Waits until it is connected to this edge. (Edges add to their name what tells their lives apart.) */
  async isAt(node) {
    await this.page.waitForFunction(
      (node) => document.getElementById('fact-node').textContent.startsWith(`${node}-`) && document.getElementById('status').dataset.state === 'connected',
      node,
      { timeout: 60_000 },
    );
  }

  /** Writes and sends; does not wait for anything. */
  async say(text) {
    await this.page.fill('#message', text);
    await this.page.press('#message', 'Enter');
  }

  /** Waits until `count` messages are delivered, none pending. */
  async has(count, { timeout = 120_000 } = {}) {
    await this.page.waitForFunction(
      (count) => document.querySelectorAll('#log .entry').length >= count && document.querySelectorAll('#log-pending .entry').length === 0,
      count,
      { timeout },
    );
  }

  async sees(text) {
    await this.page.waitForFunction(
      (text) => [...document.querySelectorAll('#log .entry-text')].some((element) => element.textContent === text),
      text,
    );
  }

  /** The delivered messages from top to bottom. */
  messages() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('#log .entry')].map((line) => ({
        offset: Number(line.querySelector('.entry-offset').textContent),
        author: line.querySelector('.entry-author').textContent,
        text: line.querySelector('.entry-text').textContent,
      })),
    );
  }

  /** Waits until the page says how its last interruption ended, and returns its words. */
  async recovery(outcome = 'exact') {
    await this.page.waitForSelector(`#recovery[data-outcome=${outcome}]`, { timeout: 120_000 });
    return this.page.locator('#recovery').innerText();
  }

  /** Waits until the list of those present reads so, in any order. */
  async present(...names) {
    await this.page.waitForFunction(
      (names) => JSON.stringify([...document.querySelectorAll('.roster-name')].map((name) => name.textContent).sort()) === JSON.stringify(names),
      [...names].sort(),
    );
  }

  async typing(text) {
    await this.page.waitForFunction((text) => document.getElementById('typing').textContent === text, text);
  }

  /** Fails when the page or the browser complained. `away`: the server was away for a while. */
  assertQuiet({ away = false } = {}) {
    assert.deepEqual(away ? this.complaints.filter((text) => !SERVER_AWAY.test(text)) : this.complaints, [], `${this.name}'s console`);
  }

  async #photograph(test) {
    await mkdir(FAILURES, { recursive: true });
    const file = join(FAILURES, `${`${test} ${this.name}`.replaceAll(/\W+/g, '-')}.png`);
    await this.page.screenshot({ path: file, fullPage: true }).catch(() => {});
    console.error(`screenshot: ${file}\n${this.complaints.join('\n')}`);
  }
}

/** Every tab shows these messages: each once, in the same order, at offsets without a hole. */
export async function assertSameLog(tabs, texts) {
  const logs = await Promise.all(tabs.map((tab) => tab.messages()));
  const [first] = logs;
  assert.deepEqual(first.map(({ offset }) => offset), first.map((_, index) => first[0].offset + index), 'offsets without a hole');
  assert.deepEqual(first.map(({ text }) => text).sort(), [...texts].sort(), 'each message once');
  for (const [index, log] of logs.entries()) assert.deepEqual(log, first, `${tabs[index].name} and ${tabs[0].name} see the same`);
}

/** What one author said appears in the order in which it was said. */
export async function assertOrder(tab, author, texts) {
  const said = (await tab.messages()).filter((message) => message.author === author).map(({ text }) => text);
  assert.deepEqual(said, texts, `${author}'s messages in the order of sending`);
}
