/** Which transports this environment has, ready to open. */
import { openSse } from './sse.js';
import { openWebSocket } from './websocket.js';
import { askForWebTransport, openWebTransport } from './webtransport.js';
export function availableTransports(options) {
    const table = {};
    // Looked up by name: not every environment has them, whatever the types say.
    const environment = globalThis;
    if (environment.WebTransport !== undefined) {
        table.webtransport = openWebTransport(environment.WebTransport, options.webTransport ?? askForWebTransport);
    }
    const WebSocket = options.WebSocket ?? environment.WebSocket;
    if (WebSocket !== undefined)
        table.websocket = openWebSocket(WebSocket);
    if (environment.fetch !== undefined)
        table.sse = openSse(environment.fetch.bind(globalThis));
    return table;
}
