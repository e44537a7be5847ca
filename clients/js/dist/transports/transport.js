/**
 * The one interface behind which WebSocket, WebTransport and SSE look alike: text in, text out, one end.
 *
 * Contract: `opened` comes at most once and before any `received`; `closed` comes exactly once and last, unless the
 * client called `close` itself, after which nothing comes any more. What is sent before `opened` is an error of the caller.
 */
export {};
