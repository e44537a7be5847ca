/** The native protocol's JSON messages as this client reads and writes them. The full reference is `docs/protocol.md`. */
/** Names one publication of a channel, for ever. Keep it as it is: the epoch is opaque, offsets count 1, 2, 3 … */
export interface Position {
    readonly epoch: string;
    readonly offset: number;
}
/** One user (or anonymous client) present in a channel. */
export interface Member {
    readonly client: string;
    readonly user?: string;
}
/** Why publications cannot be had. */
export type GapReason = 'retention' | 'epoch' | 'failover' | 'unavailable' | (string & {});
export interface WireGap {
    readonly from: number;
    readonly to: number;
    readonly reason: GapReason;
}
export interface WireError {
    readonly code: string;
    readonly message: string;
    readonly retry_after_ms?: number;
}
export interface WirePublication {
    readonly channel: string;
    readonly offset?: number;
    readonly epoch?: string;
    readonly id?: string;
    readonly from?: string;
    readonly time?: number;
    readonly data?: unknown;
    /** Bytes in base64, instead of `data`. */
    readonly data64?: string;
}
export interface WireConnected {
    readonly client: string;
    readonly user?: string;
    readonly region: string;
    readonly node: string;
    readonly ping_seconds: number;
    readonly pong_timeout_seconds: number;
    readonly expires_in_seconds?: number;
    readonly message_bytes: number;
}
export interface WireSubscribed {
    readonly channel: string;
    readonly epoch?: string;
    readonly offset?: number;
    /** Absent when no recovery was asked for. */
    readonly recovery?: 'exact' | 'gap';
    /** With `recovery: 'gap'`. */
    readonly gap?: WireGap;
}
export interface WirePublished {
    readonly epoch?: string;
    readonly offset?: number;
    readonly duplicate: boolean;
}
export interface WireHistory {
    readonly channel: string;
    readonly epoch: string;
    /** The channel's newest offset when the page was read. */
    readonly offset: number;
    readonly publications: readonly Omit<WirePublication, 'channel'>[];
}
/** Exactly one of these stands in a reply. */
export interface Replies {
    connected: WireConnected;
    subscribed: WireSubscribed;
    unsubscribed: {
        readonly channel: string;
    };
    published: WirePublished;
    history: WireHistory;
    presence: {
        readonly channel: string;
        readonly members: readonly Member[];
    };
    refreshed: {
        readonly expires_in_seconds?: number;
    };
    pong: object;
    error: WireError;
}
/** Exactly one of these stands in a push. */
export interface Pushes {
    pub: WirePublication;
    gap: WireGap & {
        readonly channel: string;
        readonly epoch: string;
    };
    join: Member & {
        readonly channel: string;
    };
    leave: Member & {
        readonly channel: string;
    };
    /** A backend put this client into a channel. */
    subscribed: WireSubscribed;
    unsubscribed: WireError & {
        readonly channel: string;
    };
    move: {
        readonly target?: string;
        readonly within_ms: number;
    };
    expiring: {
        readonly seconds: number;
    };
    close: {
        readonly code: number;
        readonly reason: string;
    };
}
export type Reply = Partial<Replies> & {
    readonly id: number;
};
export type Push = Partial<Pushes>;
export type ServerMessage = {
    readonly kind: 'reply';
    readonly id: number;
    readonly reply: Reply;
} | {
    readonly kind: 'push';
    readonly push: Push;
} | {
    readonly kind: 'ping';
};
/** What a client asks for: the one field of a request besides `id`. */
export interface Requests {
    connect: {
        token?: string;
        name?: string;
        key?: string;
        placed?: boolean;
    };
    subscribe: {
        channel: string;
        recover?: Position;
        presence?: boolean;
    };
    unsubscribe: {
        channel: string;
    };
    publish: {
        channel: string;
        id?: string;
        data?: unknown;
        data64?: string;
    };
    history: {
        channel: string;
        after?: number;
        before?: number;
        limit?: number;
        reverse?: boolean;
    };
    presence: {
        channel: string;
    };
    refresh: {
        token: string;
    };
    ping: Record<string, never>;
}
/** Requests in one newline-separated batch. */
export declare const BATCH_REQUESTS = 64;
/** Reads one message; throws a `SyntaxError` or `TypeError` on what is not one. Unknown fields are kept and ignored. */
export declare function decode(line: string): ServerMessage;
/** The empty message: the answer to the server's ping. */
export declare const PONG_LINE = "{}";
/** `data` as a publish request carries it: bytes as base64, everything else as JSON. */
export declare function encodeData(data: unknown): {
    data: unknown;
} | {
    data64: string;
};
export declare function decodeData(publication: Pick<WirePublication, 'data' | 'data64'>): unknown;
export declare function fromBase64(text: string): Uint8Array;
