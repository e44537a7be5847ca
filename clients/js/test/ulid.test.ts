import assert from 'node:assert/strict';
import { test } from 'node:test';

import { UlidSource } from '../src/ulid.js';

const random = (count: number) => globalThis.crypto.getRandomValues(new Uint8Array(count));

test('encodes the time as the specification does', () => {
  const id = new UlidSource(() => 1_469_918_176_385, random).next();
  assert.match(id, /^01ARYZ6S41[0-9A-HJKMNP-TV-Z]{16}$/);
});

test('ids increase within one millisecond and when the clock steps back', () => {
  let now = 1_000;
  const source = new UlidSource(() => now, random);
  let previous = source.next();
  for (let count = 0; count < 5_000; count++) {
    if (count === 2_500) now = 10;
    const next = source.next();
    assert.ok(next > previous, `${next} after ${previous}`);
    previous = next;
  }
});

test('when the random part is used up, the time gives way', () => {
  const source = new UlidSource(() => 0, (count) => new Uint8Array(count).fill(255));
  const last = source.next();
  assert.equal(last, '0000000000ZZZZZZZZZZZZZZZZ');
  assert.equal(source.next(), '00000000010000000000000000');
});
