/** Typed events. A listener that throws harms neither the client nor the other listeners: its error is reported. */
export class Emitter {
    report;
    /** @internal `report` takes what a listener threw. */
    constructor(report) {
        this.report = report;
    }
    #listeners = new Map();
    /** Calls `listener` for every `name` until the returned function is called. */
    on(name, listener) {
        let listeners = this.#listeners.get(name);
        if (listeners === undefined)
            this.#listeners.set(name, (listeners = new Set()));
        listeners.add(listener);
        return () => void listeners.delete(listener);
    }
    /** Calls `listener` for the next `name` only. */
    once(name, listener) {
        const unlisten = this.on(name, (event) => {
            unlisten();
            listener(event);
        });
        return unlisten;
    }
    emit(name, event) {
        for (const listener of [...(this.#listeners.get(name) ?? [])]) {
            try {
                listener(event);
            }
            catch (error) {
                this.report(error);
            }
        }
    }
}
