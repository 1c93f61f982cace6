/**
 * `npm run prepare`, which `npm ci` runs: keeps the compiled code of every service beside the packages. Each is started once with
 * nothing on its stdin, which ends it before it has done anything.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { COMPILE_CACHE, compileCache } from '../dom0/domains/local/compile-cache.ts';
import { NODE_OPTIONS } from '../shared/node-options.ts';

const PROJECT = resolve(import.meta.dirname, '..');
/** Milliseconds. */
const TIMEOUT = 60_000;

mkdirSync(join(PROJECT, COMPILE_CACHE), { recursive: true });
const home = mkdtempSync(join(tmpdir(), 'qubes-backup-prepare-'));
try {
  for (const [role, options] of Object.entries(NODE_OPTIONS)) {
    const folder = join(PROJECT, 'services', role);
    for (const service of readdirSync(folder).filter((name) => name.endsWith('.ts')))
      spawnSync(process.execPath, [...options, join(folder, service)], {
        stdio: 'ignore',
        cwd: home,
        env: { HOME: home, PATH: '/usr/bin:/bin', ...compileCache(PROJECT, PROJECT) },
        timeout: TIMEOUT,
      });
  }
} finally {
  rmSync(home, { recursive: true });
}
