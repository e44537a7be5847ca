/** Cuts a stream of UTF-8 bytes into whole lines. */

/** Calls `lines` with one or more complete lines (newlines between them) whenever some have come, until the stream ends. */
export async function readLines(stream: ReadableStream<Uint8Array>, lines: (text: string) => void): Promise<void> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const end = rest.lastIndexOf('\n');
    if (end < 0) continue;
    const complete = rest.slice(0, end);
    rest = rest.slice(end + 1);
    lines(complete);
  }
}
