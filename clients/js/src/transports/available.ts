/** Which transports this environment has, ready to open. */

import type { SkywaveOptions } from '../options.js';
import { openSse } from './sse.js';
import type { TransportTable } from './transport.js';
import { openWebSocket, type WebSocketConstructor } from './websocket.js';
import { openWebTransport, type CertificateHash } from './webtransport.js';

export function availableTransports(options: SkywaveOptions): TransportTable {
  const table: TransportTable = {};
  // Looked up by name: not every environment has them, whatever the types say.
  const environment = globalThis as { WebTransport?: typeof WebTransport; WebSocket?: WebSocketConstructor; fetch?: typeof fetch };
  if (environment.WebTransport !== undefined) {
    table.webtransport = openWebTransport(environment.WebTransport, options.certificateHashes ?? askCertificateHashes);
  }
  const WebSocket = options.WebSocket ?? environment.WebSocket;
  if (WebSocket !== undefined) table.websocket = openWebSocket(WebSocket);
  if (environment.fetch !== undefined) table.sse = openSse(environment.fetch.bind(globalThis));
  return table;
}

/** A server with a certificate no authority has signed (`skywave dev`) tells its hash; any other answers 404, and none is needed. */
async function askCertificateHashes(base: string): Promise<CertificateHash[]> {
  const response = await fetch(`${base}/v1/wt/certificate`, { cache: 'no-store' });
  if (!response.ok) return [];
  const { sha256 } = (await response.json()) as { sha256: string[] };
  return sha256.map((hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)));
}
