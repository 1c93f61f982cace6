/** dom0's own files: 0600 in 0700 folders, whatever the umask, replaced atomically and durably. */

import {
  chmodSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';

/** Creates `folder` and its parents, private to their owner. */
export function makePrivateFolder(folder: string): void {
  try {
    if (makeFolders(folder)) chmodSync(folder, 0o700); // The umask took away from what was asked for.
  } catch (cause) {
    throw new BackupError(
      'io',
      `cannot create the folder ${folder}: ${adviceOn(cause)} (${messageOf(cause)})`,
      { cause },
    );
  }
}

/** False if `folder` is there. Not by Node's own way to make parents, which on a disk that cannot be written says that nothing is there. */
function makeFolders(folder: string): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    const code = systemCode(error);
    // Some file systems say that they cannot be written before they say that something is there.
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return false;
    if (code !== 'ENOENT' || dirname(folder) === folder) throw error;
  }
  makeFolders(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
  return true;
}

/** Replaces `file`, which is dom0's alone unless `mode` says otherwise, so that after a crash at any instant it holds the old or the new bytes. */
export function replaceFile(
  file: string,
  bytes: Uint8Array,
  { durably = true, mode = 0o600 }: { readonly durably?: boolean; readonly mode?: number } = {},
): void {
  const temporary = `${file}.${process.pid}.tmp`;
  let isMade = false;
  try {
    rmSync(temporary, { force: true }); // A dead run's, of whatever mode.
    const descriptor = openSync(temporary, 'wx', mode);
    isMade = true;
    try {
      fchmodSync(descriptor, mode);
      for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
      if (durably) fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
    if (durably) syncFolder(dirname(file));
  } catch (cause) {
    if (isMade) rmSync(temporary, { force: true });
    throw new BackupError('io', `cannot write ${file}: ${adviceOn(cause)} (${messageOf(cause)})`, { cause });
  }
}

/** What to do where a file or a folder cannot be made. */
function adviceOn(cause: unknown): string {
  return ADVICE.get(systemCode(cause)) ?? 'try again';
}

/** By the system's error. */
const ADVICE: ReadonlyMap<string | undefined, string> = new Map([
  ['ENOENT', 'create its folder first, or name a file elsewhere'],
  ['ENOTDIR', 'what it should be in is no folder: name a file elsewhere'],
  ['EISDIR', 'a folder has that name: name a file in it'],
  ['ENAMETOOLONG', 'its name is too long: use a shorter one'],
  ['EACCES', 'you may not: name a file elsewhere, or run as who may'],
  ['EPERM', 'you may not: name a file elsewhere, or run as who may'],
  ['EROFS', 'nothing can be written there: name a file elsewhere'],
  ['ENOSPC', 'make room there'],
  ['EDQUOT', 'make room there'],
]);

/** What {@link replaceFile} names a file after until it is whole: the process that writes it. */
const TEMPORARY = /\.(\d+)\.tmp$/;

/** Removes what {@link replaceFile} left below `folder` when its process died. Whoever writes there now is a process that lives. */
export function removeAbandoned(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) removeAbandoned(path);
    const [, pid] = TEMPORARY.exec(entry.name) ?? [];
    if (pid !== undefined && entry.isFile() && isGone(Number(pid))) rmSync(path, { force: true });
  }
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH'; // Else it is another user's.
  }
}

/** Removes `file`, durably, if it is there. */
export function removeFile(file: string): void {
  rmSync(file, { force: true });
  syncFolder(dirname(file));
}

/** The bytes of `file`, or undefined if there is none. */
export function readFileIfAny(file: string): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    throw new BackupError('io', `cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
