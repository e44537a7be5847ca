/**
 * Where to connect: the address the application named; or, if the client is to be routed, the nodes that the relay at this
 * address names for its key, best first, and the address itself when none of them answers. When nobody answers at the
 * address (it may be the very node that has died), the nodes it named last come after it.
 *
 * A round begins with a question to the relay and ends with a connection, or with all places tried.
 */
/** How long the relay may take to answer, in ms. */
const ROUTE_TIMEOUT_MS = 5_000;
export class Places {
    env;
    base;
    find;
    /** The client's own key; `undefined`: the user's. */
    key;
    #routed;
    /** Of this round; `undefined`: the relay was not asked yet. */
    #places;
    /** Of the last answer. */
    #known = [];
    constructor(env, base, route, find) {
        this.env = env;
        this.base = base;
        this.find = find;
        this.#routed = route !== false;
        this.key = typeof route === 'string' ? route : undefined;
    }
    /** Whether `ask` comes first. */
    get wantsAsking() {
        return this.#routed && this.#places === undefined;
    }
    /** Asks the relay; never fails: without an answer the address itself is the place. */
    async ask(token) {
        const own = (placed) => ({ base: this.base, placed });
        let timer;
        const timeout = new Promise((_, reject) => {
            timer = this.env.setTimeout(() => reject(new Error('no answer')), ROUTE_TIMEOUT_MS);
        });
        try {
            const nodes = await Promise.race([this.find(this.base, this.key, token), timeout]);
            // Sent elsewhere in vain: wherever the address leads, it must not send us there again.
            this.#known = nodes.map((base) => ({ base, placed: true }));
            this.#places = [...this.#known, own(true)];
        }
        catch {
            this.#places = [own(false), ...this.#known.filter(({ base }) => base !== this.base)];
        }
        this.env.clearTimeout(timer);
    }
    /** The place to try now. */
    get current() {
        return this.#places?.[0] ?? { base: this.base, placed: false };
    }
    /** The place does not answer. True: there is another one in this round. */
    skip() {
        this.#places?.shift();
        return this.#places !== undefined && this.#places.length > 0;
    }
    /** The round is over. */
    begin() {
        this.#places = undefined;
    }
}
/** `GET /v1/route` of the relay. */
export const askForRoute = async (base, key, token) => {
    const query = key === undefined ? '' : `?key=${encodeURIComponent(key)}`;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${base}/v1/route${query}`, { cache: 'no-store', headers });
    if (!response.ok)
        throw new Error(`the relay names no node: it answered ${response.status}`);
    const { url, alternates } = (await response.json());
    return [url, ...alternates.map((place) => place.url)];
};
