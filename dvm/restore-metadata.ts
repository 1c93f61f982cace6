/**
 * Sets what an entry has beside its content. The owner comes before the mode and the attributes, because
 * changing it clears setuid bits and capabilities; the mode comes last, because it may lock this process out.
 */

import { fchmodSync, fchownSync } from 'node:fs';
import { escapeText } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError, systemCode } from '../shared/errors.ts';
import type { Attribute, Entry } from './entry.ts';
import { chmodAt, chownAt, isLibcError, setAttributeAt, setFlags, utimesAt } from './libc.ts';
import type { Report } from './restore-report.ts';

/** After these nothing can be restored properly: the job ends. */
const FATAL = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'ENOMEM', 'EMFILE', 'ENFILE', 'EBADF']);

/** Of the two attributes that hold POSIX access control lists (acl(5)). */
const ACL_PREFIX = 'system.posix_acl_';

/** Setuid and setgid: not for a file that got another owner than it should have. */
const SET_ID = 0o6000;

/**
 * Runs `operation` on `path`. What the system refuses is noted, and false answered; a failure that the next
 * entry would meet as well throws `io`.
 */
export function attempt(report: Report, path: ByteString, what: string, operation: () => void): boolean {
  try {
    operation();
    return true;
  } catch (error) {
    refused(report, path, what, error);
    return false;
  }
}

/** Notes that `path` could not be restored because of `error`, or throws `io`: see {@link attempt}. */
export function refused(report: Report, path: ByteString, what: string, error: unknown): void {
  const code = systemCode(error);
  if (code === undefined || (!isLibcError(error) && !(error instanceof Error && 'syscall' in error)))
    throw error;
  if (FATAL.has(code)) {
    const advice = code === 'ENOSPC' || code === 'EDQUOT' ? ': make room or take a larger volume' : '';
    throw new BackupError('io', `${what} of ${escapeText(path).slice(0, 400)} failed (${code})${advice}`, {
      cause: error,
    });
  }
  report.note('not-restored', path, `${what} failed (${code})`);
}

/**
 * Owner, attributes, time and mode of the open file or directory `descriptor`, which is `name` below `directory`, and
 * its chattr flags where `flags` asks for them: last, because an immutable file takes nothing else.
 */
export function setOpenMetadata(
  report: Report,
  entry: Entry,
  descriptor: number,
  directory: number,
  name: ByteString,
  flags: boolean,
): void {
  const owned = setOwner(report, entry, () => fchownSync(descriptor, entry.uid ?? -1, entry.gid ?? -1));
  setAttributes(report, entry, directory, name);
  setTime(report, entry, directory, name);
  attempt(report, entry.path, 'setting the mode', () => fchmodSync(descriptor, modeFor(entry, owned)));
  if (flags && entry.flags !== 0)
    attempt(report, entry.path, 'setting its flags', () => setFlags(descriptor, entry.flags));
}

/** The same of a FIFO or device node. */
export function setNodeMetadata(report: Report, entry: Entry, directory: number, name: ByteString): void {
  const owned = setOwner(report, entry, () => chownAt(directory, name, entry.uid, entry.gid));
  setAttributes(report, entry, directory, name);
  attempt(report, entry.path, 'setting the mode', () => chmodAt(directory, name, modeFor(entry, owned)));
  setTime(report, entry, directory, name);
}

/** The same of a symlink, which has no mode. */
export function setLinkMetadata(report: Report, entry: Entry, directory: number, name: ByteString): void {
  setOwner(report, entry, () => chownAt(directory, name, entry.uid, entry.gid));
  setAttributes(report, entry, directory, name);
  setTime(report, entry, directory, name);
}

function modeFor(entry: Entry, owned: boolean): number {
  return owned ? entry.mode : entry.mode & ~SET_ID;
}

function setOwner(report: Report, entry: Entry, set: () => void): boolean {
  const { uid, gid } = entry;
  if (uid === undefined && gid === undefined) return true; // Not known when it was backed up, and noted then.
  return attempt(report, entry.path, `setting owner ${uid ?? 'unknown'}:${gid ?? 'unknown'}`, set);
}

/** Access control lists come last: like a mode, one may deny the owner the writing that other attributes need. */
function setAttributes(report: Report, entry: Entry, directory: number, name: ByteString): void {
  const isAcl = ({ name: key }: Attribute) => key.startsWith(ACL_PREFIX);
  for (const attribute of [...entry.attributes].sort((a, b) => Number(isAcl(a)) - Number(isAcl(b)))) {
    const what = `setting attribute ${escapeText(attribute.name)}`;
    attempt(report, entry.path, what, () => setAttributeAt(directory, name, attribute.name, attribute.value));
  }
}

function setTime(report: Report, entry: Entry, directory: number, name: ByteString): void {
  attempt(report, entry.path, 'setting the modification time', () => utimesAt(directory, name, entry.mtime));
}
