/**
 * Channels a backend has put this client into. They last as long as the connection: the client does not ask for them
 * again after reconnecting, because only the backend knows whether it should be there.
 *
 * Bounded by what the server grants to one connection.
 */

import { SkywaveError } from './errors.js';
import { decodeData, type Position, type Push } from './protocol.js';
import type { Publication } from './subscription.js';

export interface Granted {
  readonly channel: string;
  /** Where the channel stood; `undefined` for an ephemeral one. */
  readonly position: Position | undefined;
}

export interface Withdrawn {
  readonly channel: string;
  /** Absent when the connection ended. */
  readonly error?: SkywaveError;
}

export interface GrantListener {
  granted(event: Granted): void;
  withdrawn(event: Withdrawn): void;
  publication(event: Publication): void;
}

export class Grants {
  readonly #listener: GrantListener;
  /** Epochs by channel. */
  readonly #channels = new Map<string, string | undefined>();

  constructor(listener: GrantListener) {
    this.#listener = listener;
  }

  /** Takes a push about a channel that the application has not subscribed to. */
  pushed(push: Push): void {
    if (push.subscribed !== undefined) {
      const { channel, epoch, offset } = push.subscribed;
      this.#channels.set(channel, epoch);
      const position = epoch === undefined || offset === undefined ? undefined : { epoch, offset };
      this.#listener.granted({ channel, position });
    } else if (push.unsubscribed !== undefined) {
      const { channel } = push.unsubscribed;
      const error = SkywaveError.fromWire(push.unsubscribed);
      if (this.#channels.delete(channel)) this.#listener.withdrawn({ channel, error });
    } else if (push.gap !== undefined) {
      if (this.#channels.has(push.gap.channel)) this.#channels.set(push.gap.channel, push.gap.epoch);
    } else if (push.pub !== undefined && this.#channels.has(push.pub.channel)) {
      this.#listener.publication(this.#publication(push.pub));
    }
  }

  /** The connection has ended, and all grants with it. */
  ended(): void {
    const channels = [...this.#channels.keys()];
    this.#channels.clear();
    for (const channel of channels) this.#listener.withdrawn({ channel });
  }

  #publication(pub: NonNullable<Push['pub']>): Publication {
    const { channel, id, from, time, offset } = pub;
    const epoch = pub.epoch ?? this.#channels.get(channel);
    if (pub.epoch !== undefined) this.#channels.set(channel, pub.epoch);
    const position = offset && epoch !== undefined ? { epoch, offset } : undefined;
    return { channel, position, id, from, time, data: decodeData(pub), recovered: false };
  }
}
