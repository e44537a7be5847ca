/** The native protocol's JSON messages as this client reads and writes them. The full reference is `docs/protocol.md`. */
/** Requests in one newline-separated batch. */
export const BATCH_REQUESTS = 64;
/** Reads one message; throws a `SyntaxError` or `TypeError` on what is not one. Unknown fields are kept and ignored. */
export function decode(line) {
    const message = JSON.parse(line);
    if (typeof message !== 'object' || message === null || Array.isArray(message)) {
        throw new TypeError('a message of the server must be a JSON object');
    }
    const id = message.id;
    if (typeof id === 'number' && id > 0)
        return { kind: 'reply', id, reply: message };
    if (Object.keys(message).length === 0)
        return { kind: 'ping' };
    return { kind: 'push', push: message };
}
/** The empty message: the answer to the server's ping. */
export const PONG_LINE = '{}';
/** `data` as a publish request carries it: bytes as base64, everything else as JSON. */
export function encodeData(data) {
    if (data instanceof Uint8Array)
        return { data64: toBase64(data) };
    return { data: data === undefined ? null : data };
}
export function decodeData(publication) {
    return publication.data64 === undefined ? publication.data : fromBase64(publication.data64);
}
function toBase64(bytes) {
    let text = '';
    for (const byte of bytes)
        text += String.fromCharCode(byte);
    return btoa(text);
}
export function fromBase64(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
