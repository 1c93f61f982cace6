/** Temporary folders that are gone after the test, whatever modes and owners were left in them. */

import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** Where tests have their files: those in process in memory, if there is room (vitest.config.ts), all others where the system has its own. */
const place = (): string => process.env['TEST_TEMP'] ?? tmpdir();

/** A new folder below `where`; the caller calls {@link removeTree}. */
export function makeTemp(prefix = 'qib-test-', where = place()): string {
  return mkdtempSync(join(where, prefix));
}

/** A new folder below `where` that is removed when the running test finishes. */
export function tempFolder(where = place()): string {
  const folder = makeTemp(undefined, where);
  onTestFinished(() => removeTree(folder));
  return folder;
}

/** For what not every file system keeps, or what is tested is the disk's. */
export const diskFolder = (): string => tempFolder(tmpdir());

/** Removes `path` and all below it: folders without any permission, immutable files, paths of any length. */
export function removeTree(path: string): void {
  try {
    openFolders(Buffer.from(path));
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENAMETOOLONG' && code !== 'EPERM') throw error;
    removeByTools(path);
  }
}

/** They go down step by step, where Node needs the whole path. */
function removeByTools(path: string): void {
  const plain = ['(', '-type', 'd', '-o', '-type', 'f', ')'];
  spawnSync('find', [path, ...plain, '-execdir', 'chattr', '-f', '-ia', '--', '{}', '+'], {
    stdio: 'ignore',
  });
  spawnSync('chmod', ['-R', 'u+rwX', '--', path], { stdio: 'ignore' });
  const removed = spawnSync('rm', ['-rf', '--', path], { encoding: 'utf8' });
  if (removed.status !== 0) throw new Error(`cannot remove ${path}: ${removed.stderr.slice(0, 500)}`);
}

/** Gives the owner every permission on the folders below `path`. Names may be any bytes. */
function openFolders(path: Buffer): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) return;
  if ((found.mode & 0o700) !== 0o700) chmodSync(path, 0o700);
  for (const entry of readdirSync(path, { withFileTypes: true, encoding: 'buffer' })) {
    if (entry.isDirectory()) openFolders(Buffer.concat([path, Buffer.from('/'), entry.name]));
  }
}
