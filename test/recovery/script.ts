/**
 * The recovery script as tests see it: run on a store, and its parts. It is plain JavaScript that shares no code with the
 * product, so its types are said here.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compareTrees } from '../support/checker.ts';
import { PROJECT, run } from '../support/processes.ts';
import { GNU_TAR, isSmallHole } from '../support/tar.ts';
import { tempFolder } from '../support/temp.ts';

export const SCRIPT = join(PROJECT, 'recovery', 'recover.mjs');

type Fetch = (number: number, kind: number) => Uint8Array;

interface Place {
  readonly kind: number;
  readonly repository: Buffer;
  readonly vm?: Buffer;
  readonly number?: number;
  readonly epoch?: number;
}

interface Parts {
  readonly Damage: typeof Error;
  readonly Refusal: typeof Error;
  blake2b(length: number, ...parts: readonly Uint8Array[]): Buffer;
  argon2id(
    password: Uint8Array,
    salt: Uint8Array,
    cost: { readonly memory: number; readonly passes: number; readonly lanes: number },
    key?: Uint8Array,
    data?: Uint8Array,
  ): Buffer;
  unseal(key: Uint8Array, sealed: Buffer, associated: Uint8Array): Buffer | undefined;
  openObject(sealed: Buffer, key: Uint8Array, place: Place): Buffer;
  decodeCbor(bytes: Buffer): unknown;
  decodeNumbers(bytes: Buffer): readonly (readonly [number, number])[];
  decodeRoot(bytes: Buffer): { readonly hash: Buffer; readonly counter: number };
  fingerprint(rootHash: Buffer): string;
  secretBytes(kind: 'passphrase' | 'paper' | 'keyFile', content: string): Buffer;
  readPack(blob: Buffer): {
    readonly segments: readonly {
      readonly codec: number;
      readonly start: number;
      readonly length: number;
      readonly stored: Buffer;
    }[];
    readonly size: number;
  };
  readTreeBlob(blob: Buffer): Buffer;
  readTop(raw: Buffer): {
    readonly entries: number;
    readonly bytes: number;
    readonly leaves: readonly { readonly path: string; readonly skip: number; readonly number: number }[];
  };
  writeTar(
    number: number,
    fetch: Fetch,
    write: (bytes: Buffer) => void,
    note: (line: string) => void,
  ): {
    readonly entries: number;
    readonly bytes: number;
    readonly lost: number;
    readonly owned: string;
    readonly unowned: string;
  };
}

export const parts = (await import(pathToFileURL(SCRIPT).href)) as Parts;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The oldest Node.js that the script promises to run on. What is in this process, runs on the newest. */
const OLDEST_NODE = join(PROJECT, 'node_modules', 'node-22', 'bin', 'node');

/** Runs the script to its end. */
export async function recover(...args: readonly string[]): Promise<Outcome> {
  const { code, stdout, stderr } = await run(OLDEST_NODE, [SCRIPT, ...args], { env: {} });
  return { code, stdout: stdout.toString('utf8'), stderr };
}

/** {@link recover}, which must end with `status`. */
export async function expectRecovery(status: number, ...args: readonly string[]): Promise<Outcome> {
  const result = await recover(...args);
  if (result.code === status) return result;
  throw new Error(
    `the script ended with ${result.code ?? 'a signal'} and not ${status}:\n${result.stdout}${result.stderr}`,
  );
}

/** A file that is gone after the test. */
export function secretFile(content: string): string {
  const file = join(tempFolder(), 'secret');
  writeFileSync(file, content);
  return file;
}

/** Unpacks `archive` with GNU tar into a new folder. */
export function unpack(archive: string): string {
  const folder = join(tempFolder(), 'unpacked');
  mkdirSync(folder);
  const [reader, ...all] = GNU_TAR;
  const options = all.filter((option) => option !== '--same-owner'); // Root has it anyway, nobody else can.
  execFileSync(reader, [...options, archive, '-C', folder], {
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return folder;
}

/** What differs between the folder `original` and what is in `archive`, but for holes that no tar keeps. */
export function differences(original: string, archive: string): string[] {
  return compareTrees(original, unpack(archive)).filter((line) => !isSmallHole(line, original));
}
