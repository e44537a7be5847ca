/**
 * Exponential backoff with full jitter: the n-th wait is uniform between 0 and `base · 2ⁿ` (at most `max`), so that clients
 * that lost the same node do not come back together.
 */

export interface BackoffOptions {
  /** Upper bound of the first wait, in ms. */
  readonly base: number;
  /** Upper bound of every wait, in ms. */
  readonly max: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = { base: 1_000, max: 30_000 };

export class Backoff {
  #attempt = 0;

  constructor(
    private readonly random: () => number,
    private readonly options: BackoffOptions = DEFAULT_BACKOFF,
  ) {}

  /** Waits handed out since the last {@link reset}. */
  get attempt(): number {
    return this.#attempt;
  }

  /**
   * The next wait in ms. `notBefore` is the server's `retry_after_ms`: a floor under the wait, with the jitter on top, so
   * that clients told the same number still spread.
   */
  next(notBefore = 0): number {
    const bound = Math.min(this.options.max, this.options.base * 2 ** Math.min(this.#attempt, 30));
    this.#attempt += 1;
    return notBefore + Math.round(this.random() * bound);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
