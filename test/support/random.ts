/** Seeded randomness: the same seed gives the same tree on every machine. */

import { createCipheriv, createHash } from 'node:crypto';

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Mulberry32 (Tommy Ettinger, public domain): a number of 32 bits. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.#next() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.#next() / 2 ** 32 < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** Bytes that do not compress: a key stream of AES in counter mode. */
  bytes(length: number): Buffer {
    const key = createHash('sha256').update(String(this.#next())).digest().subarray(0, 16);
    return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
  }

  /** Text that compresses well. */
  text(length: number): Buffer {
    const words = ['snapshot ', 'chunk ', 'pack ', 'blob ', 'object ', 'root\n', 'sweep ', 'live '];
    const sentence = Array.from({ length: 64 }, () => this.pick(words)).join('');
    return Buffer.alloc(length, sentence);
  }
}
