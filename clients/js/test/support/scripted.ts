/** A server that a test plays by hand: every transport the client opens becomes a `Link` to read from and to answer on. */

import assert from 'node:assert/strict';

import { Skywave, type SkywaveOptions } from '../../src/index.js';
import type { OpenTransport, TransportEvents, TransportName, TransportTable } from '../../src/transports/transport.js';
import { VirtualEnvironment } from './virtual.js';

export type Json = Record<string, any>;

export class Link {
  /** Everything the client sent, message by message. */
  readonly sent: Json[] = [];
  /** How it was sent: one entry a frame. */
  readonly frames: string[] = [];
  readonly datagrams: Json[] = [];
  closed: { code: number; reason: string } | undefined;
  #seen = 0;

  constructor(
    readonly transport: TransportName,
    readonly base: string,
    readonly events: TransportEvents,
  ) {}

  /** Sends messages, as one batch. */
  say(...messages: Json[]): void {
    this.events.received(messages.map((message) => JSON.stringify(message)).join('\n'));
  }

  /** The next message of the client that carries `kind`; everything before it counts as read. */
  async expect(env: VirtualEnvironment, kind: string): Promise<Json> {
    await env.settle();
    const at = this.sent.findIndex((message, index) => index >= this.#seen && kind in message);
    assert.notEqual(at, -1, `no ${kind} among ${JSON.stringify(this.sent.slice(this.#seen))}`);
    this.#seen = at + 1;
    return this.sent[at] as Json;
  }

  /** Messages of this kind that came so far. */
  all(kind: string): Json[] {
    return this.sent.filter((message) => kind in message);
  }

  /** Answers the next message of this kind. */
  async answer(env: VirtualEnvironment, kind: string, reply: Json): Promise<Json> {
    const message = await this.expect(env, kind);
    this.say({ id: message.id, ...reply });
    await env.settle();
    return message;
  }

  async greet(env: VirtualEnvironment, connected: Json = {}): Promise<Json> {
    this.events.opened();
    return this.answer(env, 'connect', {
      connected: {
        client: `c-${this.transport}`, region: 'here', node: 'n1', ping_seconds: 25, pong_timeout_seconds: 10, message_bytes: 65_536, ...connected,
      },
    });
  }

  lose(code = 1006, reason = ''): void {
    this.events.closed({ code, reason });
  }
}

export class ScriptedServer {
  readonly env = new VirtualEnvironment();
  readonly links: Link[] = [];

  /** The transports it takes; datagrams exist on WebTransport. */
  table(...names: TransportName[]): TransportTable {
    const open = (name: TransportName): OpenTransport => (base, events) => {
      const link = new Link(name, base, events);
      this.links.push(link);
      const read = (text: string) => text.split('\n').map((line) => JSON.parse(line) as Json);
      return {
        name,
        backlog: 0,
        send: (text) => {
          assert.equal(link.closed, undefined, 'nothing is sent after close');
          link.frames.push(text);
          link.sent.push(...read(text));
        },
        ...(name === 'webtransport' ? { sendUnreliable: (text: string) => link.datagrams.push(...read(text)) > 0 } : {}),
        close: (code, reason) => {
          link.closed = { code, reason };
        },
      };
    };
    return Object.fromEntries(names.map((name) => [name, open(name)]));
  }

  client(options: SkywaveOptions = {}, ...names: TransportName[]): Skywave {
    const openers = this.table(...(names.length > 0 ? names : (['websocket'] as const)));
    return new Skywave({ url: 'https://relay.test', environment: this.env, openers, ...options });
  }

  /** The newest link. */
  async link(count?: number): Promise<Link> {
    await this.env.settle();
    if (count !== undefined) assert.equal(this.links.length, count, 'attempts so far');
    return this.links.at(-1) as Link;
  }

  /** A client that is connected over its first link. */
  async connected(options: SkywaveOptions = {}, ...names: TransportName[]): Promise<{ client: Skywave; link: Link }> {
    const client = this.client(options, ...names);
    const link = await this.link();
    await link.greet(this.env);
    assert.equal(client.state, 'connected');
    return { client, link };
  }
}

/** Records everything an emitter says under the given names. */
export function record<Names extends string>(
  emitter: { on(name: any, listener: (event: any) => void): unknown },
  ...names: Names[]
): { name: Names; event: any }[] {
  const log: { name: Names; event: any }[] = [];
  for (const name of names) emitter.on(name, (event) => log.push({ name, event }));
  return log;
}

export const pub = (channel: string, offset: number, extra: Json = {}): Json => ({
  pub: { channel, offset, id: `m${offset}`, data: offset, time: 1_700_000_000_000 + offset, ...extra },
});
