/**
 * The position of one subscription and the judgement of every publication against it: this is where "exactly once, in
 * order, no silent hole" is decided. Pure state; it knows no connection.
 */

import type { Position } from './protocol.js';

/** `next`: deliver it. `duplicate`: seen before. `hole`: something is missing before it. */
export type Verdict = 'next' | 'duplicate' | 'hole';

/** What of an announced gap is news: `undefined` when everything in it was seen before. */
export interface Skipped {
  readonly from: number;
  readonly to: number;
}

export class Sequence {
  #position: Position | undefined;

  constructor(position?: Position) {
    this.#position = position;
  }

  /** The last publication delivered (or skipped by an announced gap); `undefined` before the first subscribe. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Starts at `position`, whatever was before: a subscription that asked for no recovery. */
  start(position: Position): void {
    this.#position = position;
  }

  /**
   * The log went on under a new epoch and everything up to our offset is the same in both (the server said `exact`).
   * The position keeps its offset.
   */
  adopt(epoch: string): void {
    if (this.#position !== undefined) this.#position = { epoch, offset: this.#position.offset };
  }

  /** Judges a durable publication and, when it is the next one, moves on to it. */
  take(offset: number, epoch: string | undefined): Verdict {
    const at = this.#position;
    if (at === undefined) return 'hole';
    const sameEpoch = epoch === undefined || epoch === at.epoch;
    if (sameEpoch && offset <= at.offset) return 'duplicate';
    if (offset !== at.offset + 1) return 'hole';
    this.#position = { epoch: epoch ?? at.epoch, offset };
    return 'next';
  }

  /**
   * Takes the gap with which the server answered a recovery: what follows is numbered from `head` on at the latest. After
   * a failover that cut the log, the gap is what this client saw beyond the cut, and the position goes back.
   */
  resume(from: number, to: number, head: Position): Skipped | undefined {
    if (to <= head.offset) return this.skip(from, to, head.epoch);
    this.#position = head;
    return { from, to };
  }

  /** Takes a gap announced while subscribed. In a new epoch the old offset says nothing, so the whole gap is news. */
  skip(from: number, to: number, epoch: string): Skipped | undefined {
    const at = this.#position;
    if (at !== undefined && at.epoch === epoch) {
      if (to <= at.offset) return undefined;
      from = Math.max(from, at.offset + 1);
    }
    this.#position = { epoch, offset: to };
    return { from, to };
  }
}
