/** What a person holds to open a repository: a passphrase, a key file or a paper key. Read from files or a terminal, never argv (R10). */

import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { hex, utf8 } from '../../shared/bytes.ts';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { MAX_PASSPHRASE } from '../../shared/limits.ts';
import type { KeySlot } from '../../shared/root.ts';
import { parsePaperWords } from '../words.ts';

export interface Secret {
  readonly kind: KeySlot['kind'];
  /** NFC-normalised UTF-8 of a passphrase, else 32 random bytes. */
  readonly bytes: Uint8Array;
  /** Where it is from, if nobody presented it in this run: `the key file /etc/… of the configuration`. */
  readonly source?: string;
}

/** What people call each kind. */
export const SECRET_NAMES: Readonly<Record<Secret['kind'], string>> = {
  passphrase: 'passphrase',
  keyFile: 'key file',
  paper: 'paper key',
};

const KEY_FILE = /^qubes-backup-key-1:([0-9a-f]{64})$/;
/** Room for a passphrase in any encoding, for a key file's one line, and for the words of a paper key. */
export const MAX_SECRET_FILE = 4 * MAX_PASSPHRASE;

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
  return passphraseOf(oneLine(textOf(readSmallFile(file), file)));
}

/** The passphrase that a program printed, and wipes `bytes`; one trailing newline is not part of it. Throws `usage`. */
export function printedPassphrase(bytes: Uint8Array, program: string): Secret {
  return passphraseOf(oneLine(textOf(bytes, `the output of ${program}`)));
}

function oneLine(text: string): string {
  return text.replace(/\r?\n$/, '');
}

/** The paper key of 24 words as a person wrote them. Throws `usage` if they are not. */
export function paperOf(text: string): Secret {
  return { kind: 'paper', bytes: parsePaperWords(text) };
}

/** Reads a paper key from a file or descriptor: 24 words, in lines or not, with numbers or not. */
export function readPaperFile(file: string): Secret {
  return paperOf(textOf(readSmallFile(file), file));
}

/** A fresh paper key. */
export function createPaper(): Secret {
  return { kind: 'paper', bytes: randomBytes(32) };
}

/** Another copy of `secret`: whoever takes one zeroes it. */
export function copySecret(secret: Secret): Secret {
  return { ...secret, bytes: new Uint8Array(secret.bytes) };
}

/** Wipes `bytes`. */
function textOf(bytes: Uint8Array, from: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new BackupError('usage', `the secret in ${from} is not UTF-8 text`, { cause });
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
  createSecretFile(file, `qubes-backup-key-1:${hex(bytes)}\n`);
  return { kind: 'keyFile', bytes };
}

/** Writes `text` to a new file that only its owner can read, durably. Throws `usage` if it exists or cannot be made. */
export function createSecretFile(file: string, text: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', 0o600);
  } catch (cause) {
    throw new BackupError('usage', `cannot create ${file}: ${messageOf(cause)}`, { cause });
  }
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readSmallFile(file: string): Uint8Array {
  const buffer = Buffer.alloc(MAX_SECRET_FILE + 1);
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (cause) {
    throw new BackupError('usage', `cannot read ${file}: ${messageOf(cause)}`, { cause });
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
