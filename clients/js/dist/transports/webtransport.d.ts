/**
 * WebTransport over HTTP/3: requests, answers and control on one bidirectional stream, each channel's publications on a
 * unidirectional stream of its own (a lost packet stalls one channel only), ephemeral publications as datagrams.
 * A message is one line of JSON on a stream, or one datagram.
 */
import type { OpenTransport } from './transport.js';
/** Where a node serves WebTransport, and what its certificate may be. */
export interface WebTransportAddress {
    /** `https://host:port/v1/wt`. */
    readonly url: string;
    /** SHA-256 of certificates to accept, in DER form; empty: one that an authority vouches for. */
    readonly certificateHashes: readonly Uint8Array[];
}
/** Called before every attempt, because a short-lived certificate changes. */
export type FindWebTransport = (base: string) => Promise<WebTransportAddress> | WebTransportAddress;
export declare function openWebTransport(Implementation: typeof WebTransport, find: FindWebTransport): OpenTransport;
/** Asks the node itself over HTTP. */
export declare function askForWebTransport(base: string): Promise<WebTransportAddress>;
