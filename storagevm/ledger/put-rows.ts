/**
 * Rows of what was put lately, as they are on disk: millions may have to be gone through at once, and an object for each would
 * take ten times the memory.
 *
 *     name (32) · store-age in seconds (u32) · bytes that it added to the store, 0 if none, or not yet (u32)
 */

import { readU32 } from '../../shared/bytes.ts';
import { objectIdFromBytes } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';

export interface PutRow {
  readonly id: ObjectId;
  /** Store-age in seconds. */
  readonly at: number;
  readonly size: number;
}

export const ROW = 40;
/** First bytes of names: what makes the shard. */
const FIRST_BYTES = 256;

export class PutRows implements Iterable<PutRow> {
  readonly count: number;
  readonly #bytes: Uint8Array;

  /** Whole rows of `bytes`; what is less than one at its end is left out. */
  constructor(bytes: Uint8Array) {
    this.count = Math.floor(bytes.length / ROW);
    this.#bytes = bytes.subarray(0, this.count * ROW);
  }

  /** All of them by shard (two hexadecimal digits), each with its rows in the order they had. */
  static byShard(all: readonly PutRows[]): (readonly [shard: string, rows: PutRows])[] {
    const counts = new Uint32Array(FIRST_BYTES);
    for (const rows of all) rows.#eachFirst((first) => (counts[first] = (counts[first] ?? 0) + 1));
    const shards = [...counts].map((count) => new Uint8Array(count * ROW));
    const ends = new Uint32Array(FIRST_BYTES);
    for (const rows of all)
      rows.#eachFirst((first, row) => {
        shards[first]?.set(row, ends[first]);
        ends[first] = (ends[first] ?? 0) + ROW;
      });
    return shards.map((bytes, first) => [first.toString(16).padStart(2, '0'), new PutRows(bytes)]);
  }

  #eachFirst(action: (first: number, row: Uint8Array) => void): void {
    for (let at = 0; at < this.#bytes.length; at += ROW)
      action(this.#bytes[at] ?? 0, this.#bytes.subarray(at, at + ROW));
  }

  *[Symbol.iterator](): Generator<PutRow> {
    for (let at = 0; at < this.#bytes.length; at += ROW)
      yield {
        id: objectIdFromBytes(this.#bytes.subarray(at, at + 32)),
        at: readU32(this.#bytes, at + 32),
        size: readU32(this.#bytes, at + 36),
      };
  }
}
