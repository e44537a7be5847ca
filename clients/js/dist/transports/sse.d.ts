/**
 * Server-sent events for what comes, POST for what goes: works where nothing but plain HTTP does. Read with `fetch`
 * rather than `EventSource`, which hides status codes and reconnects on its own terms.
 */
import type { OpenTransport } from './transport.js';
export declare function openSse(fetch: typeof globalThis.fetch): OpenTransport;
