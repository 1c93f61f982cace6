/** What a person holds to open a repository: a passphrase or a key file. Read from files or a terminal, never argv (R10). */

import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { hex, utf8 } from '../../shared/bytes.ts';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';
import { MAX_PASSPHRASE } from '../../shared/limits.ts';

export type Secret =
  | { readonly kind: 'passphrase'; readonly bytes: Uint8Array }
  | { readonly kind: 'keyFile'; readonly bytes: Uint8Array };

const KEY_FILE = /^qubes-backup-key-1:([0-9a-f]{64})$/;
/** Room for a passphrase in any encoding, and for a key file's one line. */
const MAX_SECRET_FILE = 4 * MAX_PASSPHRASE;

/** A passphrase in the form that is hashed: NFC, UTF-8, 1 to 1,024 bytes. Throws `usage` otherwise. */
export function passphraseOf(text: string): Secret {
  const bytes = utf8(text.normalize('NFC'));
  if (bytes.length === 0) throw new BackupError('usage', 'the passphrase is empty');
  if (bytes.length > MAX_PASSPHRASE)
    throw new BackupError('usage', `the passphrase is longer than ${MAX_PASSPHRASE} bytes`);
  return { kind: 'passphrase', bytes };
}

/** Reads a passphrase from a file or descriptor (`/dev/fd/N`); one trailing newline is not part of it. */
export function readPassphraseFile(file: string): Secret {
  const bytes = readSmallFile(file);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return passphraseOf(text.replace(/\r?\n$/, ''));
  } catch (cause) {
    if (cause instanceof BackupError) throw cause;
    throw new BackupError('usage', `the passphrase in ${file} is not UTF-8 text`, { cause });
  } finally {
    bytes.fill(0);
  }
}

export function readKeyFile(file: string): Secret {
  const bytes = readSmallFile(file);
  const match = KEY_FILE.exec(Buffer.from(bytes).toString('latin1').replace(/\n$/, ''));
  bytes.fill(0);
  if (match?.[1] === undefined) {
    throw new BackupError(
      'usage',
      `${file} is not a key file of this program: it must be one line "qubes-backup-key-1:" and 64 hex digits`,
    );
  }
  return { kind: 'keyFile', bytes: Buffer.from(match[1], 'hex') };
}

/** Creates a key file with a fresh random key, readable by its owner only. Throws `usage` if it exists. */
export function createKeyFile(file: string): Secret {
  const bytes = randomBytes(32);
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', 0o600);
  } catch (cause) {
    throw new BackupError('usage', `cannot create the key file ${file}: ${messageOf(cause)}`, { cause });
  }
  try {
    writeSync(descriptor, `qubes-backup-key-1:${hex(bytes)}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  return { kind: 'keyFile', bytes };
}

function readSmallFile(file: string): Uint8Array {
  const buffer = Buffer.alloc(MAX_SECRET_FILE + 1);
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (cause) {
    throw new BackupError('usage', `cannot read ${file} (${systemCode(cause) ?? 'error'})`, { cause });
  }
  try {
    if (fstatSync(descriptor).isDirectory())
      throw new BackupError('usage', `${file} is a directory, not a file with a secret`);
    let length = 0;
    for (;;) {
      const count = readSync(descriptor, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
      if (length > MAX_SECRET_FILE) throw new BackupError('usage', `${file} is too long for a secret`);
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(descriptor);
  }
}
