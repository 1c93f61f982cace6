/**
 * What a storage VM claims to hold: 12 bytes an object, so that a store of millions, or one that lies about millions, fits
 * dom0. Names are kept by their first 8 bytes: that two objects share them is as likely as not at four billion.
 */

import { BackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_LISTED } from '../../shared/limits.ts';
import type { Storage } from './storage.ts';

export class Listing {
  #prefixes = new BigUint64Array(1024);
  #sizes = new Uint32Array(1024);
  #count = 0;

  /** All that `storage` lists. Throws `limit` if that is more than dom0 can hold, and as its list() does. */
  static async of(storage: Pick<Storage, 'vm' | 'list'>): Promise<Listing> {
    const listing = new Listing();
    for await (const { id, size } of storage.list()) {
      if (listing.size === MAX_LISTED)
        throw new BackupError(
          'limit',
          `${storage.vm} lists more than ${MAX_LISTED} objects, which is more than dom0 can hold: is it the right storage VM?`,
        );
      listing.#add(prefixOf(id), size);
    }
    return listing;
  }

  /** Number of objects. */
  get size(): number {
    return this.#count;
  }

  /** The size in bytes that the storage VM claims of `id`; undefined if it does not list it. */
  sizeOf(id: ObjectId): number | undefined {
    const wanted = prefixOf(id);
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#prefixes[middle] ?? 0n) < wanted) low = middle + 1;
      else high = middle;
    }
    return low < this.#count && this.#prefixes[low] === wanted ? this.#sizes[low] : undefined;
  }

  #add(prefix: bigint, size: number): void {
    if (this.#count === this.#sizes.length) this.#grow();
    this.#prefixes[this.#count] = prefix;
    this.#sizes[this.#count] = size;
    this.#count += 1;
  }

  #grow(): void {
    const prefixes = new BigUint64Array(2 * this.#count);
    const sizes = new Uint32Array(2 * this.#count);
    prefixes.set(this.#prefixes);
    sizes.set(this.#sizes);
    this.#prefixes = prefixes;
    this.#sizes = sizes;
  }
}

function prefixOf(id: ObjectId): bigint {
  return BigInt(`0x${id.slice(0, 16)}`);
}
