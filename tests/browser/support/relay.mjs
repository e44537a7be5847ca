// A real `skywave dev` process on a port and a data folder of its own, which can be killed and started again.

import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const BINARY = resolve(process.env.SKYWAVE_BIN ?? join(import.meta.dirname, '../../../target/debug/skywave'));
/** Without settings for the relay: it reads (and checks) every variable of that prefix. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SKYWAVE_')));
const READY_MS = 60_000;
const FIRST_PORT = 10_000;
const PORTS = 2_000;
let portsTaken = 0;

export class Relay {
  #folder;
  #port;
  #process;
  #said = '';
  /** What to finish while the relay still runs, first come first. */
  #guests = [];
  #secret = randomBytes(32).toString('hex');

  /** Starts a relay that ends with the test; `config` is added to its configuration. */
  static async start(t, config = '') {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: build it with \`cargo build\`, or name it in SKYWAVE_BIN`);
    const relay = new Relay();
    relay.#folder = await mkdtemp(join(tmpdir(), 'skywave-browser-'));
    relay.#port = await freePort();
    const keys = `[auth]\nanonymous = true\n\n[[auth.keys]]\nalgorithm = "HS256"\nsecret = "${relay.#secret}"\n\n${config}`;
    await writeFile(join(relay.#folder, 'skywave.toml'), keys);
    t.after(async () => {
      for (const leave of relay.#guests) await leave();
      await relay.kill();
      await rm(relay.#folder, { recursive: true, force: true });
    });
    await relay.restart();
    return relay;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** `leave` is called at the end of the test, before the relay ends. */
  host(leave) {
    this.#guests.push(leave);
  }

  /** Starts it (again): same port, same data. */
  async restart() {
    const data = join(this.#folder, 'data');
    const child = spawn(
      BINARY,
      ['dev', '--config', join(this.#folder, 'skywave.toml'), '--listen', `127.0.0.1:${this.#port}`, '--data', data],
      { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT },
    );
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (this.#said = (this.#said + text).slice(-20_000)));
    const until = Date.now() + READY_MS;
    while (!(await this.#ready())) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`the relay did not become ready:\n${this.#said}`);
      await delay(20);
    }
  }

  /** Publishes lines to a channel with the command line. */
  async publishLines(channel, lines) {
    const child = spawn(BINARY, ['pub', channel, '--quiet', '--url', this.url], { stdio: ['pipe', 'ignore', 'inherit'], env: ENVIRONMENT });
    child.stdin.end(lines.map((line) => `${line}\n`).join(''));
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`skywave pub ended with ${code}`);
  }

  /** Ends it as a crash would. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Ends it as an operator does: its clients are asked to move, and have a while to do so. */
  async stop() {
    await this.#end('SIGTERM');
    if (this.#process.exitCode !== 0) throw new Error(`the relay ended badly (${this.#process.exitCode}):\n${this.#said}`);
  }

  async #end(signal) {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  /** A token for `user` that lives for an hour. */
  token(user) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
    return `${body}.${createHmac('sha256', this.#secret).update(body).digest('base64url')}`;
  }

  /** Publishes from outside any browser. */
  async publish(channel, data) {
    const response = await fetch(`${this.url}/v1/publish`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ channel, data }),
    });
    if (!response.ok) throw new Error(`publish: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async #ready() {
    try {
      return (await fetch(`${this.url}/health/ready`)).ok;
    } catch {
      return false;
    }
  }
}

/**
 * A port that is free for TCP and UDP, and stays so while the relay is away: below those that outgoing connections are given, of
 * which a client that tries again and again would sooner or later take this one.
 */
async function freePort() {
  for (let tried = 0; tried < PORTS; tried++) {
    const port = FIRST_PORT + ((process.pid * 97 + portsTaken++) % PORTS);
    if ((await isFree(createServer().listen(port, '127.0.0.1'))) && (await isFree(createSocket('udp4').bind(port, '127.0.0.1')))) return port;
  }
  throw new Error('no port that is free for TCP and UDP alike');
}

async function isFree(socket) {
  try {
    await once(socket, 'listening');
  } catch {
    return false;
  }
  socket.close();
  await once(socket, 'close');
  return true;
}
