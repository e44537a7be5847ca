/**
 * Exponential backoff with full jitter: the n-th wait is uniform between 0 and `base · 2ⁿ` (at most `max`), so that clients
 * that lost the same node do not come back together.
 */
export const DEFAULT_BACKOFF = { base: 1_000, max: 30_000 };
export class Backoff {
    random;
    options;
    #attempt = 0;
    constructor(random, options = DEFAULT_BACKOFF) {
        this.random = random;
        this.options = options;
    }
    /** Waits handed out since the last {@link reset}. */
    get attempt() {
        return this.#attempt;
    }
    /**
     * The next wait in ms. `notBefore` is the server's `retry_after_ms`: a floor under the wait, with the jitter on top, so
     * that clients told the same number still spread.
     */
    next(notBefore = 0) {
        const bound = Math.min(this.options.max, this.options.base * 2 ** Math.min(this.#attempt, 30));
        this.#attempt += 1;
        return notBefore + Math.round(this.random() * bound);
    }
    reset() {
        this.#attempt = 0;
    }
}
