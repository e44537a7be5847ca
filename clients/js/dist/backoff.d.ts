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
export declare const DEFAULT_BACKOFF: BackoffOptions;
export declare class Backoff {
    #private;
    private readonly random;
    private readonly options;
    constructor(random: () => number, options?: BackoffOptions);
    /** Waits handed out since the last {@link reset}. */
    get attempt(): number;
    /**
     * The next wait in ms. `notBefore` is the server's `retry_after_ms`: a floor under the wait, with the jitter on top, so
     * that clients told the same number still spread.
     */
    next(notBefore?: number): number;
    reset(): void;
}
