/**
 * WebTransport over HTTP/3: requests, answers and control on one bidirectional stream, each channel's publications on a
 * unidirectional stream of its own (a lost packet stalls one channel only), ephemeral publications as datagrams.
 * A message is one line of JSON on a stream, or one datagram.
 */

import { CloseCode } from '../codes.js';
import { readLines } from './lines.js';
import type { OpenTransport, TransportEnd, TransportEvents } from './transport.js';

/** SHA-256 of a certificate in DER. */
export type CertificateHash = Uint8Array;

export type CertificateHashes = (base: string) => Promise<readonly CertificateHash[]> | readonly CertificateHash[];

export function openWebTransport(Implementation: typeof WebTransport, hashes: CertificateHashes): OpenTransport {
  return (base, events) => {
    const link = new Link(events);
    void link.run(Implementation, base, hashes);
    return link;
  };
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

  async run(Implementation: typeof WebTransport, base: string, hashes: CertificateHashes): Promise<void> {
    try {
      const accepted = await hashes(base);
      if (this.#ended) return;
      const session = new Implementation(`${base.replace(/^http:/, 'https:')}/v1/wt`, {
        serverCertificateHashes: accepted.map((value) => ({ algorithm: 'sha-256', value: value as BufferSource })),
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
