import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Skywave, type WebSocketLike } from '../src/index.js';
import { openWebSocket } from '../src/transports/websocket.js';

class FakeSocket implements WebSocketLike {
  static readonly opened: FakeSocket[] = [];
  bufferedAmount = 0;
  onopen: any = null;
  onmessage: any = null;
  onclose: any = null;
  onerror: any = null;
  readonly sent: string[] = [];
  closedWith: unknown[] | undefined;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.opened.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(...args: unknown[]): void {
    this.closedWith = args;
  }
}

function open() {
  const log: unknown[] = [];
  const transport = openWebSocket(FakeSocket)('https://relay.test/base', {
    opened: () => log.push('opened'),
    received: (text) => log.push(text),
    closed: (end) => log.push(end),
  });
  return { transport, log, socket: FakeSocket.opened.at(-1) as FakeSocket };
}

test('speaks the JSON subprotocol on the path of the reference', () => {
  const { socket, log, transport } = open();
  assert.equal(socket.url, 'wss://relay.test/base/v1/ws');
  assert.deepEqual(socket.protocols, ['skywave.json.v1']);
  socket.onopen();
  socket.onmessage({ data: '{}\n{}' });
  socket.onmessage({ data: new ArrayBuffer(2) });
  transport.send('x');
  socket.onclose({ code: 4001, reason: 'client too slow' });
  assert.deepEqual(log, ['opened', '{}\n{}', { code: 4001, reason: 'client too slow' }]);
  assert.deepEqual(socket.sent, ['x']);
});

test('an error without a close is an end too, and one with it is one end', async () => {
  const silent = open();
  silent.socket.onerror({});
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.deepEqual(silent.log, [{ code: 1006, reason: 'the connection failed' }]);
  const usual = open();
  usual.socket.onerror({});
  usual.socket.onclose({ code: 1006, reason: '' });
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.deepEqual(usual.log, [{ code: 1006, reason: '' }]);
});

test('after close nothing comes, and codes a page may not send are replaced', () => {
  const { socket, log, transport } = open();
  transport.close(4002, 'why');
  assert.deepEqual(socket.closedWith, [4002, 'why']);
  assert.equal(socket.onclose, null);
  assert.deepEqual(log, []);
  const other = open();
  other.transport.close(1002, '');
  assert.deepEqual(other.socket.closedWith, [1000, '']);
});

test('an implementation can be given where there is none', () => {
  const before = FakeSocket.opened.length;
  const client = new Skywave({ url: 'http://relay.test', transports: ['websocket'], WebSocket: FakeSocket });
  return new Promise<void>((resolve) => {
    setImmediate(() => {
      assert.equal(FakeSocket.opened.length, before + 1);
      client.close();
      resolve();
    });
  });
});

test('without any transport the constructor says so', () => {
  assert.throws(() => new Skywave({ url: 'http://relay.test', transports: ['webtransport'] }), /none of the transports/);
  assert.throws(() => new Skywave({ url: 'ftp://relay.test' }), /http/);
  assert.throws(() => new Skywave({}), /url is required/);
});
