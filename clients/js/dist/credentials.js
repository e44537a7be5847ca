/** The token: fetched when there is none, kept across reconnects, replaced when the server says so. */
export class Credentials {
    getToken;
    #token;
    #renewing;
    /** Fresh tokens refused in a row: a source of tokens that are never accepted is not asked for ever. */
    #refusals = 0;
    constructor(token, getToken) {
        this.getToken = getToken;
        this.#token = token;
    }
    /** The token to connect with; `undefined` for an anonymous client. Rejects when `getToken` does. */
    async current() {
        if (this.#token !== undefined || this.getToken === undefined)
            return this.#token;
        return this.renew();
    }
    /** Whether a new token can be had. */
    get renewable() {
        return this.getToken !== undefined;
    }
    /** Fetches a new token; callers at the same time share one call. */
    renew() {
        const getToken = this.getToken;
        if (getToken === undefined)
            return Promise.reject(new Error('there is no getToken'));
        this.#renewing ??= Promise.resolve()
            .then(getToken)
            .then((token) => (this.#token = token))
            .finally(() => {
            this.#renewing = undefined;
        });
        return this.#renewing;
    }
    /** The server refused the token. True: another attempt, with a new one, makes sense. */
    refused() {
        if (!this.renewable || this.#refusals >= 2)
            return false;
        this.#refusals += 1;
        this.#token = undefined;
        return true;
    }
    accepted() {
        this.#refusals = 0;
    }
}
