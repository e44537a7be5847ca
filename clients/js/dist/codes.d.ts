/**
 * What to do after an error reply or a close: the client's side of the protocol's two tables. A code this version does
 * not know is judged by its range or treated as temporary, so that a newer server can add codes.
 */
/** When the same request may be sent again. */
export type Retry = 'never' | 'later' | 'with_new_token';
export declare function retryOf(errorCode: string): Retry;
/** What to do after the connection was closed. */
export type Reconnect = 'resume' | 'with_new_token' | 'no';
/** Close codes this client sends or makes up. 1006 stands for "no close frame came". */
export declare const CloseCode: {
    readonly normal: 1000;
    readonly protocolError: 1002;
    readonly abnormal: 1006;
    readonly drain: 4000;
    readonly pingTimeout: 4002;
    readonly tokenExpired: 4010;
    readonly unauthorized: 4500;
};
export declare function reconnectAfter(closeCode: number): Reconnect;
