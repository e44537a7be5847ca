import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backoff } from '../src/backoff.js';

test('waits are uniform below a bound that doubles up to the maximum', () => {
  const high = new Backoff(() => 0.999999, { base: 1_000, max: 30_000 });
  assert.deepEqual(Array.from({ length: 7 }, () => high.next()), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  const low = new Backoff(() => 0, { base: 1_000, max: 30_000 });
  assert.deepEqual([low.next(), low.next()], [0, 0]);
});

test('the jitter comes on top of what the server asked for', () => {
  const backoff = new Backoff(() => 0.5, { base: 1_000, max: 30_000 });
  assert.equal(backoff.next(5_000), 5_500);
});

test('a reset starts over, and endless attempts do not overflow', () => {
  const backoff = new Backoff(() => 0.5);
  for (let attempt = 0; attempt < 2_000; attempt++) assert.ok(backoff.next() <= 15_000);
  backoff.reset();
  assert.equal(backoff.attempt, 0);
  assert.equal(backoff.next(), 500);
});
