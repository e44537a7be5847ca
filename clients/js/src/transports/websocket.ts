/** WebSocket: one text frame per message or batch. */

import { CloseCode } from '../codes.js';
import type { OpenTransport } from './transport.js';

const SUBPROTOCOL = 'skywave.json.v1';
/** After an error, `close` has come within this time if it comes at all, in ms. */
const CLOSE_FOLLOWS_MS = 100;

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

export function openWebSocket(Implementation: WebSocketConstructor): OpenTransport {
  return (base, events) => {
    const socket = new Implementation(`${base.replace(/^http/, 'ws')}/v1/ws`, [SUBPROTOCOL]);
    const detach = () => (socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null);
    const end = (code: number, reason: string) => {
      detach();
      events.closed({ code, reason });
    };

    socket.onopen = () => events.opened();
    socket.onmessage = (event: { data: unknown }) => {
      if (typeof event.data === 'string') events.received(event.data);
    };
    socket.onclose = (event: { code: number; reason: string }) => end(event.code, event.reason);
    // `close` follows and says as much as a page is allowed to know; but Node 20 forgets it when the connection is refused.
    socket.onerror = () => {
      setTimeout(() => {
        if (socket.onerror !== null) end(CloseCode.abnormal, 'the connection failed');
      }, CLOSE_FOLLOWS_MS);
    };

    return {
      name: 'websocket',
      get backlog() {
        return socket.bufferedAmount;
      },
      send: (text) => socket.send(text),
      close(code, reason) {
        detach();
        // Pages may send 1000 and 3000–4999 only.
        const allowed = code === CloseCode.normal || (code >= 3000 && code <= 4999);
        socket.close(allowed ? code : CloseCode.normal, reason);
      },
    };
  };
}
