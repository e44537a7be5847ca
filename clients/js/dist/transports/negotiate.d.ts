/**
 * Which transport to try next: what worked last time first, then the preferred order; a round ends when each was tried
 * once. What worked is remembered (also across page loads, when a store is given), but a fallback only for a while, so
 * that a network that once blocked the better transport gets another chance.
 */
import type { TransportName } from './transport.js';
/** A fallback is preferred for this long, in ms. */
export declare const FALLBACK_MEMORY_MS: number;
/** Where the choice is kept between page loads; `localStorage` fits. Errors are ignored: memory alone does then. */
export interface TextStore {
    getItem(key: string): string | null;
    setItem(key: string, value: string): void;
}
export declare class Negotiator {
    #private;
    private readonly preferred;
    private readonly now;
    private readonly store?;
    constructor(preferred: readonly TransportName[], now: () => number, store?: TextStore | undefined);
    /** The transport to try now; starts a new round when none is left in this one. */
    next(): TransportName | undefined;
    /** Whether the current round has a transport that was not tried yet. */
    get more(): boolean;
    worked(name: TransportName): void;
}
