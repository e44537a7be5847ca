/**
 * One channel as one client sees it: subscribes on whatever connection there is, recovers from its position, and turns
 * what comes in into events that are exactly once and in order.
 *
 * While a subscribe is under way, what arrives on that connection is kept until its answer: over WebTransport the
 * publications have a stream of their own and may overtake it. While the client moves between two nodes, the old
 * connection goes on delivering until the new one answers; the position sorts out what comes twice.
 *
 * A channel that a backend has granted stays the grant's until the server has taken the subscription. Both go by the same
 * sequence, so the subscription begins behind what the grant has delivered.
 */

import { Backoff } from './backoff.js';
import { retryOf } from './codes.js';
import type { Connection } from './connection.js';
import type { Environment, Timer } from './environment.js';
import { SkywaveError } from './errors.js';
import { Emitter } from './events.js';
import type { Published } from './outbox.js';
import type { PositionStore } from './positions.js';
import { decodeData } from './protocol.js';
import type { GapReason, Member, Position, Push, Pushes, Reply, WireError, WireGap, WirePublication, WireSubscribed } from './protocol.js';
import { Sequence, type Skipped } from './sequence.js';

/** Pushes kept while a subscribe is under way; beyond it they are dropped and fetched by another recovery. */
const EARLY_PUSHES = 10_000;

export interface Publication<Data = unknown> {
  readonly channel: string;
  /** `undefined` for an ephemeral publication. */
  readonly position: Position | undefined;
  /** The publisher's id of it. */
  readonly id: string | undefined;
  /** The publishing user; `undefined` for an anonymous one. */
  readonly from: string | undefined;
  /** When it was recorded, in ms since the Unix epoch; by the server's clock. */
  readonly time: number | undefined;
  readonly data: Data;
  /** It was published while this client was away. */
  readonly recovered: boolean;
}

/** Every publication after `from` has been delivered: nothing was lost, nothing came twice. */
export interface Recovered {
  /** Where the subscription stood before. */
  readonly from: Position;
  /** Where it stands now. */
  readonly to: Position;
  /** How many publications were missed and delivered since. */
  readonly count: number;
}

/** Publications `from` … `to` (both included) cannot be had. */
export interface Gap extends WireGap {
  readonly epoch: string;
  readonly reason: GapReason;
}

export interface Subscribed {
  /** `undefined` in an ephemeral channel. */
  readonly position: Position | undefined;
  /** Whether it went on from an earlier position. */
  readonly resumed: boolean;
}

export interface SubscriptionEvents<Data = unknown> {
  publication: Publication<Data>;
  recovered: Recovered;
  gap: Gap;
  join: Member;
  leave: Member;
  /** After every change of the position, before the next publication. */
  position: Position;
  /** The server has taken the subscription: the first time, and again after every reconnect. */
  subscribed: Subscribed;
  /** It ended and will not come back by itself; `error` is absent when the application unsubscribed. */
  unsubscribed: { readonly error?: SkywaveError };
  /** A subscribe was refused; `retryInMs` says when it is tried again, if it is. */
  error: { readonly error: SkywaveError; readonly retryInMs: number | undefined };
}

export interface SubscribeOptions {
  /** Start after this position instead of at the channel's end. */
  readonly recover?: Position;
  /** Receive `join` and `leave`. */
  readonly presence?: boolean;
}

/** What a subscription needs of its client. */
export interface SubscriptionHost {
  readonly env: Environment;
  readonly positions: PositionStore | undefined;
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<Published>;
  publishEphemeral(channel: string, data: unknown): boolean;
  presence(channel: string): Promise<readonly Member[]>;
  renewToken(): Promise<boolean>;
  /** What a grant of the channel is judged by, if a backend has made one. */
  granted(channel: string): Sequence | undefined;
  /** Ends such a grant in favour of the subscription; false when there is none. */
  takeOver(channel: string): boolean;
  /** The subscription ended. */
  ended(channel: string): void;
  /** A subscribe was answered, well or badly. */
  settled(): void;
}

export interface PublishOptions {
  /** Idempotency key; a ULID by default. */
  readonly id?: string;
  /** Give up after this many ms; without it a publication waits as long as the client lives. */
  readonly timeoutMs?: number;
}

export type SubscriptionState = 'waiting' | 'subscribing' | 'subscribed' | 'unsubscribed';

interface Recovering {
  readonly from: Position;
  readonly head: number;
  count: number;
}

export class Subscription<Data = unknown> extends Emitter<SubscriptionEvents<Data>> {
  #sequence: Sequence;
  readonly #backoff: Backoff;
  #presence: boolean;
  #ended = false;
  /** The connection that is asked to subscribe, until it has answered. */
  #asking: Connection | undefined;
  /** The connection whose pushes count. */
  #serving: Connection | undefined;
  /** Distinguishes the answer to the last subscribe from earlier ones' on the same connection. */
  #ask = 0;
  #early: Push[] = [];
  #recovering: Recovering | undefined;
  #retry: Timer;

  /** @internal */
  constructor(
    private readonly host: SubscriptionHost,
    readonly channel: string,
    options: SubscribeOptions,
  ) {
    super((error) => host.env.report(error));
    this.#presence = options.presence ?? false;
    const position = options.recover ?? host.positions?.load(channel);
    this.#sequence = (position === undefined ? host.granted(channel) : undefined) ?? new Sequence(position);
    this.#backoff = new Backoff(() => host.env.random());
  }

  get state(): SubscriptionState {
    if (this.#ended) return 'unsubscribed';
    if (this.#asking !== undefined) return 'subscribing';
    return this.#serving === undefined ? 'waiting' : 'subscribed';
  }

  /** The last publication delivered; `undefined` before the first subscribe and in ephemeral channels. */
  get position(): Position | undefined {
    return this.#sequence.position;
  }

  /** Publishes in this channel; see `Skywave.publish`. */
  publish(data: unknown, options?: PublishOptions): Promise<Published> {
    return this.host.publish(this.channel, data, options);
  }

  /** Sends what may be lost; see `Skywave.publishEphemeral`. */
  publishEphemeral(data: unknown): boolean {
    return this.host.publishEphemeral(this.channel, data);
  }

  /** Who is here. */
  presence(): Promise<readonly Member[]> {
    return this.host.presence(this.channel);
  }

  /** Ends the subscription. Nothing more is delivered, also of what is on its way. */
  unsubscribe(): void {
    if (this.#ended) return;
    for (const connection of new Set([this.#asking, this.#serving])) {
      connection?.request('unsubscribe', { channel: this.channel }, () => {});
    }
    this.#end(undefined);
    // For the server the channel is left, whoever asked for it.
    this.host.takeOver(this.channel);
  }

  /** @internal Subscribes on `connection`; another one that served goes on until the answer. */
  attach(connection: Connection): void {
    this.#subscribe(connection, false);
  }

  /** @internal The connection is gone. */
  detach(connection: Connection): void {
    if (this.#serving === connection) this.#serving = undefined;
    if (this.#asking !== connection) return;
    this.#asking = undefined;
    this.#early = [];
    this.host.env.clearTimeout(this.#retry);
  }

  /** @internal Whether the server has taken the subscription on this connection. */
  isServedBy(connection: Connection): boolean {
    return this.#serving === connection;
  }

  /** @internal From now on with joins and leaves. */
  wantPresence(): void {
    if (this.#presence) return;
    this.#presence = true;
    const connection = this.#asking ?? this.#serving;
    if (connection !== undefined) this.#subscribe(connection, true);
  }

  /** @internal A push of this channel came on `connection`. */
  pushed(connection: Connection, push: Push): void {
    if (this.#ended) return;
    if (connection === this.#asking) {
      // An end said before the answer is of what stood before: a subscription, or a grant.
      if (push.unsubscribed === undefined && this.#early.length < EARLY_PUSHES) this.#early.push(push);
    } else if (connection === this.#serving) {
      if (this.#take(push) === 'hole') this.#subscribe(connection, true);
    }
  }

  #subscribe(connection: Connection, again: boolean): void {
    this.host.env.clearTimeout(this.#retry);
    const { channel } = this;
    const recover = this.position;
    this.#asking = connection;
    this.#early = [];
    const ask = ++this.#ask;
    if (again) connection.request('unsubscribe', { channel }, () => {});
    connection.request(
      'subscribe',
      { channel, ...(recover === undefined ? {} : { recover }), ...(this.#presence ? { presence: true } : {}) },
      (reply) => {
        if (!this.#ended && ask === this.#ask && this.#asking === connection) this.#answered(connection, reply, recover);
      },
    );
  }

  #answered(connection: Connection, reply: Reply, asked: Position | undefined): void {
    if (reply.subscribed === undefined) {
      this.#refused(connection, reply.error ?? { code: 'internal', message: 'unexpected answer to subscribe' });
    } else {
      const early = this.#early;
      this.#early = [];
      this.#asking = undefined;
      this.#serving = connection;
      this.#takeOver();
      if (!this.#ended) this.#start(reply.subscribed, asked);
      // A hole among these is no news: they precede what the recovery will bring.
      for (const push of early) if (!this.#ended) this.#take(push);
    }
    this.host.settled();
  }

  #start(answer: WireSubscribed, asked: Position | undefined): void {
    const { epoch, offset, recovery, gap } = answer;
    if (epoch === undefined || offset === undefined) {
      this.#backoff.reset();
      this.emit('subscribed', { position: undefined, resumed: false });
      return;
    }
    this.emit('subscribed', { position: { epoch, offset }, resumed: asked !== undefined });
    if (asked === undefined && this.position === undefined) {
      this.#sequence.start({ epoch, offset });
      this.#moved();
    } else if (recovery === 'exact' && asked !== undefined) {
      this.#sequence.adopt(epoch);
      this.#recovering = { from: this.#recovering?.from ?? asked, head: offset, count: this.#recovering?.count ?? 0 };
      this.#checkRecovered();
    } else {
      const { from, to, reason } = gap ?? { from: (this.position?.offset ?? 0) + 1, to: offset, reason: 'unavailable' };
      this.#skipped(this.#sequence.resume(from, to, { epoch, offset }), epoch, reason);
    }
  }

  /** Ends a grant of this channel; false when there is none. From here on all that comes is ours, behind what was granted. */
  #takeOver(granted?: Sequence): boolean {
    if (!this.host.takeOver(this.channel)) return false;
    if (this.position === undefined && granted !== undefined) this.#sequence = granted;
    if (!this.#ended) this.#moved();
    return true;
  }

  #refused(connection: Connection, error: WireError): void {
    const granted = this.host.granted(this.channel);
    if (error.code === 'already_subscribed' && this.#takeOver(granted)) {
      // It was a backend that did: leave, and join again from where the grant stood.
      if (!this.#ended && this.#asking === connection) this.#subscribe(connection, true);
      return;
    }
    const retry = retryOf(error.code);
    const failure = SkywaveError.fromWire(error);
    if (retry === 'never') {
      this.#end(failure);
      return;
    }
    const wait = this.#backoff.next(error.retry_after_ms);
    this.emit('error', { error: failure, retryInMs: wait });
    const again = () => {
      if (!this.#ended && this.#asking === connection) this.#subscribe(connection, error.code === 'already_subscribed');
    };
    this.#retry = this.host.env.setTimeout(() => {
      if (retry === 'later') again();
      else void this.host.renewToken().then((renewed) => (renewed ? again() : this.#end(failure)));
    }, wait);
  }

  /** Handles a push that counts; `hole` when something is missing before it. */
  #take(push: Push): 'hole' | undefined {
    if (push.pub !== undefined) return this.#publication(push.pub);
    if (push.gap !== undefined) return this.#gap(push.gap);
    if (push.join !== undefined) this.emit('join', member(push.join));
    else if (push.leave !== undefined) this.emit('leave', member(push.leave));
    else if (push.unsubscribed !== undefined) this.#revoked(push.unsubscribed);
    return undefined;
  }

  #publication(pub: WirePublication): 'hole' | undefined {
    if (!pub.offset) {
      this.#deliver(pub, undefined, false);
      return undefined;
    }
    const verdict = this.#sequence.take(pub.offset, pub.epoch);
    if (verdict === 'hole') return 'hole';
    if (verdict === 'duplicate') return undefined;
    this.#backoff.reset();
    const recovering = this.#recovering;
    if (recovering !== undefined) recovering.count += 1;
    this.#deliver(pub, this.position, recovering !== undefined);
    this.#moved();
    this.#checkRecovered();
    return undefined;
  }

  #deliver(pub: WirePublication, position: Position | undefined, recovered: boolean): void {
    this.emit('publication', {
      channel: this.channel,
      position,
      id: pub.id,
      from: pub.from,
      time: pub.time,
      data: decodeData(pub) as Data,
      recovered,
    });
  }

  /** What is missing before a gap is recovered like any other hole; the answer then tells of the gap. */
  #gap({ from, to, epoch, reason }: Pushes['gap']): 'hole' | undefined {
    const at = this.position;
    if (at !== undefined && at.epoch === epoch && from > at.offset + 1) return 'hole';
    this.#skipped(this.#sequence.skip(from, to, epoch), epoch, reason);
    return undefined;
  }

  #skipped(skipped: Skipped | undefined, epoch: string, reason: GapReason): void {
    if (skipped === undefined) return;
    this.#recovering = undefined;
    this.emit('gap', { ...skipped, epoch, reason });
    this.#moved();
  }

  #checkRecovered(): void {
    const to = this.position;
    const recovering = this.#recovering;
    if (recovering === undefined || to === undefined || to.offset < recovering.head) return;
    this.#recovering = undefined;
    this.emit('recovered', { from: recovering.from, to, count: recovering.count });
  }

  #moved(): void {
    const position = this.position;
    if (position === undefined) return;
    this.host.positions?.save(this.channel, position);
    this.emit('position', position);
  }

  #revoked(error: Pushes['unsubscribed']): void {
    const connection = this.#serving;
    this.#serving = undefined;
    this.#asking = connection;
    if (connection !== undefined) this.#refused(connection, error);
  }

  #end(error: SkywaveError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#asking = this.#serving = undefined;
    this.#early = [];
    this.host.env.clearTimeout(this.#retry);
    this.host.ended(this.channel);
    if (error !== undefined) this.emit('error', { error, retryInMs: undefined });
    this.emit('unsubscribed', error === undefined ? {} : { error });
  }
}

function member(push: Member): Member {
  return push.user === undefined ? { client: push.client } : { client: push.client, user: push.user };
}
