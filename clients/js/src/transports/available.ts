/** Which transports this environment has, ready to open. */

import type { SkywaveOptions } from '../options.js';
import { openSse } from './sse.js';
import type { TransportTable } from './transport.js';
import { openWebSocket, type WebSocketConstructor } from './websocket.js';
import { askForWebTransport, openWebTransport } from './webtransport.js';

export function availableTransports(options: SkywaveOptions): TransportTable {
  const table: TransportTable = {};
  // Looked up by name: not every environment has them, whatever the types say.
  const environment = globalThis as { WebTransport?: typeof WebTransport; WebSocket?: WebSocketConstructor; fetch?: typeof fetch };
  if (environment.WebTransport !== undefined) {
    table.webtransport = openWebTransport(environment.WebTransport, options.webTransport ?? askForWebTransport);
  }
  const WebSocket = options.WebSocket ?? environment.WebSocket;
  if (WebSocket !== undefined) table.websocket = openWebSocket(WebSocket);
  if (environment.fetch !== undefined) table.sse = openSse(environment.fetch.bind(globalThis));
  return table;
}
