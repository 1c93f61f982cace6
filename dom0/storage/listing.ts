/**
 * What a storage VM claims to hold: 12 bytes an object, so that a store of millions, or one that lies about millions, fits
 * dom0. Names are kept by their first 8 bytes: that two objects share them is as likely as not at four billion.
 */

import { readU32 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_LISTED, MAX_OBJECT } from '../../shared/limits.ts';
import { LIST_ROW, MIN_OBJECT } from '../../shared/protocol/storage.ts';
import type { Storage } from './storage.ts';

/** Objects in one block of memory. */
const BLOCK = 2 ** 16;
/** Numbers kept of an object: two halves of its name's first 8 bytes, and its size. */
const FIELDS = 3;

export class Listing {
  readonly #blocks: Uint32Array[] = [];
  #count = 0;
  #bytes = 0;

  /** All that `storage` lists. Throws `limit` if that is more than dom0 can hold, and as its listPages() does. */
  static async of(storage: Pick<Storage, 'name' | 'listPages'>): Promise<Listing> {
    const listing = new Listing();
    for await (const page of storage.listPages()) {
      if (listing.size + page.length / LIST_ROW > MAX_LISTED)
        throw new BackupError(
          'limit',
          `${storage.name} lists more than ${MAX_LISTED} objects, which is more than dom0 can hold: is it the right storage VM?`,
        );
      listing.#add(page);
    }
    return listing;
  }

  /** Number of objects. */
  get size(): number {
    return this.#count;
  }

  /** Bytes of all objects, as the storage VM claims. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The size in bytes that the storage VM claims of `id`; undefined if it does not list it. */
  sizeOf(id: ObjectId): number | undefined {
    const high = parseInt(id.slice(0, 8), 16);
    const low = parseInt(id.slice(8, 16), 16);
    let [from, to] = [0, this.#count];
    while (from < to) {
      const middle = Math.floor((from + to) / 2);
      const order = this.#field(middle, 0) - high || this.#field(middle, 1) - low;
      if (order === 0) return this.#field(middle, 2);
      if (order < 0) from = middle + 1;
      else to = middle;
    }
    return undefined;
  }

  /** What is wrong with what is listed of `id`, for people; undefined if it may be there. */
  problemOf(id: ObjectId): string | undefined {
    const size = this.sizeOf(id);
    if (size === undefined) return 'is missing';
    if (size < MIN_OBJECT || size > MAX_OBJECT) return 'has an impossible size';
    return undefined;
  }

  #add(page: Uint8Array): void {
    for (let at = 0; at < page.length; at += LIST_ROW) {
      const index = this.#count % BLOCK;
      if (index === 0) this.#blocks.push(new Uint32Array(FIELDS * BLOCK));
      const block = this.#blocks.at(-1);
      block?.set([readU32(page, at), readU32(page, at + 4), readU32(page, at + 32)], FIELDS * index);
      this.#bytes += readU32(page, at + 32);
      this.#count += 1;
    }
  }

  #field(index: number, field: number): number {
    return this.#blocks[Math.floor(index / BLOCK)]?.[FIELDS * (index % BLOCK) + field] ?? 0;
  }
}
