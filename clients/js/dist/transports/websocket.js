/** WebSocket: one text frame per message or batch. */
import { CloseCode } from '../codes.js';
const SUBPROTOCOL = 'skywave.json.v1';
export function openWebSocket(Implementation) {
    return (base, events) => {
        const socket = new Implementation(`${base.replace(/^http/, 'ws')}/v1/ws`, [SUBPROTOCOL]);
        const detach = () => (socket.onopen = socket.onmessage = socket.onclose = null);
        socket.onopen = () => events.opened();
        socket.onmessage = (event) => {
            if (typeof event.data === 'string')
                events.received(event.data);
        };
        socket.onclose = (event) => {
            detach();
            events.closed({ code: event.code, reason: event.reason });
        };
        // Always followed by `close`, which says as much as a page is allowed to know.
        socket.onerror = () => { };
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
