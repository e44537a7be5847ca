/**
 * The one interface behind which WebSocket, WebTransport and SSE look alike: text in, text out, one end.
 *
 * Contract: `opened` comes at most once and before any `received`; `closed` comes exactly once and last, unless the
 * client called `close` itself, after which nothing comes any more. What is sent before `opened` is an error of the caller.
 */
export type TransportName = 'webtransport' | 'websocket' | 'sse';
/** Why a transport ended. */
export interface TransportEnd {
    /** A close code of the protocol, or 1006 when none came. */
    readonly code: number;
    readonly reason: string;
    /** From a refused handshake, when the server said when to come back. */
    readonly retryAfterMs?: number;
}
export interface TransportEvents {
    opened(): void;
    /** One message or several, separated by newlines. */
    received(text: string): void;
    closed(end: TransportEnd): void;
}
export interface Transport {
    readonly name: TransportName;
    /** Bytes accepted by `send` that have not left yet. */
    readonly backlog: number;
    /** Sends one message or several, separated by newlines. */
    send(text: string): void;
    /** Sends one message that may be lost; absent where there is no such thing. False: it does not fit. */
    sendUnreliable?(text: string): boolean;
    close(code: number, reason: string): void;
}
/** Opens a transport to `base` (an http(s) URL without a trailing slash). Never throws: failures come as `closed`. */
export type OpenTransport = (base: string, events: TransportEvents) => Transport;
/** The transports this environment has. */
export type TransportTable = Partial<Record<TransportName, OpenTransport>>;
