/**
 * WebTransport over HTTP/3: requests, answers and control on one bidirectional stream, each channel's publications on a
 * unidirectional stream of its own (a lost packet stalls one channel only), ephemeral publications as datagrams.
 * A message is one line of JSON on a stream, or one datagram.
 */

import { CloseCode } from '../codes.js';
import { fromBase64 } from '../protocol.js';
import { readLines } from './lines.js';
import type { OpenTransport, TransportEnd, TransportEvents } from './transport.js';

/** Where a node serves WebTransport, and what its certificate may be. */
export interface WebTransportAddress {
  /** `https://host:port/v1/wt`. */
  readonly url: string;
  /** SHA-256 of certificates to accept, in DER form; empty: one that an authority vouches for. */
  readonly certificateHashes: readonly Uint8Array[];
}

/** Called before every attempt, because a short-lived certificate changes. */
export type FindWebTransport = (base: string) => Promise<WebTransportAddress> | WebTransportAddress;

export function openWebTransport(Implementation: typeof WebTransport, find: FindWebTransport): OpenTransport {
  return (base, events) => {
    const link = new Link(events);
    void link.run(Implementation, find, base);
    return link;
  };
}

/** Asks the node itself over HTTP. */
export async function askForWebTransport(base: string): Promise<WebTransportAddress> {
  const response = await fetch(`${base}/v1/webtransport/certificate`, { cache: 'no-store' });
  if (!response.ok) throw new Error(`no WebTransport here: the server answered ${response.status}`);
  const { url, hashes } = (await response.json()) as { url: string; hashes: { value: string }[] };
  return { url, certificateHashes: hashes.map(({ value }) => fromBase64(value)) };
}

class Link {
  readonly name = 'webtransport';
  #session: WebTransport | undefined;
  #control: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #datagrams: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #unsent = 0;
  #ended = false;
  readonly #encoder = new TextEncoder();

  constructor(private readonly events: TransportEvents) {}

  get backlog(): number {
    return this.#unsent;
  }

  async run(Implementation: typeof WebTransport, find: FindWebTransport, base: string): Promise<void> {
    try {
      const { url, certificateHashes } = await find(base);
      if (this.#ended) return;
      const session = new Implementation(url, {
        serverCertificateHashes: certificateHashes.map((value) => ({ algorithm: 'sha-256', value: value as BufferSource })),
      });
      this.#session = session;
      session.closed.then(
        ({ closeCode, reason }) => this.#lose({ code: closeCode || CloseCode.abnormal, reason: reason ?? '' }),
        (error: unknown) => this.#lose({ code: CloseCode.abnormal, reason: text(error) }),
      );
      await session.ready;
      const control = await session.createBidirectionalStream();
      if (this.#ended) return session.close();
      this.#control = control.writable.getWriter();
      this.#datagrams = session.datagrams.writable.getWriter();
      // A stream's end or error is not the session's: `closed` tells that.
      void this.#readStreams(session).catch(() => {});
      void this.#readDatagrams(session).catch(() => {});
      this.events.opened();
      await readLines(control.readable, (lines) => this.#received(lines));
      // Without a control stream there is nothing left to say; `closed` follows with the code, if there is one.
    } catch (error) {
      // `closed` settles first when the server ended the session, and knows the code.
      setTimeout(() => this.#lose({ code: CloseCode.abnormal, reason: text(error) }), 50);
    }
  }

  send(lines: string): void {
    const bytes = this.#encoder.encode(`${lines}\n`);
    this.#unsent += bytes.length;
    const done = () => {
      this.#unsent -= bytes.length;
    };
    this.#control?.write(bytes).then(done, done);
  }

  sendUnreliable(line: string): boolean {
    const bytes = this.#encoder.encode(line);
    const limit = this.#session?.datagrams.maxDatagramSize ?? 0;
    if (this.#datagrams === undefined || bytes.length > limit) return false;
    this.#datagrams.write(bytes).catch(() => {});
    return true;
  }

  close(closeCode: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      this.#session?.close({ closeCode, reason });
    } catch {
      // Not connected yet, or gone already.
    }
  }

  async #readStreams(session: WebTransport): Promise<void> {
    const streams = (session.incomingUnidirectionalStreams as ReadableStream<ReadableStream<Uint8Array>>).getReader();
    for (;;) {
      const { done, value } = await streams.read();
      if (done) return;
      readLines(value, (lines) => this.#received(lines)).catch(() => {});
    }
  }

  async #readDatagrams(session: WebTransport): Promise<void> {
    const datagrams = (session.datagrams.readable as ReadableStream<Uint8Array>).getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await datagrams.read();
      if (done) return;
      this.#received(decoder.decode(value));
    }
  }

  #received(lines: string): void {
    if (!this.#ended) this.events.received(lines);
  }

  #lose(end: TransportEnd): void {
    if (this.#ended) return;
    this.close(CloseCode.normal, '');
    this.events.closed(end);
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
