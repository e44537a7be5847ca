import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openWebTransport } from '../src/transports/webtransport.js';
import type { Transport } from '../src/transports/transport.js';

const utf8 = new TextEncoder();

/** What a browser gives, with the server's ends of the streams in the test's hand. */
class FakeSession {
  static last: FakeSession;
  readonly ready = Promise.resolve();
  end!: (info: { closeCode: number; reason: string }) => void;
  fail!: (error: Error) => void;
  readonly closed = new Promise<{ closeCode: number; reason: string }>((resolve, reject) => {
    this.end = resolve;
    this.fail = reject;
  });
  readonly toServer = new TransformStream<Uint8Array, Uint8Array>();
  readonly toClient = new TransformStream<Uint8Array, Uint8Array>();
  readonly streams = new TransformStream<ReadableStream<Uint8Array>, ReadableStream<Uint8Array>>();
  readonly datagramsIn = new TransformStream<Uint8Array, Uint8Array>();
  readonly datagramsOut = new TransformStream<Uint8Array, Uint8Array>();
  readonly incomingUnidirectionalStreams = this.streams.readable;
  readonly datagrams = { readable: this.datagramsIn.readable, writable: this.datagramsOut.writable, maxDatagramSize: 50 };
  readonly closes: unknown[] = [];

  constructor(
    readonly url: string,
    readonly options: WebTransportOptions,
  ) {
    FakeSession.last = this;
  }

  async createBidirectionalStream() {
    return { readable: this.toClient.readable, writable: this.toServer.writable };
  }

  close(info: unknown): void {
    this.closes.push(info);
  }
}

/** Calls waiters whenever something was logged. */
class Log extends Array<unknown> {
  #go: (() => void) | undefined;
  override push(...items: unknown[]): number {
    const length = super.push(...items);
    this.#go?.();
    return length;
  }
  async reach(length: number): Promise<void> {
    while (this.length < length) await new Promise<void>((resolve) => (this.#go = resolve));
  }
}

async function open(): Promise<{ transport: Transport; log: Log; session: FakeSession }> {
  const log = new Log();
  const find = () => ({ url: 'https://relay.test:4433/v1/wt', certificateHashes: [Uint8Array.of(1, 2)] });
  const transport = openWebTransport(FakeSession as unknown as typeof WebTransport, find)('http://relay.test', {
    opened: () => log.push('opened'),
    received: (text) => log.push(text),
    closed: (end) => log.push(end),
  });
  await log.reach(1);
  return { transport, log, session: FakeSession.last };
}

test('opens where the server said, with its certificate', async () => {
  const { session, log } = await open();
  assert.equal(session.url, 'https://relay.test:4433/v1/wt');
  assert.deepEqual(session.options.serverCertificateHashes, [{ algorithm: 'sha-256', value: Uint8Array.of(1, 2) }]);
  assert.deepEqual([...log], ['opened']);
});

test('requests go on the control stream, line by line, and answers come back wherever they are cut', async () => {
  const { transport, log, session } = await open();
  transport.send('{"a":1}\n{"b":2}');
  const { value } = await session.toServer.readable.getReader().read();
  assert.equal(new TextDecoder().decode(value), '{"a":1}\n{"b":2}\n');
  const writer = session.toClient.writable.getWriter();
  const bytes = utf8.encode('{"é":1}\n{"second":2}\n{"thi');
  for (const cut of [bytes.slice(0, 3), bytes.slice(3, 12), bytes.slice(12)]) void writer.write(cut);
  void writer.write(utf8.encode('rd":3}\n'));
  await log.reach(4);
  assert.deepEqual(log.slice(1).join('\n'), '{"é":1}\n{"second":2}\n{"third":3}');
});

test('each channel has its stream, and the end of one ends nothing else', async () => {
  const { log, session } = await open();
  const streams = session.streams.writable.getWriter();
  const [one, two] = [new TransformStream<Uint8Array, Uint8Array>(), new TransformStream<Uint8Array, Uint8Array>()];
  void streams.write(one.readable);
  void streams.write(two.readable);
  const writers = [one.writable.getWriter(), two.writable.getWriter()] as const;
  void writers[0].write(utf8.encode('{"one"'));
  void writers[1].write(utf8.encode('{"two":1}\n'));
  await log.reach(2);
  void writers[0].write(utf8.encode(':1}\n'));
  await log.reach(3);
  void writers[0].abort(new Error('reset'));
  void writers[1].write(utf8.encode('{"two":2}\n'));
  await log.reach(4);
  assert.deepEqual([...log], ['opened', '{"two":1}', '{"one":1}', '{"two":2}']);
});

test('datagrams carry what fits, in both directions', async () => {
  const { transport, log, session } = await open();
  assert.equal(transport.sendUnreliable?.('{"small":1}'), true);
  assert.equal(transport.sendUnreliable?.(`{"large":"${'x'.repeat(50)}"}`), false);
  const { value } = await session.datagramsOut.readable.getReader().read();
  assert.equal(new TextDecoder().decode(value), '{"small":1}');
  void session.datagramsIn.writable.getWriter().write(utf8.encode('{"pub":{}}'));
  await log.reach(2);
  assert.equal(log[1], '{"pub":{}}');
});

test('the end of the session carries its code; a failure has none', async () => {
  const first = await open();
  first.session.end({ closeCode: 4000, reason: 'node is draining' });
  await first.log.reach(2);
  assert.deepEqual(first.log[1], { code: 4000, reason: 'node is draining' });
  const second = await open();
  second.session.fail(new Error('Connection lost.'));
  await second.log.reach(2);
  assert.deepEqual(second.log[1], { code: 1006, reason: 'Connection lost.' });
});

test('a server without WebTransport is a failed attempt, not an error', async () => {
  const log = new Log();
  openWebTransport(FakeSession as unknown as typeof WebTransport, () => Promise.reject(new Error('404')))('http://relay.test', {
    opened: () => log.push('opened'),
    received: () => {},
    closed: (end) => log.push(end),
  });
  await log.reach(1);
  assert.deepEqual([...log], [{ code: 1006, reason: '404' }]);
});

test('closing says so to the server, once', async () => {
  const { transport, log, session } = await open();
  transport.close(1000, 'bye');
  transport.close(1000, 'bye');
  session.end({ closeCode: 1000, reason: 'bye' });
  assert.deepEqual(session.closes, [{ closeCode: 1000, reason: 'bye' }]);
  assert.deepEqual([...log], ['opened']);
});
