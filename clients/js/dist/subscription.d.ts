/**
 * One channel as one client sees it: subscribes on whatever connection there is, recovers from its position, and turns
 * what comes in into events that are exactly once and in order.
 *
 * While a subscribe is under way, what arrives on that connection is kept until its answer: over WebTransport the
 * publications have a stream of their own and may overtake it. While the client moves between two nodes, the old
 * connection goes on delivering until the new one answers; the position sorts out what comes twice.
 *
 * A channel that a backend has granted stays the grant's until the server has taken the subscription. Both go by the same
 * sequence, so the subscription begins behind what the grant has delivered.
 */
import type { Environment } from './environment.js';
import { SkywaveError } from './errors.js';
import { Emitter } from './events.js';
import type { Published } from './outbox.js';
import type { PositionStore } from './positions.js';
import type { GapReason, Member, Position, WireGap } from './protocol.js';
import { Sequence } from './sequence.js';
export interface Publication<Data = unknown> {
    readonly channel: string;
    /** `undefined` for an ephemeral publication. */
    readonly position: Position | undefined;
    /** The publisher's id of it. */
    readonly id: string | undefined;
    /** The publishing user; `undefined` for an anonymous one. */
    readonly from: string | undefined;
    /** When it was recorded, in ms since the Unix epoch; by the server's clock. */
    readonly time: number | undefined;
    readonly data: Data;
    /** It was published while this client was away. */
    readonly recovered: boolean;
}
/** Every publication after `from` has been delivered: nothing was lost, nothing came twice. */
export interface Recovered {
    /** Where the subscription stood before. */
    readonly from: Position;
    /** Where it stands now. */
    readonly to: Position;
    /** How many publications were missed and delivered since. */
    readonly count: number;
}
/** Publications `from` … `to` (both included) cannot be had. */
export interface Gap extends WireGap {
    readonly epoch: string;
    readonly reason: GapReason;
}
export interface Subscribed {
    /** `undefined` in an ephemeral channel. */
    readonly position: Position | undefined;
    /** Whether it went on from an earlier position. */
    readonly resumed: boolean;
}
export interface SubscriptionEvents<Data = unknown> {
    publication: Publication<Data>;
    recovered: Recovered;
    gap: Gap;
    join: Member;
    leave: Member;
    /** After every change of the position, before the next publication. */
    position: Position;
    /** The server has taken the subscription: the first time, and again after every reconnect. */
    subscribed: Subscribed;
    /** It ended and will not come back by itself; `error` is absent when the application unsubscribed. */
    unsubscribed: {
        readonly error?: SkywaveError;
    };
    /** A subscribe was refused; `retryInMs` says when it is tried again, if it is. */
    error: {
        readonly error: SkywaveError;
        readonly retryInMs: number | undefined;
    };
}
export interface SubscribeOptions {
    /** Start after this position instead of at the channel's end. */
    readonly recover?: Position;
    /** Receive `join` and `leave`. */
    readonly presence?: boolean;
}
/** What a subscription needs of its client. */
export interface SubscriptionHost {
    readonly env: Environment;
    readonly positions: PositionStore | undefined;
    publish(channel: string, data: unknown, options?: PublishOptions): Promise<Published>;
    publishEphemeral(channel: string, data: unknown): boolean;
    presence(channel: string): Promise<readonly Member[]>;
    renewToken(): Promise<boolean>;
    /** What a grant of the channel is judged by, if a backend has made one. */
    granted(channel: string): Sequence | undefined;
    /** Ends such a grant in favour of the subscription; false when there is none. */
    takeOver(channel: string): boolean;
    /** The subscription ended. */
    ended(channel: string): void;
    /** A subscribe was answered, well or badly. */
    settled(): void;
}
export interface PublishOptions {
    /** Idempotency key; a ULID by default. */
    readonly id?: string;
    /** Give up after this many ms; without it a publication waits as long as the client lives. */
    readonly timeoutMs?: number;
}
export type SubscriptionState = 'waiting' | 'subscribing' | 'subscribed' | 'unsubscribed';
export declare class Subscription<Data = unknown> extends Emitter<SubscriptionEvents<Data>> {
    #private;
    private readonly host;
    readonly channel: string;
    get state(): SubscriptionState;
    /** The last publication delivered; `undefined` before the first subscribe and in ephemeral channels. */
    get position(): Position | undefined;
    /** Publishes in this channel; see `Skywave.publish`. */
    publish(data: unknown, options?: PublishOptions): Promise<Published>;
    /** Sends what may be lost; see `Skywave.publishEphemeral`. */
    publishEphemeral(data: unknown): boolean;
    /** Who is here. */
    presence(): Promise<readonly Member[]>;
    /** Ends the subscription. Nothing more is delivered, also of what is on its way. */
    unsubscribe(): void;
}
