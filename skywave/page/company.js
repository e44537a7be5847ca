// Who is here and who is typing. Presence comes from the relay; names and typing are told by the tabs to each other in the
// room's `live:` channel, where nothing is kept.

import { byId, make, setText } from './dom.js';

/** A typing mark lives this long after the last sign of it, in ms. */
const TYPING_MS = 3_500;
/** While typing, the sign is renewed this often, in ms. */
const RENEW_MS = 1_500;
/** In larger company nobody answers a greeting: names then come with the first message. */
const GREETING_LIMIT = 50;

export class Company {
  #client;
  #live;
  #self = {};
  #name = '';
  /** Members by user, or by client when anonymous. */
  #members = new Map();
  #names = new Map();
  #typing = new Map();
  /** When it was last told that this tab types; `undefined`: it does not. */
  #typedAt;

  enter(client, channel, name) {
    this.leave();
    this.#client = client;
    this.#name = name;
    this.#live = client.subscribe(`live:${channel}`);
    this.#live.on('publication', ({ data, from }) => this.#heard(data, from));
    this.#live.on('subscribed', () => this.#say('hello'));
  }

  leave() {
    this.#live?.unsubscribe();
    this.#live = undefined;
    for (const { timer } of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
    this.#members.clear();
    this.#draw();
  }

  /** Who this tab is on its present connection. */
  connectedAs({ client, user }) {
    this.#self = { client, user };
    this.#names.set(key(this.#self), this.#name);
    this.#draw();
  }

  rename(name) {
    this.#name = name;
    this.#names.set(key(this.#self), name);
    this.#say('here');
    this.#draw();
  }

  set(members) {
    this.#members = new Map(members.map((member) => [key(member), member]));
    this.#draw();
  }

  joined(member) {
    this.#members.set(key(member), member);
    this.#draw();
  }

  left(member) {
    this.#members.delete(key(member));
    this.#stoppedTyping(key(member));
    this.#draw();
  }

  /** How to call the author of a publication. */
  authorOf({ from, data }) {
    const told = typeof data?.name === 'string' ? data.name.slice(0, 40).trim() : '';
    return told || from || 'someone';
  }

  /** A message ends its author's typing. */
  spoke({ from, data }) {
    const who = from ?? data?.client;
    if (typeof who !== 'string') return;
    if (typeof data?.name === 'string') this.#names.set(who, data.name.slice(0, 40));
    this.#stoppedTyping(who);
    this.#draw();
  }

  /** Tells the others, not with every key. */
  typing(active) {
    const now = performance.now();
    if (active && this.#typedAt !== undefined && now - this.#typedAt < RENEW_MS) return;
    if (!active && this.#typedAt === undefined) return;
    this.#typedAt = active ? now : undefined;
    this.#say(active ? 'typing' : 'idle');
  }

  #say(kind) {
    const { client, user } = this.#self;
    this.#live?.publishEphemeral({ kind, client, user, name: this.#name });
  }

  #heard(data, from) {
    if (typeof data !== 'object' || data === null || typeof data.client !== 'string') return;
    if (data.client === this.#client.info?.client) return;
    // A user is who the relay says, not who the message says.
    const who = from ?? data.client;
    if (typeof data.name === 'string' && data.name.trim() !== '') this.#names.set(who, data.name.slice(0, 40));
    if (data.kind === 'hello' && this.#members.size <= GREETING_LIMIT) setTimeout(() => this.#say('here'), Math.random() * 300);
    if (data.kind === 'typing') this.#startedTyping(who);
    if (data.kind === 'idle') this.#stoppedTyping(who);
    this.#draw();
  }

  #startedTyping(who) {
    clearTimeout(this.#typing.get(who)?.timer);
    const timer = setTimeout(() => {
      this.#typing.delete(who);
      this.#draw();
    }, TYPING_MS);
    this.#typing.set(who, { timer });
  }

  #stoppedTyping(who) {
    clearTimeout(this.#typing.get(who)?.timer);
    this.#typing.delete(who);
  }

  #nameOf(who, member) {
    return this.#names.get(who) ?? member?.user ?? `guest ${who.slice(-4)}`;
  }

  #draw() {
    const self = key(this.#self);
    const lines = [...this.#members].map(([who, member]) => {
      const name = this.#nameOf(who, member);
      const avatar = make('span', 'avatar');
      avatar.textContent = [...name][0]?.toUpperCase() ?? '?';
      avatar.style.setProperty('--hue', String(hue(who)));
      avatar.setAttribute('aria-hidden', 'true');
      const label = make('span', 'roster-name');
      label.textContent = name;
      const note = make('span', 'roster-note');
      note.textContent = this.#typing.has(who) ? 'typing' : who === self ? 'you' : '';
      const line = make('li', '', avatar, label, note);
      line.dataset.member = who;
      return line;
    });
    byId('roster').replaceChildren(...lines);
    setText(byId('roster-count'), lines.length > 0 ? String(lines.length) : '');
    setText(byId('typing'), typingText([...this.#typing.keys()].map((who) => this.#nameOf(who, this.#members.get(who)))));
  }
}

function key({ user, client }) {
  return user ?? client ?? '';
}

function typingText(names) {
  if (names.length === 0) return '';
  if (names.length === 1) return `${names[0]} is typing …`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing …`;
  return `${names.length} people are typing …`;
}

/** FNV-1a, so that ids that differ in their last character only are told apart. */
function hue(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return Math.floor(((hash * 0x9e3779b1) % 2 ** 32) / 2 ** 32 * 360);
}
