/**
 * Which transport to try next: what worked last time first, then the preferred order; a round ends when each was tried
 * once. What worked is remembered (also across page loads, when a store is given), but a fallback only for a while, so
 * that a network that once blocked the better transport gets another chance.
 */
/** A fallback is preferred for this long, in ms. */
export const FALLBACK_MEMORY_MS = 10 * 60_000;
const KEY = 'skywave.transport';
export class Negotiator {
    preferred;
    now;
    store;
    #worked;
    #round = [];
    constructor(preferred, now, store) {
        this.preferred = preferred;
        this.now = now;
        this.store = store;
        this.#worked = this.#load();
    }
    /** The transport to try now; starts a new round when none is left in this one. */
    next() {
        if (this.#round.length === 0)
            this.#round = this.#order();
        return this.#round.shift();
    }
    /** Whether the current round has a transport that was not tried yet. */
    get more() {
        return this.#round.length > 0;
    }
    worked(name) {
        // A fallback keeps the time at which it was first chosen, or it would be renewed for ever.
        const fallback = this.#worked?.name === name && name !== this.preferred[0];
        this.#worked = { name, at: fallback && this.#fresh() ? this.#worked.at : this.now() };
        this.#round = [];
        try {
            this.store?.setItem(KEY, JSON.stringify(this.#worked));
        }
        catch {
            // A full or forbidden store costs one extra attempt after the next page load.
        }
    }
    #order() {
        const first = this.#fresh() ? this.#worked.name : undefined;
        if (first === undefined)
            return [...this.preferred];
        return [first, ...this.preferred.filter((name) => name !== first)];
    }
    #fresh() {
        const memory = this.#worked;
        if (memory === undefined || !this.preferred.includes(memory.name))
            return false;
        return memory.name === this.preferred[0] || Math.abs(this.now() - memory.at) < FALLBACK_MEMORY_MS;
    }
    #load() {
        try {
            const memory = JSON.parse(this.store?.getItem(KEY) ?? 'null');
            return memory && typeof memory.name === 'string' && typeof memory.at === 'number' ? memory : undefined;
        }
        catch {
            return undefined;
        }
    }
}
