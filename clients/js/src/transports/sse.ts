/**
 * Server-sent events for what comes, POST for what goes: works where nothing but plain HTTP does. Read with `fetch`
 * rather than `EventSource`, which hides status codes and reconnects on its own terms.
 */

import { CloseCode } from '../codes.js';
import { readLines } from './lines.js';
import type { OpenTransport, Transport, TransportEnd, TransportEvents } from './transport.js';

/** The header that ties a POST to its event stream. */
const SESSION = 'skywave-session';

export function openSse(fetch: typeof globalThis.fetch): OpenTransport {
  return (base, events) => {
    const link = new Link(fetch, `${base}/v1/sse`, events);
    void link.run();
    return link;
  };
}

class Link implements Transport {
  readonly name = 'sse';
  readonly #abort = new AbortController();
  /** Shown with every POST; in the stream's first event. */
  #session = '';
  #event = '';
  #unsent: string[] = [];
  #backlog = 0;
  #posting = false;
  #ended = false;

  constructor(
    private readonly fetch: typeof globalThis.fetch,
    private readonly url: string,
    private readonly events: TransportEvents,
  ) {}

  get backlog(): number {
    return this.#backlog;
  }

  async run(): Promise<void> {
    try {
      const response = await this.fetch(this.url, {
        headers: { accept: 'text/event-stream' },
        cache: 'no-store',
        signal: this.#abort.signal,
      });
      if (!response.ok || response.body === null) {
        this.#lose(refusal(response));
        return;
      }
      await readLines(response.body, (lines) => {
        for (const line of lines.split('\n')) this.#line(line);
      });
      this.#lose({ code: CloseCode.abnormal, reason: 'the event stream ended' });
    } catch (error) {
      this.#lose({ code: CloseCode.abnormal, reason: String(error) });
    }
  }

  send(lines: string): void {
    this.#unsent.push(lines);
    this.#backlog += lines.length;
    if (!this.#posting) void this.#post();
  }

  close(_code: number, _reason: string): void {
    this.#ended = true;
    this.#abort.abort();
  }

  #line(line: string): void {
    if (this.#ended) return;
    if (line.startsWith('event:')) {
      this.#event = line.slice(6).trim();
    } else if (line.startsWith('data:')) {
      const data = line.slice(5).trimStart();
      if (this.#event !== 'session') {
        this.events.received(data);
      } else {
        this.#session = (JSON.parse(data) as { session: string }).session;
        this.events.opened();
      }
    } else if (line === '' || line === '\r') {
      this.#event = '';
    }
  }

  /** One POST at a time, so that requests arrive in order; what gathers meanwhile leaves together. */
  async #post(): Promise<void> {
    this.#posting = true;
    try {
      while (this.#unsent.length > 0 && !this.#ended) {
        const body = this.#unsent.shift() as string;
        const response = await this.fetch(this.url, {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson', [SESSION]: this.#session },
          body,
          signal: this.#abort.signal,
        });
        this.#backlog -= body.length;
        if (!response.ok) this.#lose(refusal(response));
      }
    } catch (error) {
      this.#lose({ code: CloseCode.abnormal, reason: String(error) });
    } finally {
      this.#posting = false;
    }
  }

  #lose(end: TransportEnd): void {
    if (this.#ended) return;
    this.close(CloseCode.normal, '');
    this.events.closed(end);
  }
}

function refusal(response: Response): TransportEnd {
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  return {
    code: CloseCode.abnormal,
    reason: `the server answered ${response.status}`,
    ...(Number.isFinite(seconds) ? { retryAfterMs: seconds * 1_000 } : {}),
  };
}
