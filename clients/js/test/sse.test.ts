import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';

import { Skywave } from '../src/index.js';
import type { Json } from './support/scripted.js';

const CONNECTED = { client: 'c1', region: 'here', node: 'n1', ping_seconds: 25, pong_timeout_seconds: 10, message_bytes: 65_536 };

/** A real HTTP server with one event stream at a time. */
class EventStreams {
  readonly posts: { session: string | undefined; message: Json }[] = [];
  stream: ServerResponse | undefined;
  sessions = 0;
  answer: (message: Json) => Json | undefined = () => undefined;
  refuse: ((response: ServerResponse) => boolean) | undefined;
  #server: Server;
  #waiting: (() => void)[] = [];

  constructor(t: TestContext) {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    t.after(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
  }

  listen(): Promise<string> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`));
    });
  }

  say(message: Json): void {
    this.stream?.write(`data: ${JSON.stringify(message)}\n\n`);
  }

  /** Waits for the next thing that happens until `condition` holds. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  changed(): void {
    for (const go of this.#waiting.splice(0)) go();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET') {
      if (this.refuse?.(response)) return;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      this.stream = response;
      // In two writes: an event may be cut anywhere.
      response.write(`event: session\ndata: {"session":"s${++this.sessions}",`);
      setImmediate(() => response.write('"client":"c1"}\n\n:\n\n'));
    } else {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      for (const line of body.split('\n')) {
        const message = JSON.parse(line) as Json;
        this.posts.push({ session: request.headers['skywave-session'] as string, message });
        const answer = 'connect' in message ? { connected: CONNECTED } : this.answer(message);
        if (answer !== undefined) this.say({ id: message['id'], ...answer });
      }
      response.writeHead(204).end();
    }
    this.changed();
  }
}

test('talks over an event stream and POSTs, in order', async (t) => {
  const server = new EventStreams(t);
  let offset = 0;
  server.answer = (message) => ('publish' in message ? { published: { epoch: 'a', offset: ++offset, duplicate: false } } : undefined);
  const client = new Skywave({ url: await server.listen(), transports: ['sse'] });
  t.after(() => client.close());
  const results = Array.from({ length: 20 }, (_, number) => client.publish('chat:1', number));
  assert.deepEqual((await Promise.all(results)).map(({ position }) => position?.offset), Array.from({ length: 20 }, (_, number) => number + 1));
  assert.equal(client.info?.transport, 'sse');
  assert.deepEqual(server.posts.map(({ message }) => message['publish']?.data).filter((data) => data !== undefined), Array.from({ length: 20 }, (_, number) => number));
  assert.deepEqual(new Set(server.posts.map(({ session }) => session)), new Set(['s1']));
});

test('recovers on a new stream when the old one breaks', async (t) => {
  const server = new EventStreams(t);
  server.answer = (message) => {
    const { subscribe } = message;
    if (subscribe === undefined) return undefined;
    return { subscribed: { channel: subscribe.channel, epoch: 'a', offset: 7, ...(subscribe.recover ? { recovery: 'exact' } : {}) } };
  };
  const client = new Skywave({ url: await server.listen(), transports: ['sse'], backoff: { base: 1 } });
  t.after(() => client.close());
  const channel = client.subscribe('chat:1');
  await new Promise((resolve) => channel.once('subscribed', resolve));
  const recovered = new Promise((resolve) => channel.once('recovered', resolve));
  server.stream?.destroy();
  assert.deepEqual(await recovered, { from: { epoch: 'a', offset: 7 }, to: { epoch: 'a', offset: 7 }, count: 0 });
  assert.equal(server.sessions, 2);
});

test('a refusal with a time is respected', async (t) => {
  const server = new EventStreams(t);
  let refusals = 0;
  server.refuse = (response) => {
    if (refusals++ > 0) return false;
    response.writeHead(503, { 'retry-after': '1' }).end();
    return true;
  };
  const client = new Skywave({ url: await server.listen(), transports: ['sse'], backoff: { base: 1 } });
  t.after(() => client.close());
  const change = await new Promise<Json>((resolve) => {
    client.on('state', (state) => state.retryInMs !== undefined && resolve(state));
  });
  assert.ok(change['retryInMs'] >= 1_000 && change['retryInMs'] <= 1_001, String(change['retryInMs']));
  assert.match(change['cause'].reason, /503/);
});

test('closing ends the stream', async (t) => {
  const server = new EventStreams(t);
  const client = new Skywave({ url: await server.listen(), transports: ['sse'] });
  await new Promise((resolve) => client.once('connected', resolve));
  const ended = new Promise((resolve) => server.stream?.once('close', resolve));
  client.close();
  await ended;
});
