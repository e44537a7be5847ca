/** What a client can be told, and what it assumes otherwise. */
export const DEFAULT_TRANSPORTS = ['webtransport', 'websocket', 'sse'];
export const CONNECT_TIMEOUT_MS = 10_000;
/** An http(s) URL without a trailing slash, of what the application or a `move` named. */
export function baseUrl(url) {
    const given = url ?? globalThis.location?.origin;
    if (given === undefined)
        throw new TypeError('url is required outside a page');
    const parsed = new URL(given.replace(/^ws/, 'http'));
    if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
        throw new TypeError(`url must begin with http, https, ws or wss; it is ${given}`);
    }
    return parsed.origin + parsed.pathname.replace(/\/+$/, '');
}
