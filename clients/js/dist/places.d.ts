/**
 * Where to connect: the address the application named; or, if the client is to be routed, the nodes that the relay at this
 * address names for its key, best first, and the address itself when none of them answers. When nobody answers at the
 * address (it may be the very node that has died), the nodes it named last come after it.
 *
 * A round begins with a question to the relay and ends with a connection, or with all places tried.
 */
import type { Environment } from './environment.js';
/** Asks the relay at `base` for the base URLs of the nodes to go to, best first. */
export type FindRoute = (base: string, key: string | undefined, token: string | undefined) => Promise<readonly string[]>;
export interface Place {
    readonly base: string;
    /** The relay has sent us there. */
    readonly placed: boolean;
}
export declare class Places {
    #private;
    private readonly env;
    private readonly base;
    private readonly find;
    /** The client's own key; `undefined`: the user's. */
    readonly key: string | undefined;
    constructor(env: Environment, base: string, route: boolean | string, find: FindRoute);
    /** Whether `ask` comes first. */
    get wantsAsking(): boolean;
    /** Asks the relay; never fails: without an answer the address itself is the place. */
    ask(token: string | undefined): Promise<void>;
    /** The place to try now. */
    get current(): Place;
    /** The place does not answer. True: there is another one in this round. */
    skip(): boolean;
    /** The round is over. */
    begin(): void;
}
/** `GET /v1/route` of the relay. */
export declare const askForRoute: FindRoute;
