/**
 * Publications on their way: kept until the server has acknowledged them, sent again under the same id after a
 * reconnect, in the order in which they were published.
 *
 * Bounded: when it is full, `publish` fails at once with `outbox_full` and nothing is sent. Several are under way at a time;
 * when one of them is refused for the moment (rate limit, log unavailable), its channel waits and the refused one goes
 * first, but those sent before the refusal came may be published ahead of it. `inFlight: 1` rules that out.
 */
import { type Connection } from './connection.js';
import type { Environment } from './environment.js';
import { type Position } from './protocol.js';
export interface OutboxLimits {
    /** Publications that wait or are under way. */
    readonly entries: number;
    /** Their size together, in bytes of JSON. */
    readonly bytes: number;
    /** Publications sent and not yet acknowledged. */
    readonly inFlight: number;
}
export declare const DEFAULT_OUTBOX: OutboxLimits;
/** The acknowledgement of a publication. */
export interface Published {
    readonly id: string;
    /** Where it stands; `undefined` in an ephemeral channel. */
    readonly position: Position | undefined;
    /** The same id had been published before; `position` is the first one's. */
    readonly duplicate: boolean;
}
export declare class Outbox {
    #private;
    private readonly env;
    private readonly limits;
    /** Gets a new token accepted; false when there is none to be had. */
    private readonly renewToken;
    constructor(env: Environment, limits: OutboxLimits, 
    /** Gets a new token accepted; false when there is none to be had. */
    renewToken: () => Promise<boolean>);
    /** Publications that are not acknowledged yet. */
    get pending(): number;
    /** `messageBytes`: the server's limit as far as it is known. `timeoutMs`: give up after this long. */
    publish(channel: string, id: string, data: unknown, messageBytes: number, timeoutMs?: number): Promise<Published>;
    /** Goes on over `connection`; what was under way on another one is sent again, first. */
    attach(connection: Connection): void;
    detach(): void;
    /** Rejects everything: nothing of it will be sent any more. */
    abandon(reason: string): void;
}
/** The body of a publication without an id: nobody waits for it. */
export declare function encodeEphemeral(channel: string, data: unknown): string;
