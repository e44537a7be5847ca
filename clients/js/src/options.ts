/** What a client can be told, and what it assumes otherwise. */

import type { BackoffOptions } from './backoff.js';
import type { GetToken } from './credentials.js';
import type { Environment } from './environment.js';
import type { OutboxLimits } from './outbox.js';
import type { FindRoute } from './places.js';
import type { PositionStore } from './positions.js';
import type { TextStore } from './transports/negotiate.js';
import type { TransportName, TransportTable } from './transports/transport.js';
import type { WebSocketConstructor } from './transports/websocket.js';
import type { FindWebTransport } from './transports/webtransport.js';

export interface SkywaveOptions {
  /** Where the server is: `https://relay.example.com` (also `http:`, `ws:`, `wss:`). In a page, its own origin by default. */
  url?: string;
  /**
   * Ask the relay at `url` which of its nodes to go to: `true` by the token's user, a string by this key (a room, a tenant:
   * clients of one key meet on one node). If the node does not answer, alternates are tried, and then `url` itself; if nobody
   * answers at `url`, the nodes that were named there last. Off by default: wherever `url` leads, everything works; routing only
   * costs the relay less.
   */
  route?: boolean | string;
  /** A token for the life of the client; without `token` and `getToken` the client is anonymous. */
  token?: string;
  /** Fetches a token whenever a new one is wanted: to connect, and before or after the old one expires. */
  getToken?: GetToken;
  /** In order of preference; those this environment lacks are skipped. `['webtransport', 'websocket', 'sse']` by default. */
  transports?: TransportName[];
  /** Where what worked is remembered between page loads, e.g. `localStorage`. Nowhere by default. */
  transportMemory?: TextStore;
  /** Where positions are kept between page loads; see `storedPositions`. Nowhere by default. */
  positions?: PositionStore;
  /** What this software is called in the server's logs and metrics. */
  name?: string;
  /** Connect at once (the default), or only when `connect()` is called. */
  autoConnect?: boolean;
  /** How long one attempt over one transport may take, in ms; 10,000 by default. */
  connectTimeoutMs?: number;
  /**
   * Ask the server for a sign of life after this many ms without a word, and give the connection up after the same time
   * again. By default the server's own intervals are followed; a shorter one finds a dead peer sooner, at the price of
   * traffic while idle. UDP tells nobody that a peer has died, so WebTransport profits most.
   */
  heartbeatMs?: number;
  /** Waits between attempts: full jitter below 1 s, 2 s, 4 s … 30 s by default. */
  backoff?: Partial<BackoffOptions>;
  /** Bounds of what waits for its acknowledgement. */
  outbox?: Partial<OutboxLimits>;
  /** For environments without a global `WebSocket` (Node before 22). */
  WebSocket?: WebSocketConstructor;
  /** Where WebTransport is served, asked before every attempt. By default the server at `url` is asked. */
  webTransport?: FindWebTransport;
  /** How the relay is asked for nodes, best first; `askForRoute` by default. See `route`. */
  findRoute?: FindRoute;
  /** Tests only: other transports. */
  openers?: TransportTable;
  /** Tests only: other time, randomness and page events. */
  environment?: Environment;
}

export const DEFAULT_TRANSPORTS: readonly TransportName[] = ['webtransport', 'websocket', 'sse'];
export const CONNECT_TIMEOUT_MS = 10_000;

/** An http(s) URL without a trailing slash, of what the application or a `move` named. */
export function baseUrl(url: string | undefined): string {
  const given = url ?? (globalThis.location as Location | undefined)?.origin;
  if (given === undefined) throw new TypeError('url is required outside a page');
  const parsed = new URL(given.replace(/^ws/, 'http'));
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new TypeError(`url must begin with http, https, ws or wss; it is ${given}`);
  }
  return parsed.origin + parsed.pathname.replace(/\/+$/, '');
}
