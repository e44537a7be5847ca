/**
 * WebTransport over HTTP/3: requests, answers and control on one bidirectional stream, each channel's publications on a
 * unidirectional stream of its own (a lost packet stalls one channel only), ephemeral publications as datagrams.
 * A message is one line of JSON on a stream, or one datagram.
 */
import { CloseCode } from '../codes.js';
import { fromBase64 } from '../protocol.js';
import { readLines } from './lines.js';
export function openWebTransport(Implementation, find) {
    return (base, events) => {
        const link = new Link(events);
        void link.run(Implementation, find, base);
        return link;
    };
}
/** Asks the node itself over HTTP. */
export async function askForWebTransport(base) {
    const response = await fetch(`${base}/v1/webtransport/certificate`, { cache: 'no-store' });
    if (!response.ok)
        throw new Error(`no WebTransport here: the server answered ${response.status}`);
    const { url, hashes } = (await response.json());
    return { url, certificateHashes: hashes.map(({ value }) => fromBase64(value)) };
}
class Link {
    events;
    name = 'webtransport';
    #session;
    #control;
    #datagrams;
    #unsent = 0;
    #ended = false;
    #encoder = new TextEncoder();
    constructor(events) {
        this.events = events;
    }
    get backlog() {
        return this.#unsent;
    }
    async run(Implementation, find, base) {
        try {
            const { url, certificateHashes } = await find(base);
            if (this.#ended)
                return;
            const session = new Implementation(url, {
                serverCertificateHashes: certificateHashes.map((value) => ({ algorithm: 'sha-256', value: value })),
            });
            this.#session = session;
            session.closed.then(({ closeCode, reason }) => this.#lose({ code: closeCode || CloseCode.abnormal, reason: reason ?? '' }), (error) => this.#lose({ code: CloseCode.abnormal, reason: text(error) }));
            await session.ready;
            const control = await session.createBidirectionalStream();
            if (this.#ended)
                return session.close();
            this.#control = control.writable.getWriter();
            this.#datagrams = session.datagrams.writable.getWriter();
            // A stream's end or error is not the session's: `closed` tells that.
            void this.#readStreams(session).catch(() => { });
            void this.#readDatagrams(session).catch(() => { });
            this.events.opened();
            await readLines(control.readable, (lines) => this.#received(lines));
            // Without a control stream there is nothing left to say; `closed` follows with the code, if there is one.
        }
        catch (error) {
            // `closed` settles first when the server ended the session, and knows the code.
            setTimeout(() => this.#lose({ code: CloseCode.abnormal, reason: text(error) }), 50);
        }
    }
    send(lines) {
        const bytes = this.#encoder.encode(`${lines}\n`);
        this.#unsent += bytes.length;
        const done = () => {
            this.#unsent -= bytes.length;
        };
        this.#control?.write(bytes).then(done, done);
    }
    sendUnreliable(line) {
        const bytes = this.#encoder.encode(line);
        const limit = this.#session?.datagrams.maxDatagramSize ?? 0;
        if (this.#datagrams === undefined || bytes.length > limit)
            return false;
        this.#datagrams.write(bytes).catch(() => { });
        return true;
    }
    close(closeCode, reason) {
        if (this.#ended)
            return;
        this.#ended = true;
        try {
            this.#session?.close({ closeCode, reason });
        }
        catch {
            // Not connected yet, or gone already.
        }
    }
    async #readStreams(session) {
        const streams = session.incomingUnidirectionalStreams.getReader();
        for (;;) {
            const { done, value } = await streams.read();
            if (done)
                return;
            readLines(value, (lines) => this.#received(lines)).catch(() => { });
        }
    }
    async #readDatagrams(session) {
        const datagrams = session.datagrams.readable.getReader();
        const decoder = new TextDecoder();
        for (;;) {
            const { done, value } = await datagrams.read();
            if (done)
                return;
            this.#received(decoder.decode(value));
        }
    }
    #received(lines) {
        if (!this.#ended)
            this.events.received(lines);
    }
    #lose(end) {
        if (this.#ended)
            return;
        this.close(CloseCode.normal, '');
        this.events.closed(end);
    }
}
function text(error) {
    return error instanceof Error ? error.message : String(error);
}
