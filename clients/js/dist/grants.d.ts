/**
 * Channels a backend has put this client into. They last as long as the connection: the client does not ask for them
 * again after reconnecting, because only the backend knows whether it should be there.
 *
 * Bounded by what the server grants to one connection.
 */
import { SkywaveError } from './errors.js';
import { type Position, type Push } from './protocol.js';
import type { Publication } from './subscription.js';
export interface Granted {
    readonly channel: string;
    /** Where the channel stood; `undefined` for an ephemeral one. */
    readonly position: Position | undefined;
}
export interface Withdrawn {
    readonly channel: string;
    /** Absent when the connection ended. */
    readonly error?: SkywaveError;
}
export interface GrantListener {
    granted(event: Granted): void;
    withdrawn(event: Withdrawn): void;
    publication(event: Publication): void;
}
export declare class Grants {
    #private;
    constructor(listener: GrantListener);
    /** Takes a push about a channel that the application has not subscribed to. */
    pushed(push: Push): void;
    /** The connection has ended, and all grants with it. */
    ended(): void;
}
