// This tab's messages from the key press to their place in the log: shown as pending at once, sent until acknowledged,
// also when the transport is changed meanwhile; the same id all along, so that none counts twice.

export class Sender {
  #log;
  #latency;
  #author;
  #client;
  #channel;
  #waiting = new Map();

  /** `author` marks what this browser sends. */
  constructor(log, latency, author) {
    this.#log = log;
    this.#latency = latency;
    this.#author = author;
  }

  /** From now on over this client; what waits is sent again under its id. */
  use(client, channel) {
    if (channel !== this.#channel) this.#waiting.clear();
    this.#client = client;
    this.#channel = channel;
    for (const message of this.#waiting.values()) void this.#publish(message);
  }

  send(text, name) {
    const message = { id: this.#client.newId(), author: name, text };
    this.#waiting.set(message.id, message);
    this.#log.addPending(message);
    this.#latency.sent(message.id);
    void this.#publish(message);
  }

  async #publish(message) {
    const { id, author: name, text } = message;
    const client = this.#client;
    const channel = this.#channel;
    const data = { name, text, author: this.#author, client: client.info?.client };
    try {
      const { position } = await client.publish(channel, data, { id });
      if (channel !== this.#channel) return;
      this.#waiting.delete(id);
      this.#log.acknowledged(id, position?.offset);
    } catch (error) {
      // Another client has taken it over.
      if (client !== this.#client || channel !== this.#channel) return;
      this.#waiting.delete(id);
      this.#log.failed(id, reason(error), () => this.send(text, name));
    }
  }
}

function reason(error) {
  return error?.outcomeUnknown ? 'perhaps not sent' : `not sent (${error?.code ?? 'error'})`;
}
