/**
 * One connection: a transport, the handshake on it, requests and their answers, and the watch over its liveness.
 *
 * It owns nothing that must outlive it: after a loss, whoever asked asks again on the next connection.
 */
import { CloseCode } from './codes.js';
import { BATCH_REQUESTS, decode, PONG_LINE } from './protocol.js';
/** A request without an answer for this long counts as failed with `timeout`, in ms. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Longer than the server's ping interval by this much without a word: ask. In ms. */
const IDLE_SLACK_MS = 2_000;
/** After an unanswered request the peer has this long for a sign of life, in ms. */
const SUSPECT_PROBE_MS = 4_000;
/** Ephemeral messages are dropped while more than this waits in the transport, in bytes. */
const BACKLOG_LIMIT = 256 * 1024;
/** Until the server has told its own limit. */
const DEFAULT_MESSAGE_BYTES = 64 * 1024;
export class Connection {
    env;
    owner;
    settings;
    transport;
    #channel;
    #info;
    #ended = false;
    #reached = false;
    #nextId = 1;
    #asked = new Map();
    #lines = [];
    #flushing = false;
    #heardAt = 0;
    #watch;
    constructor(env, owner, settings) {
        this.env = env;
        this.owner = owner;
        this.settings = settings;
        this.transport = settings.transport;
        this.#watch = env.setTimeout(() => this.#lose({ code: CloseCode.abnormal, reason: `no answer over ${settings.transport} in time` }), settings.timeoutMs);
        const channel = settings.open(settings.base, {
            opened: () => this.#opened(),
            received: (text) => this.#received(text),
            closed: (end) => this.#lose(end),
        });
        if (this.#ended)
            channel.close(CloseCode.normal, '');
        else
            this.#channel = channel;
    }
    /** What the server said about itself and this connection; there once it is established. */
    get info() {
        return this.#info;
    }
    get messageBytes() {
        return this.#info?.message_bytes ?? DEFAULT_MESSAGE_BYTES;
    }
    /** Sends a request whose answer comes to `answer`, at the latest as the error `timeout`; never, after a loss. */
    request(kind, body, answer) {
        this.requestEncoded(kind, JSON.stringify(body), answer);
    }
    /** The same with a body that is JSON text already. */
    requestEncoded(kind, body, answer) {
        if (this.#ended)
            return;
        const id = this.#nextId++;
        const timer = this.env.setTimeout(() => {
            this.#asked.delete(id);
            if (kind !== 'ping')
                this.probe(SUSPECT_PROBE_MS);
            answer({ id, error: { code: 'timeout', message: `no answer to ${kind} in ${REQUEST_TIMEOUT_MS} ms` } });
        }, REQUEST_TIMEOUT_MS);
        this.#asked.set(id, { answer, timer });
        this.#queue(`{"id":${id},"${kind}":${body}}`);
    }
    /** Sends a publication that may be lost. False: it was not even sent (no connection yet, or too much is waiting). */
    publishUnreliable(body) {
        const channel = this.#channel;
        if (this.#ended || this.#info === undefined || channel === undefined)
            return false;
        if (channel.backlog > BACKLOG_LIMIT)
            return false;
        const line = `{"publish":${body}}`;
        if (!channel.sendUnreliable?.(line))
            this.#queue(line);
        return true;
    }
    /** Asks for a sign of life; without one in `withinMs` the connection counts as lost. */
    probe(withinMs) {
        if (this.#ended || this.#info === undefined)
            return;
        const askedAt = this.env.now();
        this.request('ping', {}, () => { });
        this.env.clearTimeout(this.#watch);
        this.#watch = this.env.setTimeout(() => {
            if (this.#heardAt >= askedAt)
                this.#watchIdle();
            else
                this.#lose({ code: CloseCode.pingTimeout, reason: 'the server did not answer in time' });
        }, withinMs);
    }
    /** Ends it from our side; the owner hears nothing more of it. What was queued in this turn still leaves. */
    close(code, reason) {
        if (this.#ended)
            return;
        this.#flush();
        this.#end();
        this.#channel?.close(code, reason);
    }
    #opened() {
        this.#reached = true;
        this.request('connect', this.settings.connect, (reply) => this.#greeted(reply));
    }
    #greeted(reply) {
        if (reply.connected === undefined) {
            const error = reply.error ?? { code: 'internal', message: 'unexpected answer to connect' };
            this.#lose({
                code: CloseCode.abnormal,
                reason: `${error.code}: ${error.message}`,
                ...(error.retry_after_ms === undefined ? {} : { retryAfterMs: error.retry_after_ms }),
            }, error);
            return;
        }
        this.#info = reply.connected;
        this.env.clearTimeout(this.#watch);
        this.#watchIdle();
        this.owner.established(this);
    }
    #received(text) {
        this.#heardAt = this.env.now();
        for (const line of text.split('\n')) {
            if (this.#ended)
                return;
            if (line.length > 0)
                this.#message(line);
        }
    }
    #message(line) {
        let message;
        try {
            message = decode(line);
        }
        catch {
            this.#lose({ code: CloseCode.abnormal, reason: 'the server sent something that is not of the protocol' });
            return;
        }
        switch (message.kind) {
            case 'ping':
                this.#queue(PONG_LINE);
                break;
            case 'reply': {
                const asked = this.#asked.get(message.id);
                if (asked === undefined)
                    break;
                this.#asked.delete(message.id);
                this.env.clearTimeout(asked.timer);
                asked.answer(message.reply);
                break;
            }
            case 'push':
                if (message.push.close !== undefined)
                    this.#lose(message.push.close);
                else if (this.#info !== undefined)
                    this.owner.pushed(this, message.push);
        }
    }
    #watchIdle() {
        const info = this.#info;
        const { heartbeatMs } = this.settings;
        const limit = heartbeatMs ?? info.ping_seconds * 1_000 + IDLE_SLACK_MS;
        // Clamped, because a clock may step in either direction.
        const wait = Math.min(limit, Math.max(0, this.#heardAt + limit - this.env.now()));
        this.#watch = this.env.setTimeout(() => {
            if (this.env.now() - this.#heardAt < limit)
                this.#watchIdle();
            else
                this.probe(heartbeatMs ?? info.pong_timeout_seconds * 1_000);
        }, wait);
    }
    /** Requests of one turn leave as one batch. */
    #queue(line) {
        this.#lines.push(line);
        if (this.#flushing)
            return;
        this.#flushing = true;
        this.env.defer(() => this.#flush());
    }
    #flush() {
        this.#flushing = false;
        const lines = this.#lines;
        this.#lines = [];
        if (this.#ended || this.#channel === undefined)
            return;
        let batch = [];
        let bytes = 0;
        for (const line of lines) {
            const size = byteLength(line) + 1;
            if (batch.length === BATCH_REQUESTS || (batch.length > 0 && bytes + size > this.messageBytes)) {
                this.#channel.send(batch.join('\n'));
                batch = [];
                bytes = 0;
            }
            batch.push(line);
            bytes += size;
        }
        if (batch.length > 0)
            this.#channel.send(batch.join('\n'));
    }
    #lose(end, error) {
        if (this.#ended)
            return;
        this.#end();
        this.#channel?.close(CloseCode.normal, '');
        this.owner.lost(this, { ...end, reached: this.#reached, ...(error === undefined ? {} : { error }) });
    }
    #end() {
        this.#ended = true;
        this.env.clearTimeout(this.#watch);
        for (const { timer } of this.#asked.values())
            this.env.clearTimeout(timer);
        this.#asked.clear();
        this.#lines = [];
    }
}
const encoder = new TextEncoder();
/** Length of `text` in UTF-8. */
export function byteLength(text) {
    return encoder.encode(text).length;
}
