/**
 * The client: keeps one connection up (or says that it will not), and moves subscriptions, publications and questions
 * from one connection to the next.
 *
 * It owns the connections and decides when to connect, with which transport and token, and when to give up. What a
 * publication or a subscription survives, and how, is theirs to know (`outbox`, `subscription`).
 */

import { Backoff, DEFAULT_BACKOFF } from './backoff.js';
import { CloseCode, reconnectAfter, retryOf } from './codes.js';
import { Connection, type ConnectionOwner, type Loss } from './connection.js';
import { Credentials } from './credentials.js';
import { systemEnvironment, type Environment, type Timer } from './environment.js';
import { SkywaveError } from './errors.js';
import { Emitter } from './events.js';
import { Grants, type Granted, type GrantedGap, type Withdrawn } from './grants.js';
import { baseUrl, CONNECT_TIMEOUT_MS, DEFAULT_TRANSPORTS, type SkywaveOptions } from './options.js';
import { DEFAULT_OUTBOX, encodeEphemeral, Outbox, type Published } from './outbox.js';
import { decodeData, type Member, type Push, type Requests } from './protocol.js';
import { askForRoute, Places } from './places.js';
import { Queries } from './queries.js';
import { Subscription, type Publication, type PublishOptions, type SubscribeOptions, type SubscriptionHost } from './subscription.js';
import { availableTransports } from './transports/available.js';
import { Negotiator } from './transports/negotiate.js';
import type { TransportName, TransportTable } from './transports/transport.js';
import { UlidSource } from './ulid.js';

/** A connection that lasted this long resets the backoff, in ms. */
const STABLE_MS = 5_000;
/** Page events do not cause attempts closer together than this, in ms. */
const EAGER_SPACING_MS = 1_000;
/** How long a connection may take to answer after the page woke up, in ms. */
const WAKE_PROBE_MS = 4_000;
/** While moving, the old connection is kept at most this long for subscriptions that the new one has not answered, in ms. */
const MOVE_OVERLAP_MS = 5_000;
/** A client that found no other node leaves after this share of the time it was given, rather than be thrown out. */
const MOVE_PATIENCE = 0.8;

/**
 * `connecting`: not connected, and trying or about to try. `disconnected`: not connected and it will stay so until
 * `connect()` is called.
 */
export type State = 'connecting' | 'connected' | 'disconnected';

export interface StateChange {
  readonly state: State;
  readonly previous: State;
  /** Why the last connection or attempt ended; absent when there was none. */
  readonly cause?: { readonly code: number; readonly reason: string };
  /** `connecting`: until the next attempt, when it waits. */
  readonly retryInMs?: number;
}

/** What the server said about the connection. */
export interface ConnectionInfo {
  readonly client: string;
  readonly user: string | undefined;
  readonly region: string;
  readonly node: string;
  readonly transport: TransportName;
}

export interface ClientEvents {
  state: StateChange;
  connected: ConnectionInfo;
  /** The server asked to move to another node; it happens without a gap. */
  move: { readonly target: string | undefined };
  /** A backend put this client into a channel; its publications come as the client's own `publication` events. */
  granted: Granted;
  /** A backend took it out again, the connection ended, or a subscription of the application's own took the channel over. */
  withdrawn: Withdrawn;
  /** In a channel that a backend put this client into: each once and in order. Others come to their subscription. */
  publication: Publication;
  /** Publications of such a channel that do not come. Those of others are announced to their subscription. */
  gap: GrantedGap;
  /** Something went wrong that the client deals with by itself, e.g. `getToken` failed. */
  error: Error;
}

export interface HistoryOptions {
  /** Only what follows this offset. */
  readonly after?: number;
  /** Only what precedes this offset. */
  readonly before?: number;
  /** 1 to 1,000; 100 by default. */
  readonly limit?: number;
  /** Newest first. */
  readonly reverse?: boolean;
}

export interface HistoryPage<Data = unknown> {
  readonly epoch: string;
  /** The channel's newest offset; 0 when nothing was ever published. */
  readonly head: number;
  readonly publications: readonly Publication<Data>[];
}

export class Skywave extends Emitter<ClientEvents> {
  readonly #env: Environment;
  readonly #options: SkywaveOptions;
  readonly #places: Places;
  readonly #transports: TransportTable;
  readonly #negotiator: Negotiator;
  readonly #credentials: Credentials;
  readonly #backoff: Backoff;
  /** Of a move: the attempts of one say nothing about how to come back after a loss. */
  readonly #moveBackoff: Backoff;
  readonly #ids: UlidSource;
  readonly #outbox: Outbox;
  readonly #queries: Queries;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #grants = new Grants({
    granted: (event) => this.emit('granted', event),
    withdrawn: (event) => this.emit('withdrawn', event),
    publication: (event) => this.emit('publication', event),
    gap: (event) => this.emit('gap', event),
  });
  #state: State = 'disconnected';
  /** Carries everything. */
  #active: Connection | undefined;
  /** Being established: to connect, or to move. */
  #opening: Connection | undefined;
  /** Left behind by a move, until the subscriptions stand on the new one. */
  #leaving: Connection | undefined;
  /** Named by a `move`; used for one attempt. */
  #target: string | undefined;
  /** The attempt under way goes to such a target. */
  #openingTarget = false;
  /** Ends an attempt that still waits for its token. */
  #attempt = 0;
  #attemptAt = -Infinity;
  #retry: Timer;
  #stable: Timer;
  #overlap: Timer;
  #departure: Timer;
  #unwatch: (() => void) | undefined;

  constructor(options: SkywaveOptions = {}) {
    const env = options.environment ?? systemEnvironment();
    super((error) => env.report(error));
    this.#options = options;
    this.#env = env;
    const find = options.findRoute ?? askForRoute;
    this.#places = new Places(env, baseUrl(options.url), options.route ?? false, async (base, key, token) =>
      (await find(base, key, token)).map(baseUrl),
    );
    this.#transports = options.openers ?? availableTransports(options);
    const preferred = (options.transports ?? DEFAULT_TRANSPORTS).filter((name) => this.#transports[name] !== undefined);
    if (preferred.length === 0) throw new TypeError('this environment has none of the transports; pass options.WebSocket');
    this.#negotiator = new Negotiator(preferred, () => this.#env.now(), options.transportMemory);
    this.#credentials = new Credentials(options.token, options.getToken);
    const backoff = { ...DEFAULT_BACKOFF, ...options.backoff };
    this.#backoff = new Backoff(() => this.#env.random(), backoff);
    this.#moveBackoff = new Backoff(() => this.#env.random(), backoff);
    this.#ids = new UlidSource(() => this.#env.now(), (count) => this.#env.randomBytes(count));
    this.#outbox = new Outbox(this.#env, { ...DEFAULT_OUTBOX, ...options.outbox }, () => this.#renewToken());
    this.#queries = new Queries(this.#env);
    if (options.autoConnect ?? true) this.connect();
  }

  get state(): State {
    return this.#state;
  }

  /** The present connection; `undefined` unless connected. */
  get info(): ConnectionInfo | undefined {
    const connection = this.#active;
    const info = connection?.info;
    if (connection === undefined || info === undefined) return undefined;
    const { client, user, region, node } = info;
    return { client, user, region, node, transport: connection.transport };
  }

  /** Publications that wait for their acknowledgement. */
  get pending(): number {
    return this.#outbox.pending;
  }

  /** Starts connecting, also after `close()` or after the client gave up. */
  connect(): void {
    if (this.#state !== 'disconnected') return;
    this.#unwatch = this.#env.watch((signal) => this.#pageSignal(signal));
    this.#setState('connecting');
    this.#open();
  }

  /** Disconnects until `connect()` is called; subscriptions keep their position, publications wait. */
  disconnect(): void {
    this.#stop({ code: CloseCode.normal, reason: 'disconnected by the application' });
  }

  /** Disconnects for good: what waits for an answer is rejected. */
  close(): void {
    const reason = 'closed by the application';
    this.#stop({ code: CloseCode.normal, reason });
    this.#abandon(reason);
  }

  /** A new message id (a ULID), to know a publication by before it is published. */
  newId(): string {
    return this.#ids.next();
  }

  /**
   * Subscribes to a channel; the same object for the same channel. Options count the first time, except that
   * `presence: true` may be added later.
   */
  subscribe<Data = unknown>(channel: string, options: SubscribeOptions = {}): Subscription<Data> {
    let subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) {
      subscription = new Subscription(this.#host, channel, options);
      this.#subscriptions.set(channel, subscription);
      if (this.#active !== undefined) subscription.attach(this.#active);
    } else if (options.presence) {
      subscription.wantPresence();
    }
    return subscription as unknown as Subscription<Data>;
  }

  /**
   * Publishes and resolves with the acknowledgement: from then on the publication is durable and has its place. Until
   * then it is kept and sent again under the same id, whatever happens to connections. `Uint8Array` travels as bytes,
   * everything else as JSON.
   *
   * Rejects with a `SkywaveError`: refused for good, too large, outbox full, timed out or closed; `outcomeUnknown` tells
   * whether it may have been published all the same.
   */
  publish(channel: string, data: unknown, options: PublishOptions = {}): Promise<Published> {
    const id = options.id ?? this.newId();
    const limit = this.#active?.messageBytes ?? Infinity;
    return this.#outbox.publish(channel, id, data, limit, options.timeoutMs);
  }

  /**
   * Sends once, at most: no acknowledgement, no retry, a datagram where there are such. False when it was not sent.
   * Meant for ephemeral channels (typing, cursors).
   */
  publishEphemeral(channel: string, data: unknown): boolean {
    return this.#active?.publishUnreliable(encodeEphemeral(channel, data)) ?? false;
  }

  /** A page of a channel's history; oldest first unless `reverse`. */
  async history<Data = unknown>(channel: string, options: HistoryOptions = {}): Promise<HistoryPage<Data>> {
    const { after = 0, before = 0, limit = 100, reverse = false } = options;
    const page = await this.#queries.ask('history', { channel, after, before, limit, reverse });
    return {
      epoch: page.epoch,
      head: page.offset,
      publications: page.publications.map((pub) => ({
        channel,
        position: pub.offset ? { epoch: pub.epoch ?? page.epoch, offset: pub.offset } : undefined,
        id: pub.id,
        from: pub.from,
        time: pub.time,
        data: decodeData(pub) as Data,
        recovered: false,
      })),
    };
  }

  /** Who is present in a channel. */
  async presence(channel: string): Promise<readonly Member[]> {
    return (await this.#queries.ask('presence', { channel })).members;
  }

  readonly #host: SubscriptionHost = ((client: Skywave): SubscriptionHost => ({
    get env() {
      return client.#env;
    },
    get positions() {
      return client.#options.positions;
    },
    publish: (channel, data, options) => client.publish(channel, data, options),
    publishEphemeral: (channel, data) => client.publishEphemeral(channel, data),
    presence: (channel) => client.presence(channel),
    renewToken: () => client.#renewToken(),
    granted: (channel) => client.#grants.sequence(channel),
    takeOver: (channel) => client.#grants.takeOver(channel),
    ended: (channel) => void client.#subscriptions.delete(channel),
    settled: () => client.#leaveWhenSettled(),
  }))(this);

  readonly #owner: ConnectionOwner = {
    established: (connection) => this.#established(connection),
    pushed: (connection, push) => this.#pushed(connection, push),
    lost: (connection, loss) => this.#lost(connection, loss),
  };

  /** Begins one attempt with the next transport. */
  #open(): void {
    this.#env.clearTimeout(this.#retry);
    this.#attemptAt = this.#env.now();
    const attempt = ++this.#attempt;
    void this.#credentials.current().then(
      (token) => {
        if (attempt === this.#attempt) this.#openWith(token);
      },
      (error: unknown) => {
        if (attempt !== this.#attempt) return;
        this.emit('error', error instanceof Error ? error : new Error(String(error)));
        this.#again({ code: CloseCode.unauthorized, reason: 'getToken failed' });
      },
    );
  }

  #openWith(token: string | undefined): void {
    if (this.#target === undefined && this.#places.wantsAsking) {
      const attempt = this.#attempt;
      void this.#places.ask(token).then(() => {
        if (attempt === this.#attempt) this.#openWith(token);
      });
      return;
    }
    const transport = this.#negotiator.next();
    const open = transport && this.#transports[transport];
    if (transport === undefined || open === undefined) return;
    const connect: Requests['connect'] = { name: this.#options.name ?? 'skywave-js' };
    if (token !== undefined) connect.token = token;
    const { base, placed } = this.#target === undefined ? this.#places.current : { base: this.#target, placed: true };
    this.#openingTarget = this.#target !== undefined;
    this.#target = undefined;
    if (this.#places.key !== undefined) connect.key = this.#places.key;
    if (placed) connect.placed = true;
    const timeoutMs = this.#options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    const heartbeatMs = this.#options.heartbeatMs;
    this.#opening = new Connection(this.#env, this.#owner, { transport, base, open, connect, timeoutMs, heartbeatMs });
  }

  #established(connection: Connection): void {
    this.#leave();
    // A listener may have closed the client.
    if (this.#opening !== connection) return;
    this.#opening = undefined;
    this.#places.begin();
    this.#leaving = this.#active;
    this.#active = connection;
    this.#negotiator.worked(connection.transport);
    this.#credentials.accepted();
    this.#env.clearTimeout(this.#stable);
    this.#stable = this.#env.setTimeout(() => this.#backoff.reset(), STABLE_MS);
    this.#outbox.attach(connection);
    this.#queries.attach(connection);
    for (const subscription of this.#subscriptions.values()) subscription.attach(connection);
    if (this.#leaving !== undefined) {
      this.#overlap = this.#env.setTimeout(() => this.#leave(), MOVE_OVERLAP_MS);
      this.#leaveWhenSettled();
      if (this.#active !== connection) return;
    }
    this.#setState('connected');
    this.emit('connected', this.info as ConnectionInfo);
  }

  #pushed(connection: Connection, push: Push): void {
    const news = push.pub ?? push.gap ?? push.join ?? push.leave ?? push.subscribed ?? push.unsubscribed;
    const subscription = news && this.#subscriptions.get(news.channel);
    // Until a subscription has taken a granted channel over, the grant goes on; one that is told of while the subscription is
    // not answered begins.
    const grants = (asked: Subscription): boolean =>
      this.#grants.stands(asked.channel, connection) || (push.subscribed !== undefined && !asked.isServedBy(connection));
    if (subscription !== undefined && !grants(subscription)) subscription.pushed(connection, push);
    else if (news !== undefined) this.#grants.pushed(connection, push);
    else if (connection !== this.#active) return;
    else if (push.expiring !== undefined) void this.#renewToken();
    else if (push.move !== undefined) this.#move(connection, push.move.target, push.move.within_ms);
  }

  #lost(connection: Connection, loss: Loss): void {
    if (connection === this.#leaving) {
      this.#leave();
      return;
    }
    if (connection === this.#opening) {
      this.#opening = undefined;
      this.#opensFailed(loss);
      return;
    }
    if (connection !== this.#active) return;
    this.#active = undefined;
    this.#leave();
    this.#env.clearTimeout(this.#stable);
    this.#detach(connection);
    // A listener may have closed the client.
    if (this.#state === 'disconnected') return;
    // A move under way is the reconnect already.
    if (this.#opening !== undefined) this.#setState('connecting', loss);
    else this.#judge(reconnectAfter(loss.code), loss);
  }

  #opensFailed(loss: Loss): void {
    if (loss.error !== undefined) {
      const retry = retryOf(loss.error.code);
      this.#judge(retry === 'later' ? 'resume' : retry === 'never' ? 'no' : retry, loss);
    } else if (!loss.reached && this.#negotiator.more) {
      this.#open();
    } else if (!loss.reached && !this.#openingTarget && this.#places.skip()) {
      // The next node, at once: all of them do not go away together.
      this.#open();
    } else {
      this.#judge(reconnectAfter(loss.code), loss);
    }
  }

  #judge(advice: ReturnType<typeof reconnectAfter>, loss: Loss): void {
    const giveUp = advice === 'no' || (advice === 'with_new_token' && !this.#credentials.refused());
    // While the old connection of a move still serves, a refused new one ends nothing.
    if (giveUp && this.#active === undefined) {
      this.#stop(loss);
      this.#abandon(loss.reason);
    } else {
      this.#again(loss);
    }
  }

  /** Tries again after a backoff. */
  #again(cause: { code: number; reason: string; retryAfterMs?: number }): void {
    this.#places.begin();
    const backoff = this.#active === undefined ? this.#backoff : this.#moveBackoff;
    const retryInMs = backoff.next(cause.retryAfterMs);
    this.#env.clearTimeout(this.#retry);
    this.#retry = this.#env.setTimeout(() => this.#open(), retryInMs);
    if (this.#active === undefined) this.#setState('connecting', cause, retryInMs);
  }

  #stop(cause: { code: number; reason: string }): void {
    if (this.#state === 'disconnected') return;
    this.#attempt += 1;
    for (const timer of [this.#retry, this.#stable, this.#departure]) this.#env.clearTimeout(timer);
    this.#unwatch?.();
    this.#leave();
    this.#opening?.close(CloseCode.normal, '');
    const active = this.#active;
    this.#active = this.#opening = undefined;
    active?.close(CloseCode.normal, '');
    if (active !== undefined) this.#detach(active);
    this.#setState('disconnected', cause);
  }

  /** Nobody will answer any more. */
  #abandon(reason: string): void {
    this.#outbox.abandon(reason);
    this.#queries.abandon(reason);
  }

  #detach(connection: Connection): void {
    this.#outbox.detach();
    this.#queries.detach();
    this.#grants.ended(connection);
    for (const subscription of this.#subscriptions.values()) subscription.detach(connection);
  }

  /** Connects to another node while the old connection goes on. */
  #move(connection: Connection, target: string | undefined, withinMs: number): void {
    this.emit('move', { target });
    if (this.#opening !== undefined) return;
    this.#moveBackoff.reset();
    try {
      this.#target = target === undefined ? undefined : baseUrl(target);
    } catch {
      this.#target = undefined;
    }
    this.#env.clearTimeout(this.#retry);
    this.#retry = this.#env.setTimeout(() => this.#open(), this.#env.random() * Math.min(withinMs / 2, 1_000));
    this.#env.clearTimeout(this.#departure);
    this.#departure = this.#env.setTimeout(() => this.#depart(connection), withinMs * MOVE_PATIENCE);
  }

  /**
   * Leaves a node that drains, though no other has answered. (Chromium's renderer is also seen to crash now and then when
   * a server ends a WebTransport session, and never when the page does.)
   */
  #depart(connection: Connection): void {
    if (connection !== this.#active) return;
    connection.close(CloseCode.normal, 'leaving');
    this.#lost(connection, { code: CloseCode.drain, reason: 'node is draining', reached: true });
  }

  #leaveWhenSettled(): void {
    if (this.#leaving === undefined) return;
    for (const { state } of this.#subscriptions.values()) if (state === 'subscribing') return;
    this.#leave();
  }

  #leave(): void {
    const leaving = this.#leaving;
    if (leaving === undefined) return;
    this.#leaving = undefined;
    this.#env.clearTimeout(this.#overlap);
    leaving.close(CloseCode.normal, '');
    this.#grants.ended(leaving);
    for (const subscription of this.#subscriptions.values()) subscription.detach(leaving);
  }

  /** Gets a new token and tells the server; false when either fails. */
  async #renewToken(): Promise<boolean> {
    if (!this.#credentials.renewable) return false;
    let token: string;
    try {
      token = await this.#credentials.renew();
    } catch (error) {
      this.emit('error', error instanceof Error ? error : new Error(String(error)));
      return false;
    }
    const connection = this.#active;
    if (connection === undefined) return false;
    return new Promise((resolve) => {
      connection.request('refresh', { token }, (reply) => {
        if (reply.error !== undefined) this.emit('error', SkywaveError.fromWire(reply.error));
        resolve(reply.refreshed !== undefined);
      });
    });
  }

  /** The network came back or the page was shown: do not wait out the backoff, do not trust an old connection. */
  #pageSignal(_signal: 'online' | 'visible'): void {
    if (this.#active !== undefined) this.#active.probe(WAKE_PROBE_MS);
    else if (this.#opening === undefined && this.#env.now() - this.#attemptAt >= EAGER_SPACING_MS) this.#open();
  }

  #setState(state: State, cause?: { code: number; reason: string }, retryInMs?: number): void {
    const previous = this.#state;
    this.#state = state;
    this.emit('state', {
      state,
      previous,
      ...(cause === undefined ? {} : { cause: { code: cause.code, reason: cause.reason } }),
      ...(retryInMs === undefined ? {} : { retryInMs }),
    });
  }
}
