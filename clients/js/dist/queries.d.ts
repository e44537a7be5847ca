/** Questions without effect (history, presence): asked again on every connection until answered or too old. */
import type { Connection } from './connection.js';
import type { Environment } from './environment.js';
import type { Replies, Requests } from './protocol.js';
type Kind = 'history' | 'presence';
export declare class Queries {
    #private;
    private readonly env;
    constructor(env: Environment);
    ask<K extends Kind>(kind: K, body: Requests[K]): Promise<Replies[K]>;
    attach(connection: Connection): void;
    detach(): void;
    abandon(reason: string): void;
}
export {};
