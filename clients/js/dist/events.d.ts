/** Typed events. A listener that throws harms neither the client nor the other listeners: its error is reported. */
/** Stops a listener. */
export type Unlisten = () => void;
export declare class Emitter<Events extends object> {
    #private;
    private readonly report;
    /** Calls `listener` for every `name` until the returned function is called. */
    on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Unlisten;
    /** Calls `listener` for the next `name` only. */
    once<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Unlisten;
    protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void;
}
