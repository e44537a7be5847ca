// Runs the TypeScript compiler into an empty folder, so that a deleted source leaves no output behind.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const packageRoot = dirname(dirname(fileURLToPath(import.meta.url)));

/** Compiles `config` into `outDir` (both relative to the package); ends the process when there are errors. */
export function compile(config, outDir) {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  rmSync(join(packageRoot, outDir), { recursive: true, force: true });
  const run = spawnSync(process.execPath, [tsc, '-p', config, '--outDir', outDir], { cwd: packageRoot, stdio: 'inherit' });
  if (run.status !== 0) process.exit(run.status ?? 1);
}
