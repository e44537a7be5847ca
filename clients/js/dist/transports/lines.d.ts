/** Cuts a stream of UTF-8 bytes into whole lines. */
/** Calls `lines` with one or more complete lines (newlines between them) whenever some have come, until the stream ends. */
export declare function readLines(stream: ReadableStream<Uint8Array>, lines: (text: string) => void): Promise<void>;
