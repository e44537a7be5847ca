// Three regions of real processes on ports and in a folder of their own, as `cargo xtask cluster` makes them; killed and brought
// back by the same commands that a person would use.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';

const SKYWAVE = resolve(process.env.SKYWAVE_BIN ?? join(import.meta.dirname, '../../../target/debug/skywave'));
/** Built together with it. */
const COMMAND = join(dirname(SKYWAVE), 'skywave-cluster');
const execute = promisify(execFile);

export class Cluster {
  #folder;
  #guests = [];
  #regions;

  /** Starts a cluster that ends with the test. */
  static async up(t) {
    for (const program of [SKYWAVE, COMMAND]) if (!existsSync(program)) throw new Error(`${program} is missing: build it with \`cargo build --workspace\``);
    const cluster = new Cluster();
    cluster.#folder = await mkdtemp(join(tmpdir(), 'skywave-regions-'));
    // Postgres may run as another user, who must get to its data.
    await chmod(cluster.#folder, 0o755);
    t.after(async () => {
      for (const leave of cluster.#guests) await leave();
      if (!t.passed) await cluster.#tell();
      await cluster.#call('down');
      await rm(cluster.#folder, { recursive: true, force: true });
    });
    await cluster.#call('up', '--port', '0', '--binary', SKYWAVE);
    cluster.#regions = JSON.parse(await readFile(join(cluster.#folder, 'cluster.json'), 'utf8')).regions;
    return cluster;
  }

  /** The first edge of a region, to open the page at. */
  edge(region) {
    return { name: this.#regions[region].edges[0].name, url: this.#regions[region].edges[0].http, host: (leave) => this.#guests.push(leave) };
  }

  /** `kill -9` of a process. */
  async kill(name) {
    await this.#call('kill', name);
  }

  /** Brings it back; resolves when it is ready. */
  async restart(name) {
    await this.#call('restart', name);
  }

  async #call(...words) {
    try {
      return (await execute(COMMAND, ['--folder', this.#folder, ...words])).stdout;
    } catch (error) {
      throw new Error(`cluster ${words.join(' ')}: ${error.stderr || error}`);
    }
  }

  /** For somebody who has nothing but the log of the run. */
  async #tell() {
    try {
      console.error(await this.#call('status'));
      for (const region of Object.values(this.#regions ?? {})) {
        for (const { name } of [...region.edges, ...region.core]) console.error(`--- ${name}\n${await this.#call('logs', name, '-n', '20')}`);
      }
    } catch (error) {
      console.error(String(error));
    }
  }
}
