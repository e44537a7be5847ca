/**
 * Message ids: ULIDs (26 characters of Crockford's base 32; 48 bits of time, 80 of randomness), increasing within one
 * millisecond, as https://github.com/ulid/spec describes.
 */
export declare class UlidSource {
    #private;
    private readonly now;
    private readonly randomBytes;
    constructor(now: () => number, randomBytes: (count: number) => Uint8Array);
    /** A new id, greater than every earlier one of this source (also when the clock steps back). */
    next(): string;
}
