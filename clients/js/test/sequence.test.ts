import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Sequence } from '../src/sequence.js';

const at = (offset: number, epoch = 'a') => ({ epoch, offset });

test('takes the next one only', () => {
  const sequence = new Sequence(at(4));
  assert.equal(sequence.take(6, undefined), 'hole');
  assert.equal(sequence.take(5, undefined), 'next');
  assert.equal(sequence.take(5, 'a'), 'duplicate');
  assert.equal(sequence.take(1, undefined), 'duplicate');
  assert.deepEqual(sequence.position, at(5));
});

test('a new epoch continues only without a jump', () => {
  const sequence = new Sequence(at(4));
  assert.equal(sequence.take(3, 'b'), 'hole');
  assert.equal(sequence.take(5, 'b'), 'next');
  assert.deepEqual(sequence.position, at(5, 'b'));
});

test('of a gap only the unseen part is news', () => {
  const sequence = new Sequence(at(4));
  assert.equal(sequence.skip(2, 4, 'a'), undefined);
  assert.deepEqual(sequence.skip(3, 9, 'a'), { from: 5, to: 9 });
  assert.equal(sequence.take(10, 'a'), 'next');
});

test('a gap into another epoch is news as a whole', () => {
  const sequence = new Sequence(at(41));
  assert.deepEqual(sequence.skip(1, 3, 'b'), { from: 1, to: 3 });
  assert.deepEqual(sequence.position, at(3, 'b'));
});

test('after a cut of the log the position goes back to where the log ends', () => {
  const sequence = new Sequence(at(50));
  assert.deepEqual(sequence.resume(41, 50, at(40)), { from: 41, to: 50 });
  assert.equal(sequence.take(41, undefined), 'next');
});
