/** Where the lab keeps what it made, under a name that says of what: nothing in it is ever changed. */

import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';

/** Milliseconds after which what nobody used is removed. */
const KEPT = 7 * 24 * 3600_000;

/** QIB_LAB_CACHE, or a folder among the user's caches. */
const CACHE =
  process.env['QIB_LAB_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'qubes-backup-lab');

/** The folder of that name; if it is not there, `make` fills it. */
export function made(name: string, make: (folder: string) => void): string {
  const folder = join(CACHE, name);
  mkdirSync(CACHE, { recursive: true });
  if (statSync(folder, { throwIfNoEntry: false }) === undefined) {
    const unfinished = mkdtempSync(join(CACHE, 'unfinished-'));
    try {
      make(unfinished);
      renameSync(unfinished, folder);
    } catch (error) {
      rmSync(unfinished, { recursive: true, force: true });
      // Another run may have been faster.
      if (!['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) throw error;
    }
  }
  utimesSync(folder, new Date(), new Date());
  for (const other of readdirSync(CACHE))
    if (Date.now() - statSync(join(CACHE, other)).mtimeMs > KEPT)
      rmSync(join(CACHE, other), { recursive: true, force: true });
  return folder;
}
