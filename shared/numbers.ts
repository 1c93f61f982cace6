/**
 * Sets of blob numbers, as sorted runs. Encoded (docs/format.md, "Number sets") as varint pairs: the gap
 * before a run and its length. A store of a million blobs in a handful of runs is a handful of bytes.
 */

import { ByteReader, pushVarint } from './bytes.ts';
import { BackupError } from './errors.ts';
import { MAX_BLOB_NUMBER } from './limits.ts';

/** An immutable set of blob numbers (0 to MAX_BLOB_NUMBER). */
export class NumberSet {
  /** Start (inclusive) and end (exclusive) of each run, ascending, never touching. */
  readonly #bounds: readonly number[] | Float64Array;

  private constructor(bounds: readonly number[] | Float64Array) {
    this.#bounds = bounds;
  }

  static readonly empty = new NumberSet([]);

  /** The set of `numbers`, in any order, duplicates allowed. */
  static of(numbers: Iterable<number>): NumberSet {
    const sorted = Float64Array.from(numbers).sort();
    const bounds: number[] = [];
    for (const number of sorted) {
      const end = bounds.at(-1);
      if (end === number) bounds[bounds.length - 1] = number + 1;
      else if (end === undefined || number > end) bounds.push(number, number + 1);
    }
    return new NumberSet(bounds);
  }

  /** All numbers from `start` to `end`, without `end`. */
  static range(start: number, end: number): NumberSet {
    return end > start ? new NumberSet([start, end]) : NumberSet.empty;
  }

  /** Decodes untrusted bytes; throws `store-damaged` on anything but the canonical encoding. */
  static decode(untrusted: Uint8Array): NumberSet {
    const reader = new ByteReader(untrusted);
    // As long as it gets, and no longer: a growing array would take several times as much.
    const bounds = new Float64Array(untrusted.reduce((count, byte) => count + (byte < 0x80 ? 1 : 0), 0));
    let used = 0;
    let at = 0;
    while (!reader.atEnd) {
      const gap = reader.varint();
      const length = reader.varint();
      if (length === 0 || (gap === 0 && used > 0)) throw damaged('runs are empty or touch');
      const start = at + gap;
      at = start + length;
      if (at > MAX_BLOB_NUMBER + 1) throw damaged('a number is out of range');
      bounds[used++] = start;
      bounds[used++] = at;
    }
    return new NumberSet(bounds);
  }

  encode(): Uint8Array {
    const out: number[] = [];
    let at = 0;
    for (const [start, end] of this.runs()) {
      pushVarint(out, start - at);
      pushVarint(out, end - start);
      at = end;
    }
    return Uint8Array.from(out);
  }

  /** Runs as [start, end) pairs, ascending. */
  *runs(): Generator<[number, number]> {
    for (let i = 0; i + 1 < this.#bounds.length; i += 2)
      yield [this.#bounds[i] ?? 0, this.#bounds[i + 1] ?? 0];
  }

  *[Symbol.iterator](): Generator<number> {
    for (const [start, end] of this.runs()) for (let number = start; number < end; number++) yield number;
  }

  get size(): number {
    let size = 0;
    for (const [start, end] of this.runs()) size += end - start;
    return size;
  }

  /** The member that `index` members are less than; undefined if there are not as many. */
  at(index: number): number | undefined {
    let left = index;
    for (const [start, end] of this.runs()) {
      if (left < end - start) return start + left;
      left -= end - start;
    }
    return undefined;
  }

  has(number: number): boolean {
    return this.#above(number) % 2 === 1; // An odd count of bounds at or below the number: inside a run.
  }

  /** The index of the first bound above `number`. */
  #above(number: number): number {
    let low = 0;
    let high = this.#bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bounds[middle] ?? 0) <= number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  union(other: NumberSet): NumberSet {
    return this.#combine(other, (inThis, inOther) => inThis || inOther);
  }

  minus(other: NumberSet): NumberSet {
    return this.#combine(other, (inThis, inOther) => inThis && !inOther);
  }

  isSubsetOf(other: NumberSet): boolean {
    for (const [start, end] of this.runs()) if (!other.#covers(start, end)) return false;
    return true;
  }

  /** True if one run holds all from `start` to `end`, without `end`; runs never touch. */
  #covers(start: number, end: number): boolean {
    const above = this.#above(start);
    return above % 2 === 1 && end <= (this.#bounds[above] ?? 0);
  }

  equals(other: NumberSet): boolean {
    return (
      this.#bounds.length === other.#bounds.length &&
      this.#bounds.every((bound, i) => bound === other.#bounds[i])
    );
  }

  /** Sweeps over both lists of bounds once; `keep` decides by membership. */
  #combine(other: NumberSet, keep: (inThis: boolean, inOther: boolean) => boolean): NumberSet {
    const a = this.#bounds;
    const b = other.#bounds;
    const out: number[] = [];
    let i = 0;
    let j = 0;
    while (i < a.length || j < b.length) {
      const at = Math.min(a[i] ?? Infinity, b[j] ?? Infinity);
      if (a[i] === at) i += 1;
      if (b[j] === at) j += 1;
      const inside = keep(i % 2 === 1, j % 2 === 1);
      if (inside !== (out.length % 2 === 1)) out.push(at);
    }
    return new NumberSet(out);
  }
}

function damaged(what: string): BackupError {
  return new BackupError('store-damaged', `a number set is malformed: ${what}`);
}
