// Fails when the committed `dist` is not what the sources compile to: the server embeds `dist`, and must never serve an older client.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compile, packageRoot } from './compile.mjs';

function contents(folder) {
  const root = join(packageRoot, folder);
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(files.map((file) => {
    const path = join(file.parentPath ?? file.path, file.name);
    return [path.slice(root.length + 1), readFileSync(path, 'utf8')];
  }));
}

compile('tsconfig.json', '.build/dist');
const fresh = contents('.build/dist');
const committed = contents('dist');
const stale = [...new Set([...fresh.keys(), ...committed.keys()])].filter((path) => fresh.get(path) !== committed.get(path));
if (stale.length > 0) {
  console.error(`dist is stale; run \`npm run build\` and commit it:\n  ${stale.sort().join('\n  ')}`);
  process.exit(1);
}
console.log(`dist is current (${fresh.size} files)`);
