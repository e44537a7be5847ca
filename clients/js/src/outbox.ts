/**
 * Publications on their way: kept until the server has acknowledged them, sent again under the same id after a
 * reconnect, in the order in which they were published.
 *
 * Bounded: when it is full, `publish` fails at once with `outbox_full` and nothing is sent. Several are under way at a time;
 * when one of them is refused for the moment (rate limit, log unavailable), its channel waits and the refused one goes
 * first, but those sent before the refusal came may be published ahead of it. `inFlight: 1` rules that out.
 */

import { retryOf } from './codes.js';
import { Backoff } from './backoff.js';
import { byteLength, type Connection } from './connection.js';
import type { Environment, Timer } from './environment.js';
import { SkywaveError } from './errors.js';
import { encodeData, type Position, type Reply, type WireError } from './protocol.js';

export interface OutboxLimits {
  /** Publications that wait or are under way. */
  readonly entries: number;
  /** Their size together, in bytes of JSON. */
  readonly bytes: number;
  /** Publications sent and not yet acknowledged. */
  readonly inFlight: number;
}

export const DEFAULT_OUTBOX: OutboxLimits = { entries: 1_000, bytes: 4 * 1024 * 1024, inFlight: 64 };

/** The acknowledgement of a publication. */
export interface Published {
  readonly id: string;
  /** Where it stands; `undefined` in an ephemeral channel. */
  readonly position: Position | undefined;
  /** The same id had been published before; `position` is the first one's. */
  readonly duplicate: boolean;
}

interface Entry {
  readonly number: number;
  readonly channel: string;
  readonly id: string;
  readonly body: string;
  readonly bytes: number;
  readonly resolve: (published: Published) => void;
  readonly reject: (error: SkywaveError) => void;
  /** Sent at least once: if no answer ever comes, nobody knows what became of it. */
  sent: boolean;
  /** New tokens asked for on its behalf. */
  renewals: number;
  deadline: Timer | undefined;
}

/** A channel that waits before it sends again. */
interface Hold {
  readonly backoff: Backoff;
  timer: Timer | undefined;
}

/** Room that `{"id":…,"publish":…}` takes around a body. */
const ENVELOPE_BYTES = 40;

export class Outbox {
  #connection: Connection | undefined;
  #count = 0;
  #bytes = 0;
  #nextNumber = 0;
  /** In the order of publishing. */
  #waiting: Entry[] = [];
  readonly #inFlight = new Set<Entry>();
  readonly #holds = new Map<string, Hold>();

  constructor(
    private readonly env: Environment,
    private readonly limits: OutboxLimits,
    /** Gets a new token accepted; false when there is none to be had. */
    private readonly renewToken: () => Promise<boolean>,
  ) {}

  /** Publications that are not acknowledged yet. */
  get pending(): number {
    return this.#count;
  }

  /** `messageBytes`: the server's limit as far as it is known. `timeoutMs`: give up after this long. */
  publish(channel: string, id: string, data: unknown, messageBytes: number, timeoutMs?: number): Promise<Published> {
    return new Promise((resolve, reject) => {
      const body = encodeBody(channel, id, data);
      const bytes = byteLength(body);
      if (bytes + ENVELOPE_BYTES > messageBytes) {
        throw new SkywaveError('too_large', `the message has ${bytes} bytes; the server takes ${messageBytes - ENVELOPE_BYTES}`);
      }
      if (this.#count >= this.limits.entries || this.#bytes + bytes > this.limits.bytes) {
        throw new SkywaveError('outbox_full', `${this.#count} publications wait for their acknowledgement`);
      }
      const entry: Entry = {
        number: this.#nextNumber++, channel, id, body, bytes, resolve, reject,
        sent: false, renewals: 0, deadline: undefined,
      };
      if (timeoutMs !== undefined) {
        entry.deadline = this.env.setTimeout(() => this.#fail(entry, 'timeout', `no acknowledgement in ${timeoutMs} ms`), timeoutMs);
      }
      this.#count += 1;
      this.#bytes += bytes;
      this.#waiting.push(entry);
      this.#pump();
    });
  }

  /** Goes on over `connection`; what was under way on another one is sent again, first. */
  attach(connection: Connection): void {
    this.detach();
    this.#connection = connection;
    this.#pump();
  }

  detach(): void {
    this.#connection = undefined;
    for (const entry of this.#inFlight) this.#requeue(entry);
    for (const hold of this.#holds.values()) this.env.clearTimeout(hold.timer);
    this.#holds.clear();
  }

  /** Rejects everything: nothing of it will be sent any more. */
  abandon(reason: string): void {
    this.detach();
    for (const entry of this.#waiting.slice()) this.#fail(entry, 'closed', reason);
  }

  #pump(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const kept: Entry[] = [];
    for (const entry of this.#waiting) {
      const held = this.#holds.get(entry.channel)?.timer !== undefined;
      if (held || this.#inFlight.size >= this.limits.inFlight) {
        kept.push(entry);
        continue;
      }
      this.#inFlight.add(entry);
      entry.sent = true;
      connection.requestEncoded('publish', entry.body, (reply) => this.#answered(connection, entry, reply));
    }
    this.#waiting = kept;
  }

  #answered(connection: Connection, entry: Entry, reply: Reply): void {
    if (reply.published !== undefined) {
      const { epoch, offset, duplicate } = reply.published;
      const position = epoch !== undefined && offset ? { epoch, offset } : undefined;
      if (this.#holds.get(entry.channel)?.timer === undefined) this.#holds.delete(entry.channel);
      if (this.#forget(entry)) entry.resolve({ id: entry.id, position, duplicate });
      this.#pump();
    } else if (connection === this.#connection && this.#inFlight.has(entry)) {
      this.#refused(entry, reply.error ?? { code: 'internal', message: 'unexpected answer to publish' });
      this.#pump();
    }
  }

  #refused(entry: Entry, error: WireError): void {
    switch (retryOf(error.code)) {
      case 'never':
        if (this.#forget(entry)) entry.reject(SkywaveError.fromWire(error));
        return;
      case 'later':
        this.#requeue(entry);
        this.#hold(entry.channel, error.retry_after_ms);
        return;
      case 'with_new_token':
        if (entry.renewals > 0) {
          if (this.#forget(entry)) entry.reject(SkywaveError.fromWire(error));
          return;
        }
        entry.renewals += 1;
        this.#requeue(entry);
        this.#hold(entry.channel, undefined);
        void this.renewToken().then((renewed) => {
          if (!renewed && this.#forget(entry)) entry.reject(SkywaveError.fromWire(error));
        });
    }
  }

  #hold(channel: string, notBefore: number | undefined): void {
    const hold = this.#holds.get(channel) ?? { backoff: new Backoff(() => this.env.random()), timer: undefined };
    this.#holds.set(channel, hold);
    if (hold.timer !== undefined) return;
    hold.timer = this.env.setTimeout(() => {
      hold.timer = undefined;
      this.#pump();
    }, hold.backoff.next(notBefore));
  }

  #requeue(entry: Entry): void {
    this.#inFlight.delete(entry);
    const at = this.#waiting.findIndex((other) => other.number > entry.number);
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, entry);
  }

  /** Takes `entry` out; false when it was settled before. */
  #forget(entry: Entry): boolean {
    const at = this.#waiting.indexOf(entry);
    if (at >= 0) this.#waiting.splice(at, 1);
    else if (!this.#inFlight.delete(entry)) return false;
    this.#count -= 1;
    this.#bytes -= entry.bytes;
    this.env.clearTimeout(entry.deadline);
    return true;
  }

  #fail(entry: Entry, code: 'timeout' | 'closed', reason: string): void {
    if (this.#forget(entry)) entry.reject(new SkywaveError(code, reason, entry.sent));
    this.#pump();
  }
}

function encodeBody(channel: string, id: string | undefined, data: unknown): string {
  try {
    return JSON.stringify({ channel, ...(id === undefined ? {} : { id }), ...encodeData(data) });
  } catch (error) {
    throw new SkywaveError('invalid_data', `the data cannot be written as JSON: ${String(error)}`);
  }
}

/** The body of a publication without an id: nobody waits for it. */
export function encodeEphemeral(channel: string, data: unknown): string {
  return encodeBody(channel, undefined, data);
}
