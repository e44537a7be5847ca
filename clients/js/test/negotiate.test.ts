import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FALLBACK_MEMORY_MS, Negotiator } from '../src/transports/negotiate.js';

const ALL = ['webtransport', 'websocket', 'sse'] as const;

function memory(): { getItem(key: string): string | null; setItem(key: string, value: string): void } {
  const items = new Map<string, string>();
  return { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value) };
}

test('a round tries each transport once, in order', () => {
  const negotiator = new Negotiator(ALL, () => 0);
  assert.deepEqual([negotiator.next(), negotiator.next(), negotiator.more, negotiator.next()], ['webtransport', 'websocket', true, 'sse']);
  assert.equal(negotiator.more, false);
  assert.equal(negotiator.next(), 'webtransport');
});

test('what worked comes first, also after a page load, but a fallback not for ever', () => {
  let now = 0;
  const store = memory();
  const negotiator = new Negotiator(ALL, () => now, store);
  negotiator.worked('websocket');
  assert.equal(negotiator.next(), 'websocket');
  now = FALLBACK_MEMORY_MS - 1;
  negotiator.worked('websocket');
  assert.equal(new Negotiator(ALL, () => now, store).next(), 'websocket');
  now = FALLBACK_MEMORY_MS;
  assert.equal(new Negotiator(ALL, () => now, store).next(), 'webtransport');
});

test('a store that lies or fails changes nothing', () => {
  for (const text of ['{', '7', '{"name":"pigeon","at":0}', '{"name":7}']) {
    const store = { getItem: () => text, setItem: () => { throw new Error('full'); } };
    const negotiator = new Negotiator(ALL, () => 0, store);
    assert.equal(negotiator.next(), 'webtransport', text);
    negotiator.worked('sse');
    assert.equal(negotiator.next(), 'sse');
  }
});
