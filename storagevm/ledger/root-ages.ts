/**
 * When each root was published: 8 bytes at the place of its number, written before the root is, so that no list ever counts as
 * later than it is.
 *
 *     store-age in seconds + 1, or 0 if unknown (u32) · 1 if the root has a live list (u32)
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { readU32 } from '../../shared/bytes.ts';
import { syncFolder, unless } from '../files.ts';

export interface RootAge {
  /** Store-age in seconds. */
  readonly at: number;
  readonly hasList: boolean;
}

const ROW = 8;
/** Roots looked at in one read. */
const ROWS_AT_ONCE = 8192;

export class RootAges {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** Durable when it resolves. Only under the lock. */
  async record(number: number, { at, hasList }: RootAge): Promise<void> {
    const row = Buffer.alloc(ROW);
    row.writeUInt32BE(at + 1, 0);
    row.writeUInt32BE(hasList ? 1 : 0, 4);
    const handle = await open(this.#file, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      await handle.write(row, 0, ROW, number * ROW);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncFolder(dirname(this.#file)); // The first row makes the file.
  }

  /** What is known of the root of this number. */
  async read(number: number): Promise<RootAge | undefined> {
    return (await this.#rows(number, 1))[0];
  }

  /** The newest root up to `number` that is known to have a live list. */
  async newestWithList(number: number): Promise<number | undefined> {
    for (let end = number + 1; end > 0; end -= ROWS_AT_ONCE) {
      const from = Math.max(0, end - ROWS_AT_ONCE);
      const found = (await this.#rows(from, end - from)).findLastIndex((age) => age?.hasList === true);
      if (found >= 0) return from + found;
    }
    return undefined;
  }

  async #rows(from: number, count: number): Promise<(RootAge | undefined)[]> {
    const handle = await unless('ENOENT', open(this.#file, 'r'));
    if (handle === undefined) return [];
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(count * ROW), 0, count * ROW, from * ROW);
      return Array.from({ length: Math.floor(bytesRead / ROW) }, (_, index) => {
        const at = readU32(buffer, index * ROW);
        return at === 0 ? undefined : { at: at - 1, hasList: readU32(buffer, index * ROW + 4) === 1 };
      });
    } finally {
      await handle.close();
    }
  }
}
