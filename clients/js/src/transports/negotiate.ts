/**
 * Which transport to try next: what worked last time first, then the preferred order; a round ends when each was tried
 * once. What worked is remembered (also across page loads, when a store is given), but a fallback only for a while, so
 * that a network that once blocked the better transport gets another chance.
 */

import type { TransportName } from './transport.js';

/** A fallback is preferred for this long, in ms. */
export const FALLBACK_MEMORY_MS = 10 * 60_000;

/** Where the choice is kept between page loads; `localStorage` fits. Errors are ignored: memory alone does then. */
export interface TextStore {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

const KEY = 'skywave.transport';

interface Memory {
  readonly name: TransportName;
  readonly at: number;
}

export class Negotiator {
  #worked: Memory | undefined;
  #round: TransportName[] = [];

  constructor(
    private readonly preferred: readonly TransportName[],
    private readonly now: () => number,
    private readonly store?: TextStore,
  ) {
    this.#worked = this.#load();
  }

  /** The transport to try now; starts a new round when none is left in this one. */
  next(): TransportName | undefined {
    if (this.#round.length === 0) this.#round = this.#order();
    return this.#round.shift();
  }

  /** Whether the current round has a transport that was not tried yet. */
  get more(): boolean {
    return this.#round.length > 0;
  }

  worked(name: TransportName): void {
    // A fallback keeps the time at which it was first chosen, or it would be renewed for ever.
    const fallback = this.#worked?.name === name && name !== this.preferred[0];
    this.#worked = { name, at: fallback && this.#fresh() ? this.#worked!.at : this.now() };
    this.#round = [];
    try {
      this.store?.setItem(KEY, JSON.stringify(this.#worked));
    } catch {
      // A full or forbidden store costs one extra attempt after the next page load.
    }
  }

  #order(): TransportName[] {
    const first = this.#fresh() ? this.#worked!.name : undefined;
    if (first === undefined) return [...this.preferred];
    return [first, ...this.preferred.filter((name) => name !== first)];
  }

  #fresh(): boolean {
    const memory = this.#worked;
    if (memory === undefined || !this.preferred.includes(memory.name)) return false;
    return memory.name === this.preferred[0] || Math.abs(this.now() - memory.at) < FALLBACK_MEMORY_MS;
  }

  #load(): Memory | undefined {
    try {
      const memory = JSON.parse(this.store?.getItem(KEY) ?? 'null') as Partial<Memory> | null;
      return memory && typeof memory.name === 'string' && typeof memory.at === 'number' ? (memory as Memory) : undefined;
    } catch {
      return undefined;
    }
  }
}
