/**
 * What to do after an error reply or a close: the client's side of the protocol's two tables. A code this version does
 * not know is judged by its range or treated as temporary, so that a newer server can add codes.
 */

/** When the same request may be sent again. */
export type Retry = 'never' | 'later' | 'with_new_token';

const NEVER = new Set([
  'bad_request',
  'invalid_channel',
  'invalid_id',
  'invalid_data',
  'too_large',
  'forbidden',
  'not_found',
  'unknown_namespace',
  'not_available',
  'too_many_subscriptions',
  'not_subscribed',
]);

export function retryOf(errorCode: string): Retry {
  if (errorCode === 'unauthorized' || errorCode === 'token_expired') return 'with_new_token';
  return NEVER.has(errorCode) ? 'never' : 'later';
}

/** What to do after the connection was closed. */
export type Reconnect = 'resume' | 'with_new_token' | 'no';

/** Close codes this client sends or makes up. 1006 stands for "no close frame came". */
export const CloseCode = {
  normal: 1000,
  protocolError: 1002,
  abnormal: 1006,
  drain: 4000,
  pingTimeout: 4002,
  tokenExpired: 4010,
  unauthorized: 4500,
} as const;

export function reconnectAfter(closeCode: number): Reconnect {
  switch (closeCode) {
    case 1000: // bye
    case 1002: // protocol error
    case 1003: // unsupported data
    case 1007: // invalid UTF-8
    case 1009: // message too large
      return 'no';
    case CloseCode.tokenExpired:
      return 'with_new_token';
    default:
      return closeCode >= 4500 && closeCode < 5000 ? 'no' : 'resume';
  }
}
