/** WebSocket: one text frame per message or batch. */
import { CloseCode } from '../codes.js';
const SUBPROTOCOL = 'skywave.json.v1';
/** After an error, `close` has come within this time if it comes at all, in ms. */
const CLOSE_FOLLOWS_MS = 100;
export function openWebSocket(Implementation) {
    return (base, events) => {
        const socket = new Implementation(`${base.replace(/^http/, 'ws')}/v1/ws`, [SUBPROTOCOL]);
        const detach = () => (socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null);
        const end = (code, reason) => {
            detach();
            events.closed({ code, reason });
        };
        socket.onopen = () => events.opened();
        socket.onmessage = (event) => {
            if (typeof event.data === 'string')
                events.received(event.data);
        };
        socket.onclose = (event) => end(event.code, event.reason);
        // `close` follows and says as much as a page is allowed to know; but Node 20 forgets it when the connection is refused.
        socket.onerror = () => {
            setTimeout(() => {
                if (socket.onerror !== null)
                    end(CloseCode.abnormal, 'the connection failed');
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
