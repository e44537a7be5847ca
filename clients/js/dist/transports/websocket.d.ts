/** WebSocket: one text frame per message or batch. */
import type { OpenTransport } from './transport.js';
/** What this library uses of a WebSocket; the browser's, Node's (22 and later) and that of common packages fit. */
export interface WebSocketLike {
    readonly bufferedAmount: number;
    onopen: ((event: never) => unknown) | null;
    onmessage: ((event: never) => unknown) | null;
    onclose: ((event: never) => unknown) | null;
    onerror: ((event: never) => unknown) | null;
    send(text: string): void;
    close(code?: number, reason?: string): void;
}
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;
export declare function openWebSocket(Implementation: WebSocketConstructor): OpenTransport;
