/** The live list of a root as a storage VM reads it: shard by shard, one part of at most 8 MiB in memory. */

import { BackupError } from '../shared/errors.ts';
import { objectIdOf } from '../shared/ids.ts';
import type { ObjectId } from '../shared/ids.ts';
import { decodeLivePart, livePrefix } from '../shared/live-list.ts';
import { MAX_OBJECT } from '../shared/limits.ts';
import { objectName } from './back-end.ts';
import type { BackEnd } from './back-end.ts';

/** Bits of a prefix below those that make the shard. */
const SHARD_SHIFT = 56n;

/** Prefixes of names, of one shard. */
export class LiveShard {
  readonly #prefixes: Set<bigint>;

  constructor(prefixes: Set<bigint>) {
    this.#prefixes = prefixes;
  }

  has(id: ObjectId): boolean {
    return this.#prefixes.has(livePrefix(id));
  }

  /** How many prefixes none of `ids` has. */
  absent(ids: Iterable<ObjectId>): number {
    const found = new Set<bigint>();
    for (const id of ids) if (this.has(id)) found.add(livePrefix(id));
    return this.#prefixes.size - found.size;
  }
}

export class LiveNames {
  readonly #backEnd: BackEnd;
  readonly #parts: readonly ObjectId[];
  /** What the root itself names. */
  readonly #own: readonly bigint[];
  #next = 0;
  /** The part read last, and how many of its prefixes were passed. */
  #part: BigUint64Array = new BigUint64Array();
  #at = 0;
  #last = -1n;

  /** `parts`: of the root's list; `others`: objects that the root names beside it. */
  constructor(backEnd: BackEnd, parts: readonly ObjectId[], others: readonly ObjectId[]) {
    this.#backEnd = backEnd;
    this.#parts = parts;
    this.#own = [...parts, ...others].map(livePrefix);
  }

  /**
   * The names of one shard; shards come in ascending order. Throws `store-missing` or `store-damaged` for a part that is not
   * there, or not what its name says.
   */
  async shard(shard: string): Promise<LiveShard> {
    const number = BigInt(`0x${shard}`);
    const prefixes = new Set(this.#own.filter((prefix) => prefix >> SHARD_SHIFT === number));
    for (;;) {
      while (this.#at < this.#part.length) {
        const prefix = this.#part[this.#at] ?? 0n;
        if (prefix >> SHARD_SHIFT > number) return new LiveShard(prefixes);
        if (prefix >> SHARD_SHIFT === number) prefixes.add(prefix);
        this.#at += 1;
      }
      const part = this.#parts[this.#next];
      if (part === undefined) return new LiveShard(prefixes);
      await this.#read(part);
    }
  }

  async #read(id: ObjectId): Promise<void> {
    const bytes = await this.#backEnd.read(objectName(id), MAX_OBJECT);
    if (bytes === undefined)
      throw new BackupError(
        'store-missing',
        `the part ${id.slice(0, 16)}… of the live list is not in the store`,
      );
    if (objectIdOf(bytes) !== id)
      throw new BackupError('store-damaged', `the part ${id.slice(0, 16)}… of the live list is damaged`);
    this.#part = decodeLivePart(bytes, this.#last);
    this.#at = 0;
    this.#last = this.#part.at(-1) ?? this.#last;
    this.#next += 1;
  }
}
