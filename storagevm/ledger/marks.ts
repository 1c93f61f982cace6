/**
 * What the ledger knows of objects, a file a shard: rows sorted by name. An object without a row is alive, and was put longer
 * ago than matters.
 *
 *     name (32) · put: store-age in seconds + 1, or 0 (u32) · dead since: the same (u32)
 *
 * After the last row comes the SHA-256 of all: one bit that is wrong could make a living object one that is long dead. A file
 * without it has no more rows than were written, and is taken as it is.
 */

import { hash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { concat, equalBytes, readU32 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { idBytes, objectIdFromBytes } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { makeFolder, readWhole, replaceFile, syncFolder } from '../files.ts';
import { damagedLedger } from './json.ts';

export interface Mark {
  /** Store-age in seconds when it was last put; undefined: before what is kept track of. */
  readonly put: number | undefined;
  /** Store-age in seconds when a live list first left it out; undefined: it is alive. */
  readonly dead: number | undefined;
}

/** Rows of one shard. */
export type ShardMarks = Map<ObjectId, Mark>;

const ROW = 40;
const SUM = 32;
/** Largest file: a shard of a store of 300 million objects. */
const MAX_FILE = 48 * 1024 * 1024;

export class Marks {
  readonly #folder: string;
  #changed = false;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async read(shard: string): Promise<ShardMarks> {
    const file = join(this.#folder, shard);
    const bytes = (await readWhole(file, MAX_FILE)) ?? new Uint8Array();
    const rest = bytes.length % ROW;
    const end = bytes.length - rest;
    const isWhole =
      rest === 0 || (rest === SUM && equalBytes(sumOf(bytes.subarray(0, end)), bytes.subarray(end)));
    if (!isWhole) throw new BackupError('store-damaged', damagedLedger(dirname(file)));
    const marks: ShardMarks = new Map();
    for (let at = 0; at < end; at += ROW) {
      const id = objectIdFromBytes(bytes.subarray(at, at + 32));
      marks.set(id, { put: ageOf(readU32(bytes, at + 32)), dead: ageOf(readU32(bytes, at + 36)) });
      if (!id.startsWith(shard)) throw new BackupError('store-damaged', damagedLedger(dirname(file)));
    }
    return marks;
  }

  /** Replaces the rows of a shard, if they are others; durable after {@link sync}. Rows that say nothing are left out. */
  async write(shard: string, marks: ShardMarks): Promise<void> {
    const file = join(this.#folder, shard);
    const bytes = encode(marks);
    const before = await readWhole(file, MAX_FILE);
    if (equalBytes(before ?? new Uint8Array(), bytes)) return;
    await makeFolder(this.#folder);
    await replaceFile(this.#folder, file, bytes);
    this.#changed = true;
  }

  /** Makes all that was written durable. */
  async sync(): Promise<void> {
    if (this.#changed) for (const folder of [this.#folder, dirname(this.#folder)]) await syncFolder(folder);
    this.#changed = false;
  }
}

function encode(marks: ShardMarks): Uint8Array {
  const rows = [...marks]
    .filter(([, { put, dead }]) => put !== undefined || dead !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  if (rows.length === 0) return new Uint8Array();
  const bytes = Buffer.alloc(rows.length * ROW);
  rows.forEach(([id, { put, dead }], index) => {
    bytes.set(idBytes(id), index * ROW);
    bytes.writeUInt32BE(numberOf(put), index * ROW + 32);
    bytes.writeUInt32BE(numberOf(dead), index * ROW + 36);
  });
  return concat([bytes, sumOf(bytes)]);
}

const sumOf = (bytes: Uint8Array) => hash('sha256', bytes, 'buffer');

/** The earliest store-age since which an object is dead, of `before` and those of a shard. */
export function oldest(before: number | null, marks: ShardMarks): number | null {
  let earliest = before;
  for (const { dead } of marks.values())
    if (dead !== undefined && dead < (earliest ?? Infinity)) earliest = dead;
  return earliest;
}

function ageOf(number: number): number | undefined {
  return number === 0 ? undefined : number - 1;
}

function numberOf(age: number | undefined): number {
  return age === undefined ? 0 : age + 1;
}
