/**
 * Channels a backend has put this client into. They last as long as the connection: the client does not ask for them
 * again after reconnecting, because only the backend knows whether it should be there.
 *
 * - Each durable publication once and in order; what is left out is announced. It is not fetched: whoever wants it reads
 *   history.
 * - A push that overtakes its `subscribed` (streams of WebTransport are independent) waits for it.
 * - While the client moves, a grant on the new connection takes the place of the one on the old, and both feed the same
 *   sequence until the old connection is gone.
 *
 * It owns the grants and what waits for one. Bounded by what the server grants to one connection. It never asks the server
 * for anything.
 */
import { SkywaveError } from './errors.js';
import { decodeData } from './protocol.js';
import { Sequence } from './sequence.js';
/** Pushes kept of channels that are not known yet. What goes beyond pushes the oldest out, and is then found missing. */
const EARLY_PUSHES = 1_024;
export class Grants {
    #listener;
    #channels = new Map();
    #early = [];
    constructor(listener) {
        this.#listener = listener;
    }
    /** Whether what this connection says of the channel is said of a grant. */
    stands(channel, of) {
        const grant = this.#channels.get(channel);
        return grant !== undefined && (grant.on === of || grant.before === of);
    }
    /** What a grant of the channel is judged by; whoever takes the channel over goes on with it. */
    sequence(channel) {
        return this.#channels.get(channel)?.sequence;
    }
    /** Takes a push about a channel that is granted, or that the application has not subscribed to. */
    pushed(of, push) {
        if (push.subscribed !== undefined) {
            this.#granted(of, push.subscribed);
        }
        else if (push.unsubscribed !== undefined) {
            const { channel } = push.unsubscribed;
            if (this.#channels.get(channel)?.on === of)
                this.#withdraw(channel, SkywaveError.fromWire(push.unsubscribed));
        }
        else {
            this.#deliver(of, push);
        }
    }
    /** The application has the channel from here on, or wants it no more. False: it was not granted. */
    takeOver(channel) {
        return this.#withdraw(channel, undefined);
    }
    /** A connection has ended, and its grants with it. */
    ended(of) {
        this.#early = this.#early.filter((kept) => kept.of !== of);
        for (const [channel, grant] of [...this.#channels]) {
            if (grant.on === of) {
                this.#withdraw(channel, undefined);
            }
            else if (grant.before === of) {
                grant.before = undefined;
                const { head, sequence } = grant;
                if (head === undefined || head.epoch !== sequence.position?.epoch)
                    continue;
                this.#leaveOut(channel, sequence, head.offset, head.epoch);
            }
        }
    }
    #granted(of, { channel, epoch, offset }) {
        const position = epoch === undefined || offset === undefined ? undefined : { epoch, offset };
        const grant = this.#channels.get(channel);
        if (grant === undefined) {
            this.#channels.set(channel, { sequence: new Sequence(position), on: of, before: undefined, head: position });
            this.#listener.granted({ channel, position });
        }
        else {
            this.#moved(channel, grant, of, position);
        }
        const its = this.#early.filter((kept) => kept.of === of && nameOf(kept.push) === channel);
        this.#early = this.#early.filter((kept) => !its.includes(kept));
        // A listener may have ended the grant meanwhile.
        for (const { push } of its)
            if (this.#channels.has(channel))
                this.#deliver(of, push);
    }
    /** The sequence stays where it is, so that what lies between the two connections is announced. */
    #moved(channel, grant, to, position) {
        if (grant.on !== to)
            grant.before = grant.on;
        grant.on = to;
        grant.head = position;
        const { sequence } = grant;
        if (position === undefined)
            return;
        if (sequence.position === undefined)
            sequence.start(position);
        else if (sequence.position.epoch !== position.epoch)
            this.#leaveOut(channel, sequence, position.offset, position.epoch);
    }
    #deliver(of, push) {
        const news = push.pub ?? push.gap;
        if (news === undefined)
            return;
        const grant = this.#channels.get(news.channel);
        if (grant === undefined || !this.stands(news.channel, of)) {
            this.#keep(of, push);
            return;
        }
        const { sequence } = grant;
        if (push.pub !== undefined && !push.pub.offset) {
            // Both connections carry it while the client moves: the newer one counts.
            if (of === grant.on)
                this.#tell(push.pub, undefined);
            return;
        }
        // Which epoch counts is for the newer connection to say.
        if (of === grant.before && news.epoch !== undefined && news.epoch !== sequence.position?.epoch)
            return;
        if (push.pub !== undefined)
            this.#publication(grant, push.pub, push.pub.offset);
        else if (push.gap !== undefined)
            this.#gap(grant, push.gap);
    }
    #publication(grant, pub, offset) {
        const { sequence } = grant;
        const epoch = pub.epoch ?? sequence.position?.epoch;
        if (epoch === undefined)
            return;
        // Granted as ephemeral: this is the first that has a place.
        if (sequence.position === undefined)
            sequence.start({ epoch, offset: offset - 1 });
        const verdict = sequence.take(offset, epoch);
        if (verdict === 'duplicate')
            return;
        if (verdict === 'hole') {
            this.#leaveOut(pub.channel, sequence, offset - 1, epoch);
            if (this.#channels.get(pub.channel) !== grant)
                return;
            sequence.take(offset, epoch);
        }
        this.#tell(pub, sequence.position);
    }
    #gap(grant, { channel, epoch, from, to, reason }) {
        const { sequence } = grant;
        // A hole before it is another one.
        if (sequence.position?.epoch === epoch)
            this.#leaveOut(channel, sequence, from - 1, epoch);
        if (this.#channels.get(channel) !== grant)
            return;
        // After a failover the channel goes on where the log was cut.
        const failover = reason === 'failover';
        const skipped = failover ? sequence.resume(from, to, { epoch, offset: from - 1 }) : sequence.skip(from, to, epoch);
        if (skipped !== undefined)
            this.#listener.gap({ channel, ...skipped, epoch, reason });
    }
    /** Goes on after `to`, and announces what of it was not seen. In another epoch that is all that came before. */
    #leaveOut(channel, sequence, to, epoch) {
        const reason = sequence.position?.epoch === epoch ? 'unavailable' : 'epoch';
        const skipped = sequence.skip(1, to, epoch);
        if (skipped !== undefined)
            this.#listener.gap({ channel, ...skipped, epoch, reason });
    }
    #tell(pub, position) {
        const { channel, id, from, time } = pub;
        this.#listener.publication({ channel, position, id, from, time, data: decodeData(pub), recovered: false });
    }
    /** What has a position finds its place later; anything else may be lost. */
    #keep(of, push) {
        if (push.pub !== undefined && !push.pub.offset)
            return;
        if (this.#early.length >= EARLY_PUSHES)
            this.#early.shift();
        this.#early.push({ of, push });
    }
    #withdraw(channel, error) {
        this.#early = this.#early.filter(({ push }) => nameOf(push) !== channel);
        if (!this.#channels.delete(channel))
            return false;
        this.#listener.withdrawn(error === undefined ? { channel } : { channel, error });
        return true;
    }
}
function nameOf(push) {
    return (push.pub ?? push.gap)?.channel;
}
