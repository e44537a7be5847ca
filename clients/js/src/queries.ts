/** Questions without effect (history, presence): asked again on every connection until answered or too old. */

import { Backoff } from './backoff.js';
import { retryOf } from './codes.js';
import type { Connection } from './connection.js';
import type { Environment, Timer } from './environment.js';
import { SkywaveError } from './errors.js';
import type { Replies, Requests } from './protocol.js';

/** Most questions that wait at a time; beyond it, asking fails with `outbox_full`. */
const LIMIT = 1_000;
/** A question is given up after this long, in ms. */
const TIMEOUT_MS = 15_000;

type Kind = 'history' | 'presence';

interface Query {
  readonly ask: (connection: Connection) => void;
  readonly fail: (error: SkywaveError) => void;
  retry: Timer | undefined;
}

export class Queries {
  #connection: Connection | undefined;
  readonly #open = new Set<Query>();

  constructor(private readonly env: Environment) {}

  ask<K extends Kind>(kind: K, body: Requests[K]): Promise<Replies[K]> {
    return new Promise((resolve, reject) => {
      if (this.#open.size >= LIMIT) throw new SkywaveError('outbox_full', `${LIMIT} questions wait for an answer`);
      const backoff = new Backoff(() => this.env.random());
      let lastError: SkywaveError | undefined;
      const settle = () => {
        this.#open.delete(query);
        this.env.clearTimeout(deadline);
        this.env.clearTimeout(query.retry);
      };
      const query: Query = {
        retry: undefined,
        fail: (error) => {
          settle();
          reject(error);
        },
        ask: (connection) => connection.request(kind, body, (reply) => {
          const answer = reply[kind];
          if (!this.#open.has(query)) return;
          if (answer !== undefined) {
            settle();
            resolve(answer as Replies[K]);
            return;
          }
          const error = reply.error ?? { code: 'internal', message: `unexpected answer to ${kind}` };
          lastError = SkywaveError.fromWire(error);
          if (retryOf(error.code) !== 'later') query.fail(lastError);
          else if (connection === this.#connection) {
            query.retry = this.env.setTimeout(() => {
              if (this.#connection !== undefined) query.ask(this.#connection);
            }, backoff.next(error.retry_after_ms));
          }
        }),
      };
      const deadline = this.env.setTimeout(
        () => query.fail(lastError ?? new SkywaveError('timeout', `no answer to ${kind} in ${TIMEOUT_MS} ms`)),
        TIMEOUT_MS,
      );
      this.#open.add(query);
      if (this.#connection !== undefined) query.ask(this.#connection);
    });
  }

  attach(connection: Connection): void {
    this.detach();
    this.#connection = connection;
    for (const query of this.#open) query.ask(connection);
  }

  detach(): void {
    this.#connection = undefined;
    for (const query of this.#open) this.env.clearTimeout(query.retry);
  }

  abandon(reason: string): void {
    this.detach();
    for (const query of [...this.#open]) query.fail(new SkywaveError('closed', reason));
  }
}
