// The connection in words: the pill in the masthead and the facts of the panel.

import { byId, setText } from './dom.js';

const TRANSPORTS = { webtransport: 'WebTransport', websocket: 'WebSocket', sse: 'SSE' };

export class Status {
  #countdown;

  /** `change` as the client's `state` event tells it; `info` when connected. */
  show({ state, retryInMs, cause }, info) {
    clearInterval(this.#countdown);
    byId('status').dataset.state = state;
    setText(byId('status-transport'), state === 'connected' ? `over ${TRANSPORTS[info.transport]}` : '');
    if (state === 'connected') {
      setText(byId('status-text'), 'connected');
      this.#facts(info);
    } else if (state === 'connecting') {
      this.#count(retryInMs);
    } else {
      setText(byId('status-text'), cause?.reason ? `disconnected: ${cause.reason}` : 'disconnected');
    }
  }

  position({ epoch, offset }) {
    setText(byId('position-offset'), offset.toLocaleString('en'));
    setText(byId('position-epoch'), epoch);
  }

  /** `outcome`: `none`, `exact` or `gap`. */
  recovery(outcome, text) {
    const line = byId('recovery');
    line.dataset.outcome = outcome;
    setText(line, text.charAt(0).toUpperCase() + text.slice(1));
  }

  reset() {
    setText(byId('position-offset'), '–');
    setText(byId('position-epoch'), '–');
    this.recovery('none', 'No interruption so far.');
  }

  #count(ms) {
    if (ms === undefined) {
      setText(byId('status-text'), 'connecting');
      return;
    }
    const until = performance.now() + ms;
    const tell = () => {
      const seconds = Math.ceil((until - performance.now()) / 1_000);
      setText(byId('status-text'), seconds > 0 ? `connecting again in ${seconds} s` : 'connecting');
    };
    tell();
    this.#countdown = setInterval(tell, 250);
  }

  #facts({ node, region, client, user }) {
    const facts = { node, region, client, user: user ?? 'anonymous' };
    for (const [name, value] of Object.entries(facts)) {
      const line = byId(`fact-${name}`);
      setText(line, value);
      line.title = value;
    }
  }
}
