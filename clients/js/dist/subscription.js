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
import { SkywaveError } from './errors.js';
import { Emitter } from './events.js';
import { decodeData } from './protocol.js';
import { Sequence } from './sequence.js';
/** Pushes kept while a subscribe is under way; beyond it they are dropped and fetched by another recovery. */
const EARLY_PUSHES = 10_000;
export class Subscription extends Emitter {
    host;
    channel;
    #sequence;
    #backoff;
    #presence;
    #ended = false;
    /** The connection that is asked to subscribe, until it has answered. */
    #asking;
    /** The connection whose pushes count. */
    #serving;
    /** Distinguishes the answer to the last subscribe from earlier ones' on the same connection. */
    #ask = 0;
    #early = [];
    #recovering;
    #retry;
    /** @internal */
    constructor(host, channel, options) {
        super((error) => host.env.report(error));
        this.host = host;
        this.channel = channel;
        this.#presence = options.presence ?? false;
        const position = options.recover ?? host.positions?.load(channel);
        this.#sequence = (position === undefined ? host.granted(channel) : undefined) ?? new Sequence(position);
        this.#backoff = new Backoff(() => host.env.random());
    }
    get state() {
        if (this.#ended)
            return 'unsubscribed';
        if (this.#asking !== undefined)
            return 'subscribing';
        return this.#serving === undefined ? 'waiting' : 'subscribed';
    }
    /** The last publication delivered; `undefined` before the first subscribe and in ephemeral channels. */
    get position() {
        return this.#sequence.position;
    }
    /** Publishes in this channel; see `Skywave.publish`. */
    publish(data, options) {
        return this.host.publish(this.channel, data, options);
    }
    /** Sends what may be lost; see `Skywave.publishEphemeral`. */
    publishEphemeral(data) {
        return this.host.publishEphemeral(this.channel, data);
    }
    /** Who is here. */
    presence() {
        return this.host.presence(this.channel);
    }
    /** Ends the subscription. Nothing more is delivered, also of what is on its way. */
    unsubscribe() {
        if (this.#ended)
            return;
        for (const connection of new Set([this.#asking, this.#serving])) {
            connection?.request('unsubscribe', { channel: this.channel }, () => { });
        }
        this.#end(undefined);
        // For the server the channel is left, whoever asked for it.
        this.host.takeOver(this.channel);
    }
    /** @internal Subscribes on `connection`; another one that served goes on until the answer. */
    attach(connection) {
        this.#subscribe(connection, false);
    }
    /** @internal The connection is gone. */
    detach(connection) {
        if (this.#serving === connection)
            this.#serving = undefined;
        if (this.#asking !== connection)
            return;
        this.#asking = undefined;
        this.#early = [];
        this.host.env.clearTimeout(this.#retry);
    }
    /** @internal Whether the server has taken the subscription on this connection. */
    isServedBy(connection) {
        return this.#serving === connection;
    }
    /** @internal From now on with joins and leaves. */
    wantPresence() {
        if (this.#presence)
            return;
        this.#presence = true;
        const connection = this.#asking ?? this.#serving;
        if (connection !== undefined)
            this.#subscribe(connection, true);
    }
    /** @internal A push of this channel came on `connection`. */
    pushed(connection, push) {
        if (this.#ended)
            return;
        if (connection === this.#asking) {
            // An end said before the answer is of what stood before: a subscription, or a grant.
            if (push.unsubscribed === undefined && this.#early.length < EARLY_PUSHES)
                this.#early.push(push);
        }
        else if (connection === this.#serving) {
            if (this.#take(push) === 'hole')
                this.#subscribe(connection, true);
        }
    }
    #subscribe(connection, again) {
        this.host.env.clearTimeout(this.#retry);
        const { channel } = this;
        const recover = this.position;
        this.#asking = connection;
        this.#early = [];
        const ask = ++this.#ask;
        if (again)
            connection.request('unsubscribe', { channel }, () => { });
        connection.request('subscribe', { channel, ...(recover === undefined ? {} : { recover }), ...(this.#presence ? { presence: true } : {}) }, (reply) => {
            if (!this.#ended && ask === this.#ask && this.#asking === connection)
                this.#answered(connection, reply, recover);
        });
    }
    #answered(connection, reply, asked) {
        if (reply.subscribed === undefined) {
            this.#refused(connection, reply.error ?? { code: 'internal', message: 'unexpected answer to subscribe' });
        }
        else {
            const early = this.#early;
            this.#early = [];
            this.#asking = undefined;
            this.#serving = connection;
            this.#takeOver();
            if (!this.#ended)
                this.#start(reply.subscribed, asked);
            // A hole among these is no news: they precede what the recovery will bring.
            for (const push of early)
                if (!this.#ended)
                    this.#take(push);
        }
        this.host.settled();
    }
    #start(answer, asked) {
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
        }
        else if (recovery === 'exact' && asked !== undefined) {
            this.#sequence.adopt(epoch);
            this.#recovering = { from: this.#recovering?.from ?? asked, head: offset, count: this.#recovering?.count ?? 0 };
            this.#checkRecovered();
        }
        else {
            const { from, to, reason } = gap ?? { from: (this.position?.offset ?? 0) + 1, to: offset, reason: 'unavailable' };
            this.#skipped(this.#sequence.resume(from, to, { epoch, offset }), epoch, reason);
        }
    }
    /** Ends a grant of this channel; false when there is none. From here on all that comes is ours, behind what was granted. */
    #takeOver(granted) {
        if (!this.host.takeOver(this.channel))
            return false;
        if (this.position === undefined && granted !== undefined)
            this.#sequence = granted;
        if (!this.#ended)
            this.#moved();
        return true;
    }
    #refused(connection, error) {
        const granted = this.host.granted(this.channel);
        if (error.code === 'already_subscribed' && this.#takeOver(granted)) {
            // It was a backend that did: leave, and join again from where the grant stood.
            if (!this.#ended && this.#asking === connection)
                this.#subscribe(connection, true);
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
            if (!this.#ended && this.#asking === connection)
                this.#subscribe(connection, error.code === 'already_subscribed');
        };
        this.#retry = this.host.env.setTimeout(() => {
            if (retry === 'later')
                again();
            else
                void this.host.renewToken().then((renewed) => (renewed ? again() : this.#end(failure)));
        }, wait);
    }
    /** Handles a push that counts; `hole` when something is missing before it. */
    #take(push) {
        if (push.pub !== undefined)
            return this.#publication(push.pub);
        if (push.gap !== undefined)
            return this.#gap(push.gap);
        if (push.join !== undefined)
            this.emit('join', member(push.join));
        else if (push.leave !== undefined)
            this.emit('leave', member(push.leave));
        else if (push.unsubscribed !== undefined)
            this.#revoked(push.unsubscribed);
        return undefined;
    }
    #publication(pub) {
        if (!pub.offset) {
            this.#deliver(pub, undefined, false);
            return undefined;
        }
        const verdict = this.#sequence.take(pub.offset, pub.epoch);
        if (verdict === 'hole')
            return 'hole';
        if (verdict === 'duplicate')
            return undefined;
        this.#backoff.reset();
        const recovering = this.#recovering;
        if (recovering !== undefined)
            recovering.count += 1;
        this.#deliver(pub, this.position, recovering !== undefined);
        this.#moved();
        this.#checkRecovered();
        return undefined;
    }
    #deliver(pub, position, recovered) {
        this.emit('publication', {
            channel: this.channel,
            position,
            id: pub.id,
            from: pub.from,
            time: pub.time,
            data: decodeData(pub),
            recovered,
        });
    }
    /** What is missing before a gap is recovered like any other hole; the answer then tells of the gap. */
    #gap({ from, to, epoch, reason }) {
        const at = this.position;
        if (at !== undefined && at.epoch === epoch && from > at.offset + 1)
            return 'hole';
        this.#skipped(this.#sequence.skip(from, to, epoch), epoch, reason);
        return undefined;
    }
    #skipped(skipped, epoch, reason) {
        if (skipped === undefined)
            return;
        this.#recovering = undefined;
        this.emit('gap', { ...skipped, epoch, reason });
        this.#moved();
    }
    #checkRecovered() {
        const to = this.position;
        const recovering = this.#recovering;
        if (recovering === undefined || to === undefined || to.offset < recovering.head)
            return;
        this.#recovering = undefined;
        this.emit('recovered', { from: recovering.from, to, count: recovering.count });
    }
    #moved() {
        const position = this.position;
        if (position === undefined)
            return;
        this.host.positions?.save(this.channel, position);
        this.emit('position', position);
    }
    #revoked(error) {
        const connection = this.#serving;
        this.#serving = undefined;
        this.#asking = connection;
        if (connection !== undefined)
            this.#refused(connection, error);
    }
    #end(error) {
        if (this.#ended)
            return;
        this.#ended = true;
        this.#asking = this.#serving = undefined;
        this.#early = [];
        this.host.env.clearTimeout(this.#retry);
        this.host.ended(this.channel);
        if (error !== undefined)
            this.emit('error', { error, retryInMs: undefined });
        this.emit('unsubscribed', error === undefined ? {} : { error });
    }
}
function member(push) {
    return push.user === undefined ? { client: push.client } : { client: push.client, user: push.user };
}
