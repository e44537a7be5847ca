/** The token: fetched when there is none, kept across reconnects, replaced when the server says so. */
/** Returns a fresh token; called again whenever the server wants a new one. */
export type GetToken = () => Promise<string> | string;
export declare class Credentials {
    #private;
    private readonly getToken;
    constructor(token: string | undefined, getToken: GetToken | undefined);
    /** The token to connect with; `undefined` for an anonymous client. Rejects when `getToken` does. */
    current(): Promise<string | undefined>;
    /** Whether a new token can be had. */
    get renewable(): boolean;
    /** Fetches a new token; callers at the same time share one call. */
    renew(): Promise<string>;
    /** The server refused the token. True: another attempt, with a new one, makes sense. */
    refused(): boolean;
    accepted(): void;
}
