/**
 * `npm run prepare`, which `npm ci` runs: makes of a checkout what starts fast. Its program is bundled as packages have it
 * (bin/qubes-backup takes it while no source has changed since), and compiled code of all services is kept. Each is started once with
 * nothing on its stdin, which ends it before it has done anything.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPILE_CACHE, bundledCompileCache, compileCache } from '../dom0/domains/local/compile-cache.ts';
import { DOM0_NODE_OPTIONS, NODE_OPTIONS } from '../shared/node-options.ts';
import type { ServiceRole } from '../shared/node-options.ts';

const PROJECT = join(import.meta.dirname, '..');
/** Where bin/qubes-backup looks for it. */
const BUNDLED = join(PROJECT, 'node_modules/.cache/qubes-backup-program');
/** Milliseconds. */
const TIMEOUT = 60_000;

mkdirSync(join(PROJECT, COMPILE_CACHE), { recursive: true });
const home = mkdtempSync(join(tmpdir(), 'qubes-backup-prepare-'));
try {
  startServices(PROJECT, '.ts', () => COMPILE_CACHE);
  // Without it the sources run themselves: what bundles is no dependency of the program.
  if (existsSync(join(PROJECT, 'node_modules/esbuild'))) await bundleProgram();
} finally {
  rmSync(home, { recursive: true });
}

/** In one step at the end: a command that starts meanwhile has all of the old one or all of the new one. */
async function bundleProgram(): Promise<void> {
  const { checkoutTree } = await import('./contents.ts');
  const { layOut } = await import('./tree.ts');
  const made = `${BUNDLED}.${process.pid}`;
  try {
    // Older than any change of a source while it is made: a file's time may lag behind the clock by some milliseconds.
    const seconds = Date.now() / 1000 - 0.02;
    mkdirSync(made, { recursive: true });
    await layOut(await checkoutTree(), made, seconds);
    for (const role of Object.keys(NODE_OPTIONS) as ServiceRole[])
      mkdirSync(join(made, bundledCompileCache(role)), { recursive: true });
    startServices(made, '.mjs', bundledCompileCache);
    start([...DOM0_NODE_OPTIONS, join(made, 'dom0/main.mjs'), '--help'], {
      NODE_COMPILE_CACHE: join(made, 'compiled'),
    });
    rmSync(BUNDLED, { recursive: true, force: true });
    renameSync(made, BUNDLED);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

function startServices(program: string, suffix: string, cacheOf: (role: ServiceRole) => string): void {
  for (const [role, options] of Object.entries(NODE_OPTIONS) as [ServiceRole, readonly string[]][]) {
    const folder = join(program, 'services', role);
    const environment = compileCache(program, program, cacheOf(role));
    for (const service of readdirSync(folder).filter(
      (name) => name.startsWith('qubes.') && name.endsWith(suffix),
    ))
      start([...options, join(folder, service)], environment);
  }
}

function start(args: readonly string[], environment: Readonly<Record<string, string>>): void {
  spawnSync(process.execPath, args, {
    stdio: 'ignore',
    cwd: home,
    env: { HOME: home, PATH: '/usr/bin:/bin', ...environment },
    timeout: TIMEOUT,
  });
}
