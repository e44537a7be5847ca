/**
 * What the client needs from the world: time, randomness, page lifecycle. Everything else in this library is a
 * function of what comes in through here and through a transport, so a test can run it on virtual time.
 */
/** Opaque to the client. */
export type Timer = unknown;
export interface Environment {
    /** Milliseconds since the Unix epoch. Used for ids and durations, never for order. */
    now(): number;
    setTimeout(run: () => void, ms: number): Timer;
    clearTimeout(timer: Timer): void;
    /** Runs after the current turn, before anything else comes in. */
    defer(run: () => void): void;
    /** 0 ≤ x < 1. */
    random(): number;
    randomBytes(count: number): Uint8Array;
    /** Calls `listener` when the network comes back or the page becomes visible; returns the function that stops it. */
    watch(listener: (signal: 'online' | 'visible') => void): () => void;
    /** Takes an error of the application's own listeners. */
    report(error: unknown): void;
}
/** The browser's or Node's own. */
export declare function systemEnvironment(): Environment;
