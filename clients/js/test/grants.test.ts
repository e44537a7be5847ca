import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Grants } from '../src/grants.js';
import type { Push } from '../src/protocol.js';
import { pub } from './support/scripted.js';

const OLD = { name: 'old' };
const NEW = { name: 'new' };
const CHANNEL = 'vip';

const at = (offset: number, epoch = 'e') => ({ epoch, offset });
const subscribed = (position?: { epoch: string; offset: number }): Push => ({ subscribed: { channel: CHANNEL, ...position } });
const publication = (offset: number, epoch?: string): Push => pub(CHANNEL, offset, epoch === undefined ? {} : { epoch });
const ephemeral: Push = { pub: { channel: CHANNEL, data: 1 } };
const gap = (from: number, to: number, epoch: string, reason: string): Push => ({ gap: { channel: CHANNEL, epoch, from, to, reason } });
const out: Push = { unsubscribed: { channel: CHANNEL, code: 'forbidden', message: 'out' } };

/** Grants, and what they tell, in short. */
function listening() {
  const told: string[] = [];
  const grants = new Grants({
    granted: ({ position }) => told.push(`granted at ${position?.offset ?? 0}`),
    withdrawn: ({ error }) => told.push(error?.code ?? 'ended'),
    publication: ({ position }) => told.push(position === undefined ? 'ephemeral' : String(position.offset)),
    gap: ({ channel, from, to, epoch, reason }) => {
      assert.equal(channel, CHANNEL);
      told.push(`gap ${from}-${to} ${epoch} ${reason}`);
    },
  });
  return { grants, told: () => told.splice(0) };
}

test('each publication comes once, in order, and what is left out is announced', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  for (const offset of [4, 5, 6, 6, 9, 7]) grants.pushed(OLD, publication(offset));
  grants.pushed(OLD, gap(1, 2, 'f', 'epoch'));
  grants.pushed(OLD, publication(3));
  assert.deepEqual(told(), ['granted at 5', '6', 'gap 7-8 e unavailable', '9', 'gap 1-2 f epoch', '3']);
  assert.deepEqual(grants.sequence(CHANNEL)?.position, at(3, 'f'));
});

test('of a gap only what was not seen is told, with the hole before it', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(OLD, gap(4, 5, 'e', 'unavailable'));
  grants.pushed(OLD, gap(4, 7, 'e', 'retention'));
  grants.pushed(OLD, gap(10, 11, 'e', 'retention'));
  grants.pushed(OLD, publication(12));
  assert.deepEqual(told(), ['granted at 5', 'gap 6-7 e retention', 'gap 8-9 e unavailable', 'gap 10-11 e retention', '12']);
});

test('a new epoch goes on without a word only where nothing is left out', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(OLD, publication(6, 'f'));
  grants.pushed(OLD, publication(4, 'g'));
  grants.pushed(OLD, publication(5, 'g'));
  assert.deepEqual(told(), ['granted at 5', '6', 'gap 1-3 g epoch', '4', '5']);
});

test('after a failover the channel goes on where the log was cut', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(50)));
  grants.pushed(OLD, gap(41, 50, 'f', 'failover'));
  for (const offset of [40, 41, 42]) grants.pushed(OLD, publication(offset));
  assert.deepEqual(told(), ['granted at 50', 'gap 41-50 f failover', '41', '42']);
});

test('a publication that overtakes its grant waits for it', () => {
  const { grants, told } = listening();
  for (const offset of [4, 6, 7]) grants.pushed(OLD, publication(offset));
  grants.pushed(OLD, ephemeral);
  // Of another connection: it says nothing about this one.
  grants.pushed(NEW, publication(8));
  assert.deepEqual(told(), []);
  grants.pushed(OLD, subscribed(at(5)));
  assert.deepEqual(told(), ['granted at 5', '6', '7']);
});

test('what waits is bounded: the oldest goes first, and is then found missing', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, publication(1));
  grants.pushed(OLD, publication(2));
  // Of a channel that is never granted.
  for (let offset = 1; offset <= 1_023; offset++) grants.pushed(OLD, pub('other', offset));
  grants.pushed(OLD, subscribed(at(0)));
  assert.deepEqual(told(), ['granted at 0', 'gap 1-1 e unavailable', '2']);
});

test('what waited for a grant goes with its connection', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, publication(6));
  grants.ended(OLD);
  grants.pushed(OLD, subscribed(at(5)));
  assert.deepEqual(told(), ['granted at 5']);
});

test('a grant ends with its connection or by the backend', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed());
  grants.pushed(OLD, ephemeral);
  grants.ended(OLD);
  grants.pushed(OLD, ephemeral);
  assert.deepEqual(told(), ['granted at 0', 'ephemeral', 'ended']);
  grants.pushed(NEW, subscribed());
  told();
  grants.pushed(OLD, out);
  assert.deepEqual(told(), [], 'said by a connection that has no grant');
  grants.pushed(NEW, out);
  grants.pushed(NEW, out);
  assert.deepEqual(told(), ['forbidden']);
});

test('a grant moves to a new connection without a copy or a silent hole', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(OLD, publication(6));
  grants.pushed(NEW, subscribed(at(7)));
  grants.pushed(OLD, publication(7));
  assert.deepEqual(told(), ['granted at 5', '6', '7']);
  grants.ended(OLD);
  assert.deepEqual(told(), []);
  for (const offset of [7, 9]) grants.pushed(NEW, publication(offset));
  assert.deepEqual(told(), ['gap 8-8 e unavailable', '9']);
  grants.ended(NEW);
  assert.deepEqual(told(), ['ended']);
});

test('while both connections carry a channel, each publication counts once', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(NEW, subscribed(at(5)));
  grants.pushed(NEW, publication(6));
  grants.pushed(OLD, publication(6));
  grants.pushed(OLD, publication(7));
  grants.pushed(NEW, publication(7));
  grants.pushed(OLD, ephemeral);
  grants.pushed(NEW, ephemeral);
  assert.deepEqual(told(), ['granted at 5', '6', '7', 'ephemeral']);
});

test('a publication on the new connection waits for the grant there, also while the old one stands', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(NEW, publication(8));
  grants.pushed(OLD, publication(6));
  grants.pushed(OLD, publication(7));
  grants.pushed(NEW, subscribed(at(7)));
  assert.deepEqual(told(), ['granted at 5', '6', '7', '8']);
});

test('what the old connection still owes when it ends is announced, though nothing follows', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(NEW, subscribed(at(9)));
  grants.pushed(OLD, publication(6));
  told();
  grants.ended(OLD);
  assert.deepEqual(told(), ['gap 7-9 e unavailable']);
  grants.pushed(NEW, publication(10));
  assert.deepEqual(told(), ['10']);
});

test('a grant that moves into another epoch says so, and the old connection has no say in it any more', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(NEW, subscribed(at(3, 'f')));
  grants.pushed(OLD, publication(4, 'e'));
  grants.pushed(OLD, gap(4, 8, 'e', 'unavailable'));
  grants.ended(OLD);
  grants.pushed(NEW, publication(4, 'f'));
  assert.deepEqual(told(), ['granted at 5', 'gap 1-3 f epoch', '4']);
  assert.deepEqual(grants.sequence(CHANNEL)?.position, at(4, 'f'));
});

test('once another epoch counts, the old connection owes nothing', () => {
  const { grants, told } = listening();
  grants.pushed(OLD, subscribed(at(5)));
  grants.pushed(NEW, subscribed(at(9)));
  grants.pushed(NEW, gap(1, 2, 'f', 'epoch'));
  grants.ended(OLD);
  grants.pushed(NEW, publication(3, 'f'));
  assert.deepEqual(told(), ['granted at 5', 'gap 1-2 f epoch', '3']);
});

test('a listener that gives the channel up gets nothing more of it', () => {
  const told: string[] = [];
  const grants: Grants = new Grants({
    granted: () => told.push('granted'),
    withdrawn: () => told.push('withdrawn'),
    publication: () => told.push('publication'),
    gap: ({ channel }) => {
      told.push('gap');
      grants.takeOver(channel);
    },
  });
  grants.pushed(OLD, publication(8));
  grants.pushed(OLD, publication(9));
  grants.pushed(OLD, subscribed(at(5)));
  assert.deepEqual(told.splice(0), ['granted', 'gap', 'withdrawn'], 'nor of what waited');
  grants.pushed(OLD, subscribed(at(8)));
  assert.deepEqual(told.splice(0), ['granted']);
  grants.pushed(OLD, gap(10, 11, 'e', 'retention'));
  assert.deepEqual(told, ['gap', 'withdrawn']);
});
