/** Which transports this environment has, ready to open. */
import { openSse } from './sse.js';
import { openWebSocket } from './websocket.js';
import { openWebTransport } from './webtransport.js';
export function availableTransports(options) {
    const table = {};
    // Looked up by name: not every environment has them, whatever the types say.
    const environment = globalThis;
    if (environment.WebTransport !== undefined) {
        table.webtransport = openWebTransport(environment.WebTransport, options.certificateHashes ?? askCertificateHashes);
    }
    const WebSocket = options.WebSocket ?? environment.WebSocket;
    if (WebSocket !== undefined)
        table.websocket = openWebSocket(WebSocket);
    if (environment.fetch !== undefined)
        table.sse = openSse(environment.fetch.bind(globalThis));
    return table;
}
/** A server with a certificate no authority has signed (`skywave dev`) tells its hash; any other answers 404, and none is needed. */
async function askCertificateHashes(base) {
    const response = await fetch(`${base}/v1/wt/certificate`, { cache: 'no-store' });
    if (!response.ok)
        return [];
    const { sha256 } = (await response.json());
    return sha256.map((hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)));
}
