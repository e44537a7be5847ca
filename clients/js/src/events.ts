/** Typed events. A listener that throws harms neither the client nor the other listeners: its error is reported. */

/** Stops a listener. */
export type Unlisten = () => void;

export class Emitter<Events extends object> {
  /** @internal `report` takes what a listener threw. */
  constructor(private readonly report: (error: unknown) => void) {}

  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  /** Calls `listener` for every `name` until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Unlisten {
    let listeners = this.#listeners.get(name);
    if (listeners === undefined) this.#listeners.set(name, (listeners = new Set()));
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Calls `listener` for the next `name` only. */
  once<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Unlisten {
    const unlisten = this.on(name, (event) => {
      unlisten();
      listener(event);
    });
    return unlisten;
  }

  protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as (event: Events[Name]) => void)(event);
      } catch (error) {
        this.report(error);
      }
    }
  }
}
