// The messages on the screen: delivered ones in the order of their offsets, this tab's unacknowledged ones below them.

import { byId, make } from './dom.js';

/** Lines kept on the screen; older ones are removed. */
const LINES = 500;
/** Closer to the end than this, the log follows new messages, in px. */
const FOLLOW_PX = 80;

export class MessageLog {
  #lines = byId('log');
  #pendingLines = byId('log-pending');
  #scroll = byId('log-scroll');
  #empty = byId('log-empty');
  #pending = new Map();

  clear() {
    this.#lines.replaceChildren();
    this.#pendingLines.replaceChildren();
    this.#pending.clear();
    this.#empty.hidden = true;
  }

  /** Shows the hint that nothing is there, if so. */
  settled() {
    this.#showEmpty();
  }

  /** A delivered message. `message`: {offset, id, author, own, text, time, recovered}. */
  add(message) {
    this.#keepPlace(() => {
      if (message.id !== undefined) this.#dropPending(message.id);
      const line = entry(message.offset === undefined ? '' : String(message.offset), message);
      line.querySelector('.entry-time').textContent = clock(message.time);
      if (message.offset !== undefined) line.dataset.offset = message.offset;
      if (message.id !== undefined) line.dataset.id = message.id;
      if (message.recovered) line.classList.add('entry-recovered');
      this.#place(line);
      while (this.#lines.childElementCount > LINES) this.#lines.firstElementChild.remove();
    });
  }

  /** A line of the relay's own: `kind` is `exact`, `gap` or `info`. */
  note(kind, text) {
    this.#keepPlace(() => {
      const line = make('li', `notice notice-${kind}`);
      line.textContent = text;
      this.#lines.append(line);
    });
  }

  /** A message of this tab that the relay has not acknowledged. */
  addPending(message) {
    this.#keepPlace(() => {
      const line = entry('', { ...message, own: true });
      line.classList.add('entry-pending');
      line.dataset.id = message.id;
      line.querySelector('.entry-time').textContent = 'sending';
      this.#pending.set(message.id, line);
      this.#pendingLines.append(line);
    });
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** The relay has it; its delivery will put it in its place. */
  acknowledged(id, offset) {
    const line = this.#pending.get(id);
    if (line === undefined) return;
    line.querySelector('.entry-time').textContent = 'sent';
    if (offset !== undefined) line.querySelector('.entry-offset').textContent = String(offset);
  }

  failed(id, reason, retry) {
    const line = this.#pending.get(id);
    if (line === undefined) return;
    line.classList.add('entry-failed');
    const again = make('button', 'entry-retry', 'Try again');
    again.type = 'button';
    again.addEventListener('click', () => {
      this.#dropPending(id);
      retry();
    });
    line.querySelector('.entry-time').replaceChildren(reason, again);
  }

  /** Whether this tab's message still waits for its place. */
  isPending(id) {
    return this.#pending.has(id);
  }

  #dropPending(id) {
    this.#pending.get(id)?.remove();
    this.#pending.delete(id);
  }

  /** At the end; or further up, for a message that was acknowledged but lay in an announced gap. */
  #place(line) {
    const offset = Number(line.dataset.offset);
    let before = null;
    let last = this.#lines.lastElementChild;
    while (last !== null && Number(last.dataset.offset) > offset) {
      before = last;
      last = last.previousElementSibling;
    }
    this.#lines.insertBefore(line, before);
  }

  /** Follows the end when the reader is there, and leaves the reader alone when not. */
  #keepPlace(change) {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    const follow = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
    change();
    this.#showEmpty();
    if (follow) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #showEmpty() {
    this.#empty.hidden = this.#lines.childElementCount + this.#pendingLines.childElementCount > 0;
  }
}

function entry(offset, { author, own, text }) {
  const name = make('span', 'entry-author');
  name.textContent = author;
  const body = make('span', 'entry-body', name);
  const words = make('span', 'entry-text');
  words.textContent = text;
  body.append(words);
  const number = make('span', 'entry-offset');
  number.textContent = offset;
  return make('li', own ? 'entry entry-own' : 'entry', number, body, make('span', 'entry-time'));
}

function clock(time) {
  return time === undefined ? '' : new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}
