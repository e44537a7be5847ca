/** Virtual time and page events: nothing happens until a test lets time pass. */

import type { Environment } from '../../src/environment.js';

interface Scheduled {
  at: number;
  order: number;
  run: () => void;
}

export class VirtualEnvironment implements Environment {
  time = 1_700_000_000_000;
  /** What `random()` returns. */
  chance = 0.5;
  watcher: ((signal: 'online' | 'visible') => void) | undefined;
  #order = 0;
  #byte = 0;
  readonly #timers = new Set<Scheduled>();

  now(): number {
    return this.time;
  }

  setTimeout(run: () => void, ms: number): Scheduled {
    const timer = { at: this.time + ms, order: this.#order++, run };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Scheduled);
  }

  defer(run: () => void): void {
    queueMicrotask(run);
  }

  random(): number {
    return this.chance;
  }

  randomBytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.#byte++ & 255);
  }

  watch(listener: (signal: 'online' | 'visible') => void): () => void {
    this.watcher = listener;
    return () => {
      this.watcher = undefined;
    };
  }

  /** Errors of listeners. */
  readonly reported: unknown[] = [];

  report(error: unknown): void {
    this.reported.push(error);
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Lets promises that are ready go on. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  }

  /** Lets `ms` pass; timers run at their time, promises in between. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await this.settle();
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.time = Math.max(this.time, due.at);
      due.run();
      await this.settle();
    }
    this.time = end;
  }
}
