/**
 * Known chunks by hash: those of the base and those of this session. Compact: a volume of a terabyte has millions of
 * them, so they are rows of typed arrays, about 60 bytes each, found by open addressing. A hash is compared in full.
 */

import { Segment, SegmentPlace } from './place.ts';
import type { Place } from './entry.ts';

const HASH = 32;

export class ChunkTable {
  #hashes = new Uint8Array(HASH * 1024);
  /** Index into #segments, and offset in that segment. */
  #segmentOf = new Uint32Array(1024);
  #offsetOf = new Uint32Array(1024);
  #rows = 0;
  /** Row + 1 by hash; 0 is free. Always a power of two, at most half full. */
  #slots = new Uint32Array(4096);
  readonly #segments: Segment[] = [];
  readonly #segmentIndex = new Map<Segment, number>();
  /** One segment stands for a whole pack of the base. */
  readonly #basePacks = new Map<number, Segment>();

  /** Chunks in the table. */
  get size(): number {
    return this.#rows;
  }

  /** The place of the chunk with this hash. */
  get(hash: Uint8Array): SegmentPlace | undefined {
    const row = this.#slots[this.#slotOf(hash)];
    if (row === undefined || row === 0) return undefined;
    const segment = this.#segments[this.#segmentOf[row - 1] ?? 0];
    return segment && new SegmentPlace(segment, this.#offsetOf[row - 1] ?? 0);
  }

  /** Sets the place of a chunk, instead of an earlier one. */
  set(hash: Uint8Array, place: SegmentPlace): void {
    let slot = this.#slotOf(hash);
    let row = this.#slots[slot] ?? 0;
    if (row === 0) {
      if (2 * (this.#rows + 1) > this.#slots.length) {
        this.#growSlots();
        slot = this.#slotOf(hash);
      }
      row = this.#newRow(hash);
      this.#slots[slot] = row;
    }
    this.#segmentOf[row - 1] = this.#indexOf(place.segment);
    this.#offsetOf[row - 1] = place.offsetInSegment;
  }

  /** Adds a chunk of the base; the first place of a hash stays. Answers whether it was new. */
  addBase(hash: Uint8Array, place: Place): boolean {
    let segment = this.#basePacks.get(place.blob);
    if (segment === undefined) {
      segment = new Segment({ number: place.blob, size: place.packSize });
      this.#basePacks.set(place.blob, segment);
    }
    if (this.get(hash) !== undefined) return false;
    this.set(hash, new SegmentPlace(segment, place.offset));
    return true;
  }

  #indexOf(segment: Segment): number {
    let index = this.#segmentIndex.get(segment);
    if (index === undefined) {
      index = this.#segments.push(segment) - 1;
      this.#segmentIndex.set(segment, index);
    }
    return index;
  }

  #newRow(hash: Uint8Array): number {
    if (this.#rows === this.#segmentOf.length) {
      this.#hashes = grown(this.#hashes, new Uint8Array(2 * this.#hashes.length));
      this.#segmentOf = grown(this.#segmentOf, new Uint32Array(2 * this.#rows));
      this.#offsetOf = grown(this.#offsetOf, new Uint32Array(2 * this.#rows));
    }
    this.#hashes.set(hash, HASH * this.#rows);
    this.#rows += 1;
    return this.#rows;
  }

  /** The slot that holds `hash`, or the free one where it belongs. SHA-256 is uniform: its first bytes are the key. */
  #slotOf(hash: Uint8Array): number {
    const mask = this.#slots.length - 1;
    let slot = startOf(hash, 0) & mask;
    for (;;) {
      const row = this.#slots[slot] ?? 0;
      if (row === 0 || this.#holds(row - 1, hash)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #holds(row: number, hash: Uint8Array): boolean {
    const at = HASH * row;
    for (let i = 0; i < HASH; i++) if (this.#hashes[at + i] !== hash[i]) return false;
    return true;
  }

  #growSlots(): void {
    this.#slots = new Uint32Array(2 * this.#slots.length);
    const mask = this.#slots.length - 1;
    for (let row = 0; row < this.#rows; row++) {
      let slot = startOf(this.#hashes, HASH * row) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = row + 1;
    }
  }
}

function startOf(hash: Uint8Array, at: number): number {
  return (
    (hash[at] ?? 0) | ((hash[at + 1] ?? 0) << 8) | ((hash[at + 2] ?? 0) << 16) | ((hash[at + 3] ?? 0) << 24)
  );
}

function grown<A extends Uint8Array | Uint32Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
