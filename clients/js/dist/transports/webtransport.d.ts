/**
 * WebTransport over HTTP/3: requests, answers and control on one bidirectional stream, each channel's publications on a
 * unidirectional stream of its own (a lost packet stalls one channel only), ephemeral publications as datagrams.
 * A message is one line of JSON on a stream, or one datagram.
 */
import type { OpenTransport } from './transport.js';
/** SHA-256 of a certificate in DER. */
export type CertificateHash = Uint8Array;
export type CertificateHashes = (base: string) => Promise<readonly CertificateHash[]> | readonly CertificateHash[];
export declare function openWebTransport(Implementation: typeof WebTransport, hashes: CertificateHashes): OpenTransport;
