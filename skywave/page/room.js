// One room on one client: its history, its subscription, and what is said when the subscription resumes or has a gap.

import { count } from './dom.js';

const HISTORY = 50;

/** How each reason of a gap reads. */
const REASONS = {
  retention: 'older than the relay keeps',
  epoch: 'the log was started anew',
  failover: 'cut off by a failover',
  unavailable: 'the history could not be read',
};

/**
 * `sink` takes what happens: history(publication), message(publication), position(position), interrupted outcome via note(kind, text),
 * members(list), joined(member), left(member), ready(), refused(error).
 */
export class Room {
  #client;
  #sink;
  #subscription;
  #closed = false;

  constructor(client, channel, position, sink) {
    this.channel = channel;
    this.#client = client;
    this.#sink = sink;
    void this.#enter(position);
  }

  /** Where this tab stands in the channel. */
  get position() {
    return this.#subscription?.position;
  }

  close() {
    this.#closed = true;
    this.#subscription?.unsubscribe();
  }

  /** History first, then everything after it: no hole and no message twice between the two. */
  async #enter(position) {
    let start = position;
    if (start === undefined) {
      try {
        const page = await this.#client.history(this.channel, { limit: HISTORY, reverse: true });
        if (this.#closed) return;
        for (const publication of [...page.publications].reverse()) this.#sink.history(publication);
        start = { epoch: page.epoch, offset: page.head };
      } catch {
        // No history here (an ephemeral channel), or none to be had now: begin with what comes.
      }
    }
    if (!this.#closed) this.#subscribe(start, true);
  }

  #subscribe(start, presence) {
    const subscription = this.#client.subscribe(this.channel, { recover: start, presence });
    this.#subscription = subscription;
    let first = true;
    subscription.on('publication', (publication) => this.#sink.message(publication));
    subscription.on('position', (position) => this.#sink.position(position));
    subscription.on('join', (member) => this.#sink.joined(member));
    subscription.on('leave', (member) => this.#sink.left(member));
    subscription.on('recovered', (outcome) => {
      // The step from history to the subscription is no interruption.
      if (!first) this.#sink.note('exact', recoveredText(outcome));
      first = false;
    });
    subscription.on('gap', (gap) => {
      first = false;
      this.#sink.note('gap', gapText(gap));
    });
    subscription.on('subscribed', ({ position }) => {
      if (position === undefined) first = false;
      else this.#sink.position(subscription.position ?? position);
      this.#sink.ready();
      if (presence) void this.#members(subscription);
    });
    subscription.on('unsubscribed', ({ error }) => {
      if (error === undefined || this.#closed) return;
      // Not every namespace has presence; the room works without.
      if (presence && error.code === 'not_available') this.#subscribe(start, false);
      else this.#sink.refused(error);
    });
  }

  async #members(subscription) {
    try {
      const members = await subscription.presence();
      if (!this.#closed) this.#sink.members(members);
    } catch {
      // The next join or reconnect brings the list up to date.
    }
  }
}

function recoveredText({ from, count: missed }) {
  if (missed === 0) return `recovered exactly: nothing was missed after offset ${from.offset}`;
  return `recovered exactly: ${count(missed, 'message')} after offset ${from.offset}`;
}

function gapText({ from, to, reason }) {
  const why = REASONS[reason] ?? reason;
  if (to < from) return `gap: nothing of what came before can be had (${why})`;
  return from === to ? `gap: message ${from} cannot be had (${why})` : `gap: messages ${from} to ${to} cannot be had (${why})`;
}
