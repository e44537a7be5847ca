/**
 * The client: keeps one connection up (or says that it will not), and moves subscriptions, publications and questions
 * from one connection to the next.
 *
 * It owns the connections and decides when to connect, with which transport and token, and when to give up. What a
 * publication or a subscription survives, and how, is theirs to know (`outbox`, `subscription`).
 */
import { Emitter } from './events.js';
import { type Granted, type GrantedGap, type Withdrawn } from './grants.js';
import { type SkywaveOptions } from './options.js';
import { type Published } from './outbox.js';
import { type Member } from './protocol.js';
import { Subscription, type Publication, type PublishOptions, type SubscribeOptions } from './subscription.js';
import type { TransportName } from './transports/transport.js';
/**
 * `connecting`: not connected, and trying or about to try. `disconnected`: not connected and it will stay so until
 * `connect()` is called.
 */
export type State = 'connecting' | 'connected' | 'disconnected';
export interface StateChange {
    readonly state: State;
    readonly previous: State;
    /** Why the last connection or attempt ended; absent when there was none. */
    readonly cause?: {
        readonly code: number;
        readonly reason: string;
    };
    /** `connecting`: until the next attempt, when it waits. */
    readonly retryInMs?: number;
}
/** What the server said about the connection. */
export interface ConnectionInfo {
    readonly client: string;
    readonly user: string | undefined;
    readonly region: string;
    readonly node: string;
    readonly transport: TransportName;
}
export interface ClientEvents {
    state: StateChange;
    connected: ConnectionInfo;
    /** The server asked to move to another node; it happens without a gap. */
    move: {
        readonly target: string | undefined;
    };
    /** A backend put this client into a channel; its publications come as the client's own `publication` events. */
    granted: Granted;
    /** A backend took it out again, the connection ended, or a subscription of the application's own took the channel over. */
    withdrawn: Withdrawn;
    /** In a channel that a backend put this client into: each once and in order. Others come to their subscription. */
    publication: Publication;
    /** Publications of such a channel that do not come. Those of others are announced to their subscription. */
    gap: GrantedGap;
    /** Something went wrong that the client deals with by itself, e.g. `getToken` failed. */
    error: Error;
}
export interface HistoryOptions {
    /** Only what follows this offset. */
    readonly after?: number;
    /** Only what precedes this offset. */
    readonly before?: number;
    /** 1 to 1,000; 100 by default. */
    readonly limit?: number;
    /** Newest first. */
    readonly reverse?: boolean;
}
export interface HistoryPage<Data = unknown> {
    readonly epoch: string;
    /** The channel's newest offset; 0 when nothing was ever published. */
    readonly head: number;
    readonly publications: readonly Publication<Data>[];
}
export declare class Skywave extends Emitter<ClientEvents> {
    #private;
    constructor(options?: SkywaveOptions);
    get state(): State;
    /** The present connection; `undefined` unless connected. */
    get info(): ConnectionInfo | undefined;
    /** Publications that wait for their acknowledgement. */
    get pending(): number;
    /** Starts connecting, also after `close()` or after the client gave up. */
    connect(): void;
    /** Disconnects until `connect()` is called; subscriptions keep their position, publications wait. */
    disconnect(): void;
    /** Disconnects for good: what waits for an answer is rejected. */
    close(): void;
    /** A new message id (a ULID), to know a publication by before it is published. */
    newId(): string;
    /**
     * Subscribes to a channel; the same object for the same channel. Options count the first time, except that
     * `presence: true` may be added later.
     */
    subscribe<Data = unknown>(channel: string, options?: SubscribeOptions): Subscription<Data>;
    /**
     * Publishes and resolves with the acknowledgement: from then on the publication is durable and has its place. Until
     * then it is kept and sent again under the same id, whatever happens to connections. `Uint8Array` travels as bytes,
     * everything else as JSON.
     *
     * Rejects with a `SkywaveError`: refused for good, too large, outbox full, timed out or closed; `outcomeUnknown` tells
     * whether it may have been published all the same.
     */
    publish(channel: string, data: unknown, options?: PublishOptions): Promise<Published>;
    /**
     * Sends once, at most: no acknowledgement, no retry, a datagram where there are such. False when it was not sent.
     * Meant for ephemeral channels (typing, cursors).
     */
    publishEphemeral(channel: string, data: unknown): boolean;
    /** A page of a channel's history; oldest first unless `reverse`. */
    history<Data = unknown>(channel: string, options?: HistoryOptions): Promise<HistoryPage<Data>>;
    /** Who is present in a channel. */
    presence(channel: string): Promise<readonly Member[]>;
}
