/**
 * Channels a backend has put this client into. They last as long as the connection: the client does not ask for them
 * again after reconnecting, because only the backend knows whether it should be there.
 *
 * - Each durable publication once and in order; what is left out is announced. It is not fetched: whoever wants it reads
 *   history.
 * - A push that overtakes its `subscribed` (streams of WebTransport are independent) waits for it.
 * - While the client moves, a grant on the new connection takes the place of the one on the old, and both feed the same
 *   sequence until the old connection is gone.
 *
 * It owns the grants and what waits for one. Bounded by what the server grants to one connection. It never asks the server
 * for anything.
 */
import { SkywaveError } from './errors.js';
import { type Position, type Push } from './protocol.js';
import { Sequence } from './sequence.js';
import type { Gap, Publication } from './subscription.js';
/** A connection. Only which one it is counts here. */
type Origin = object;
export interface Granted {
    readonly channel: string;
    /** Where the channel stood; `undefined` for an ephemeral one. */
    readonly position: Position | undefined;
}
/** Publications `from` … `to` (both included) of a channel that a backend put this client into do not come. */
export interface GrantedGap extends Gap {
    readonly channel: string;
}
export interface Withdrawn {
    readonly channel: string;
    /** Absent when the connection ended, or when the application has subscribed to the channel itself or left it. */
    readonly error?: SkywaveError;
}
export interface GrantListener {
    granted(event: Granted): void;
    withdrawn(event: Withdrawn): void;
    publication(event: Publication): void;
    gap(event: GrantedGap): void;
}
export declare class Grants {
    #private;
    constructor(listener: GrantListener);
    /** Whether what this connection says of the channel is said of a grant. */
    stands(channel: string, of: Origin): boolean;
    /** What a grant of the channel is judged by; whoever takes the channel over goes on with it. */
    sequence(channel: string): Sequence | undefined;
    /** Takes a push about a channel that is granted, or that the application has not subscribed to. */
    pushed(of: Origin, push: Push): void;
    /** The application has the channel from here on, or wants it no more. False: it was not granted. */
    takeOver(channel: string): boolean;
    /** A connection has ended, and its grants with it. */
    ended(of: Origin): void;
}
export {};
