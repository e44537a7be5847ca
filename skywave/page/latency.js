// Delivery latency: samples, their summary, and the burst that makes some. A sample is the time from `publish` to the
// delivery in this tab; for others' messages the time since the relay recorded them, where both clocks are the same one.

import { byId, setText } from './dom.js';

const KEPT = 600;
const PINGS = 20;
const PING_SPACING_MS = 40;
const BURST_TIMEOUT_MS = 5_000;
const DURABLE = 'chat:page-latency';
const EPHEMERAL = 'live:page-latency';

const SAME_CLOCK = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);

export class Latency {
  #plot;
  #samples = [];
  #sentAt = new Map();
  #burst = '';

  constructor(plot) {
    this.#plot = plot;
  }

  /** A message of this tab leaves now. */
  sent(id) {
    this.#sentAt.set(id, performance.now());
    if (this.#sentAt.size > KEPT) this.#sentAt.delete(this.#sentAt.keys().next().value);
  }

  delivered({ id, time, recovered }) {
    const sentAt = this.#sentAt.get(id);
    if (sentAt !== undefined) {
      this.#sentAt.delete(id);
      this.#add('own', performance.now() - sentAt);
    } else if (SAME_CLOCK && !recovered && time !== undefined) {
      this.#add('others', Math.max(0, Date.now() - time));
    }
  }

  /** Some publications in a durable and an ephemeral channel of their own, each timed on its way through the relay. */
  async burst(client) {
    const run = client.newId();
    const rounds = { [DURABLE]: [], [EPHEMERAL]: [] };
    const sentAt = new Map();
    const channels = [client.subscribe(DURABLE), client.subscribe(EPHEMERAL)];
    try {
      await Promise.race([Promise.all(channels.map(subscribed)), expire()]);
      const all = new Promise((resolve) => {
        for (const channel of channels) {
          channel.on('publication', ({ data }) => {
            const key = `${channel.channel} ${data?.ping}`;
            if (data?.run !== run || !sentAt.has(key)) return;
            const ms = performance.now() - sentAt.get(key);
            sentAt.delete(key);
            rounds[channel.channel].push(ms);
            this.#add(channel.channel === EPHEMERAL ? 'ephemeral' : 'own', ms);
            if (rounds[DURABLE].length + rounds[EPHEMERAL].length === 2 * PINGS) resolve();
          });
        }
      });
      for (let ping = 0; ping < PINGS; ping++) {
        for (const channel of channels) sentAt.set(`${channel.channel} ${ping}`, performance.now());
        channels[0].publish({ run, ping }, { timeoutMs: BURST_TIMEOUT_MS }).catch(() => {});
        channels[1].publishEphemeral({ run, ping });
        await new Promise((resolve) => setTimeout(resolve, PING_SPACING_MS));
      }
      await Promise.race([all, expire()]);
    } finally {
      for (const channel of channels) channel.unsubscribe();
    }
    this.#burst = `burst: durable ${ms(quantile(rounds[DURABLE], 0.5))}, ephemeral ${ms(quantile(rounds[EPHEMERAL], 0.5))}`;
    this.#summarize();
  }

  #add(kind, ms) {
    this.#samples.push(ms);
    if (this.#samples.length > KEPT) this.#samples.shift();
    this.#plot.add(kind, ms);
    this.#summarize();
  }

  #summarize() {
    const median = quantile(this.#samples, 0.5);
    if (median === undefined) return;
    const parts = [`p50 ${ms(median)}`, `p95 ${ms(quantile(this.#samples, 0.95))}`, `${this.#samples.length} deliveries`];
    setText(byId('latency-summary'), [parts.join(', '), this.#burst].filter(Boolean).join('; '));
  }
}

function subscribed(channel) {
  return new Promise((resolve) => {
    if (channel.state === 'subscribed') resolve();
    else channel.once('subscribed', resolve);
  });
}

function expire() {
  return new Promise((resolve) => setTimeout(resolve, BURST_TIMEOUT_MS));
}

function quantile(samples, share) {
  if (samples.length === 0) return undefined;
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

function ms(value) {
  if (value === undefined) return 'none arrived';
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
