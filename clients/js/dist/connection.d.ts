/**
 * One connection: a transport, the handshake on it, requests and their answers, and the watch over its liveness.
 *
 * It owns nothing that must outlive it: after a loss, whoever asked asks again on the next connection.
 */
import type { Environment } from './environment.js';
import type { Push, Reply, Requests, WireConnected, WireError } from './protocol.js';
import type { OpenTransport, TransportEnd, TransportName } from './transports/transport.js';
/** How a connection ended. */
export interface Loss extends TransportEnd {
    /** The server's answer to `connect` when it was an error. */
    readonly error?: WireError;
    /** Whether the transport itself came up: if not, another transport may. */
    readonly reached: boolean;
}
export interface ConnectionOwner {
    established(connection: Connection): void;
    pushed(connection: Connection, push: Push): void;
    /** Comes exactly once, unless `close` was called. */
    lost(connection: Connection, loss: Loss): void;
}
export interface ConnectionSettings {
    readonly transport: TransportName;
    readonly base: string;
    readonly open: OpenTransport;
    readonly connect: Requests['connect'];
    /** From opening the transport to the server's `connected`, in ms. */
    readonly timeoutMs: number;
    /** Instead of the server's intervals; see `SkywaveOptions.heartbeatMs`. */
    readonly heartbeatMs: number | undefined;
}
export declare class Connection {
    #private;
    private readonly env;
    private readonly owner;
    private readonly settings;
    readonly transport: TransportName;
    constructor(env: Environment, owner: ConnectionOwner, settings: ConnectionSettings);
    /** What the server said about itself and this connection; there once it is established. */
    get info(): WireConnected | undefined;
    get messageBytes(): number;
    /** Sends a request whose answer comes to `answer`, at the latest as the error `timeout`; never, after a loss. */
    request<Kind extends keyof Requests>(kind: Kind, body: Requests[Kind], answer: (reply: Reply) => void): void;
    /** The same with a body that is JSON text already. */
    requestEncoded(kind: keyof Requests, body: string, answer: (reply: Reply) => void): void;
    /** Sends a publication that may be lost. False: it was not even sent (no connection yet, or too much is waiting). */
    publishUnreliable(body: string): boolean;
    /** Asks for a sign of life; without one in `withinMs` the connection counts as lost. */
    probe(withinMs: number): void;
    /** Ends it from our side; the owner hears nothing more of it. What was queued in this turn still leaves. */
    close(code: number, reason: string): void;
}
/** Length of `text` in UTF-8. */
export declare function byteLength(text: string): number;
