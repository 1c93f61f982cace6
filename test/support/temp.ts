/** Temporary folders that are gone after the test, whatever modes and owners were left in them. */

import { chmodSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A new folder below the system's temporary one; the caller calls {@link removeTree}. */
export function makeTemp(prefix = 'qib-test-'): string {
  return mkdtempSync(join(tmpdir(), prefix));
}

/** A new folder that is removed when the running test finishes. */
export function tempFolder(): string {
  const folder = makeTemp();
  onTestFinished(() => removeTree(folder));
  return folder;
}

/** Removes `path` and all below it, folders without any permission included. */
export function removeTree(path: string): void {
  openFolders(Buffer.from(path));
  rmSync(path, { recursive: true, force: true });
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
