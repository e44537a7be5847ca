/** The one error type this library throws and rejects with. */

import type { WireError } from './protocol.js';

/** Codes that come from this library; the server's are listed in the protocol reference. */
export type LocalErrorCode =
  /** The outbox is full: publish again when something has been acknowledged. */
  | 'outbox_full'
  /** The message is larger than the server takes, or cannot be encoded. */
  | 'too_large'
  | 'invalid_data'
  /** The client was closed, or gave up connecting. */
  | 'closed'
  /** No answer in time. */
  | 'timeout';

export class SkywaveError extends Error {
  override readonly name = 'SkywaveError';

  constructor(
    /** A {@link LocalErrorCode} or an error code of the protocol, e.g. `rate_limited`. */
    readonly code: LocalErrorCode | (string & {}),
    message: string,
    /**
     * For a publish: true when it may have been published all the same, because it was sent and no answer came.
     * Publishing again under the same id is safe.
     */
    readonly outcomeUnknown = false,
  ) {
    super(message);
  }

  static fromWire(error: WireError): SkywaveError {
    return new SkywaveError(error.code, `${error.code}: ${error.message}`);
  }
}
