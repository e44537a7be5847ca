/**
 * Channels a backend has put this client into. They last as long as the connection: the client does not ask for them
 * again after reconnecting, because only the backend knows whether it should be there.
 *
 * Bounded by what the server grants to one connection.
 */
import { SkywaveError } from './errors.js';
import { decodeData } from './protocol.js';
export class Grants {
    #listener;
    /** Epochs by channel. */
    #channels = new Map();
    constructor(listener) {
        this.#listener = listener;
    }
    /** Takes a push about a channel that the application has not subscribed to. */
    pushed(push) {
        if (push.subscribed !== undefined) {
            const { channel, epoch, offset } = push.subscribed;
            this.#channels.set(channel, epoch);
            const position = epoch === undefined || offset === undefined ? undefined : { epoch, offset };
            this.#listener.granted({ channel, position });
        }
        else if (push.unsubscribed !== undefined) {
            const { channel } = push.unsubscribed;
            const error = SkywaveError.fromWire(push.unsubscribed);
            if (this.#channels.delete(channel))
                this.#listener.withdrawn({ channel, error });
        }
        else if (push.gap !== undefined) {
            if (this.#channels.has(push.gap.channel))
                this.#channels.set(push.gap.channel, push.gap.epoch);
        }
        else if (push.pub !== undefined && this.#channels.has(push.pub.channel)) {
            this.#listener.publication(this.#publication(push.pub));
        }
    }
    /** The connection has ended, and all grants with it. */
    ended() {
        const channels = [...this.#channels.keys()];
        this.#channels.clear();
        for (const channel of channels)
            this.#listener.withdrawn({ channel });
    }
    #publication(pub) {
        const { channel, id, from, time, offset } = pub;
        const epoch = pub.epoch ?? this.#channels.get(channel);
        if (pub.epoch !== undefined)
            this.#channels.set(channel, pub.epoch);
        const position = offset && epoch !== undefined ? { epoch, offset } : undefined;
        return { channel, position, id, from, time, data: decodeData(pub), recovered: false };
    }
}
