/**
 * Cuts a file into content-defined chunks (docs/format.md, section 9): FastCDC (Xia et al., 2016) with a 32-bit gear
 * hash over every run of 64 KiB blocks that are not all zero. The result is a function of the file's bytes
 * alone: neither how they are read, nor where the file system keeps holes, nor what is known of the file matters.
 *
 * Where the chunks of an earlier state are known, a chunk that starts where one of them did is taken to end there too. If its
 * SHA-256, which is needed anyway, is the known one, then so are its bytes, and the same bytes are cut alike: the gear
 * hash, which takes longer, was not needed. If not, it is cut once more.
 */

import { createHash } from 'node:crypto';
import { equalBytes } from '../shared/bytes.ts';
import { MAX_CHUNK, MEAN_CHUNK, MIN_CHUNK, ZERO_BLOCK } from '../shared/limits.ts';
import type { ChunkContent } from './digest.ts';

/** A file's bytes. */
export interface Source {
  /** Reads at least one byte at `position` into `target` unless the file ends there; answers the count. */
  read(target: Uint8Array, position: number): number;
  /** The start of the next data at or after `position`, or undefined if only a hole follows. May always answer `position`. */
  seekData(position: number): number | undefined;
}

/** A chunk as it was cut. */
export interface Piece {
  /** Its place in the file. */
  readonly start: number;
  /** Zero bytes between the end of the piece before (or the start of the file) and this one. */
  readonly gap: number;
  /** A view that is good until the piece after the next is asked for: one is hashed while the next is cut. */
  readonly bytes: Uint8Array;
  /** SHA-256 of the known chunk that had its place and length. */
  readonly known: Uint8Array | undefined;
  /** It was cut where the known one ended: it is a chunk only if it has its hash. */
  readonly isGuess: boolean;
}

/** Bytes in memory at a time, twice: several of the largest chunks, so that moving the rest is rare. */
const WINDOW = 8 * 1024 * 1024;
/** Bytes asked for at a time: an island in a sparse file costs no more. */
const READ_SIZE = 1024 * 1024;

/** Zeros read in one go, in bytes: whoever asked has other things to do meanwhile. */
const PAUSE = 64 * 1024 * 1024;
const NO_PIECE: Piece = { start: 0, gap: 0, bytes: new Uint8Array(0), known: undefined, isGuess: false };

/** A hash must have these bits clear to cut: rarely before the mean size, more often after it. */
const STRICT_MASK = 0xfffff000 | 0;
const LOOSE_MASK = 0xffffc000 | 0;

const ZEROS = Buffer.alloc(ZERO_BLOCK);

/** One number for each byte: the first four bytes of SHA-256 of a label and the byte. */
export const GEAR: Int32Array = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256')
    .update('qubes-incremental-backup gear')
    .update(Uint8Array.of(byte))
    .digest()
    .readInt32BE(0),
);

/** The gear table doubled: what a byte counts for one step later. */
const GEAR_NEXT = GEAR.map((value) => value << 1);

/** The hash where {@link scanGear} stopped without a cut, from where the next scan goes on. */
let rolling = 0;

/** The first cut in `bytes` after a byte of `from` up to `to`, or 0. Two bytes a turn: their table look-ups overlap. */
function scanGear(bytes: Uint8Array, from: number, to: number, mask: number): number {
  const gear = GEAR; // A constant of the module is looked up at every use.
  const gearNext = GEAR_NEXT;
  let hash = rolling;
  let at = from;
  for (const last = to - 1; at < last; at += 2) {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    const between = (hash << 1) + (gear[first] as number);
    hash = ((hash << 2) + (((gearNext[first] as number) + (gear[second] as number)) | 0)) | 0;
    if ((between & mask) === 0) return at + 1;
    if ((hash & mask) === 0) return at + 2;
  }
  if (at < to) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if ((hash & mask) === 0) return to;
  }
  rolling = hash;
  return 0;
}

/**
 * Where the chunk that starts at `start` ends, at most at `limit`: its run's end, or MAX_CHUNK further. Exported for
 * tests and benchmarks.
 */
export function findCut(bytes: Uint8Array, start: number, limit: number): number {
  const mean = Math.min(limit, start + MEAN_CHUNK);
  rolling = 0;
  return (
    scanGear(bytes, Math.min(limit, start + MIN_CHUNK), mean, STRICT_MASK) ||
    scanGear(bytes, mean, limit, LOOSE_MASK) ||
    limit
  );
}

/** The known chunks of a file, by their places. */
class KnownChunks {
  readonly #chunks: readonly ChunkContent[];
  #index = 0;
  /** Where the chunk at the index starts. */
  #start: number;

  constructor(chunks: readonly ChunkContent[]) {
    this.#chunks = chunks;
    this.#start = chunks[0]?.gap ?? 0;
  }

  /** The one that starts at `position`. Positions never fall, or those passed over are lost. The last is left out: the end of the file cut it. */
  at(position: number): ChunkContent | undefined {
    while (this.#start < position && this.#index < this.#chunks.length - 1) {
      this.#start += (this.#chunks[this.#index]?.length ?? 0) + (this.#chunks[this.#index + 1]?.gap ?? 0);
      this.#index += 1;
    }
    const isThere = this.#start === position && this.#index < this.#chunks.length - 1;
    return isThere ? this.#chunks[this.#index] : undefined;
  }
}

/** True if a chunk of these bounds was cut for what its bytes are, and not where its run ended; `solid`: as far as it is known to go on. */
function isCutByContent(start: number, length: number, solid: number): boolean {
  const end = start + length;
  return length > MIN_CHUNK && length < MAX_CHUNK && end < solid && end % ZERO_BLOCK !== 0;
}

/** Chunks files, one at a time, through two reused windows. */
export class Chunker {
  #window = Buffer.alloc(WINDOW);
  #otherWindow = Buffer.alloc(WINDOW);
  /** The one that the piece is in which was handed out last. */
  #lent: Buffer | undefined;
  /** File positions of the window's first byte and of the end of what was read into it. */
  #start = 0;
  #end = 0;
  #bytesRead = 0;
  /** The file has been like what is known of it, as far as that was confirmed. */
  #isLikeKnown = true;
  /** What turned out to be no chunk. */
  #refused: Piece | undefined;

  /** Bytes read from sources so far. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  /**
   * The chunks of the first `size` bytes of `source`. A file that turns out shorter reads as if zeros followed. What the
   * source throws passes through. An empty piece is none, but a pause in a long run of zeros. Finish or abandon one file
   * before the next. With chunks of an earlier state, `known`, each piece has to be confirmed before the second piece after it is asked for.
   */
  *chunks(
    source: Source,
    size: number,
    known: readonly ChunkContent[] = [],
  ): Generator<Piece, void, undefined> {
    this.#start = this.#end = 0;
    this.#isLikeKnown = true;
    this.#refused = this.#lent = undefined;
    const earlier = new KnownChunks(known);
    let before = 0; // The end of the piece before.
    let position = 0;
    let solid = 0; // No block between `position` and here is all zero.
    for (;;) {
      if (position === solid) position = solid = yield* this.#nextData(source, position, size);
      if (position >= size) return;
      const limit = Math.min(size, position + MAX_CHUNK);
      while (solid < limit && this.#hasData(source, position, solid, size))
        solid = Math.min(size, solid + ZERO_BLOCK);
      const piece = this.#cut(position, position - before, solid, earlier.at(position));
      this.#lent = this.#window;
      yield piece;
      const refused = this.#takeRefused();
      if (refused === undefined) position = before = position + piece.bytes.length;
      else {
        position = refused.start;
        before = position - refused.gap;
        this.#reread(source, position, solid, size);
      }
    }
  }

  /**
   * Whether a piece with this hash is a chunk. If not, neither is what was cut after it, and the next piece starts where it did.
   * Until the file has what is known of it again, no more is guessed.
   */
  confirm(piece: Piece, hash: Uint8Array): boolean {
    if (piece.known === undefined) return true;
    this.#isLikeKnown = equalBytes(hash, piece.known);
    if (this.#isLikeKnown || !piece.isGuess) return true;
    this.#refused = piece;
    return false;
  }

  #takeRefused(): Piece | undefined {
    const refused = this.#refused;
    this.#refused = undefined;
    return refused;
  }

  /** The piece at `position`, of which everything up to its end is in the window, at the latest where `solid` ends its run. */
  #cut(position: number, gap: number, solid: number, known: ChunkContent | undefined): Piece {
    const from = position - this.#start;
    const limit = from + Math.min(solid - position, MAX_CHUNK);
    const isGuess = known !== undefined && this.#isLikeKnown && isCutByContent(position, known.length, solid);
    const to = isGuess ? from + known.length : findCut(this.#window, from, limit);
    const bytes = this.#window.subarray(from, to);
    const hash = known?.length === bytes.length ? known.hash : undefined;
    return { start: position, gap, bytes, known: hash, isGuess };
  }

  /** The first block at or after the block boundary `from` that is not all zero; `size` if none. */
  *#nextData(source: Source, from: number, size: number): Generator<Piece, number, undefined> {
    for (let block = from; block < size; block += ZERO_BLOCK) {
      // What one read brings in whole is not asked for: it costs more than to look for zeros.
      if (block >= this.#end && size - block > READ_SIZE) {
        const data = source.seekData(block);
        if (data === undefined) return size;
        block = Math.max(block, data - (data % ZERO_BLOCK));
        if (block >= size) return size;
      }
      if (this.#hasData(source, block, block, size)) return block;
      if ((block + ZERO_BLOCK) % PAUSE === 0) yield NO_PIECE;
    }
    return size;
  }

  /** True if the block at `block` is not all zero. Keeps the bytes from `keep` on in the window. */
  #hasData(source: Source, keep: number, block: number, size: number): boolean {
    const end = Math.min(size, block + ZERO_BLOCK);
    if (end > this.#end) this.#fill(source, keep, end, size);
    const bytes = this.#window.subarray(block - this.#start, end - this.#start);
    return bytes[0] !== 0 || bytes.compare(ZEROS, 0, bytes.length) !== 0;
  }

  /** Has everything from `position` to `solid` in the window once more. It counts as read once. */
  #reread(source: Source, position: number, solid: number, size: number): void {
    if (position < this.#start) {
      this.#bytesRead -= this.#end - position;
      this.#start = this.#end = position;
    }
    this.#fill(source, position, solid, size);
  }

  /** Reads until the window holds everything from `keep` to `end`. */
  #fill(source: Source, keep: number, end: number, size: number): void {
    if (keep >= this.#end) this.#moveTo(keep, keep);
    else if (end + READ_SIZE - this.#start > WINDOW) this.#moveTo(keep, this.#end);
    while (this.#end < end) {
      const want = Math.min(READ_SIZE, size - this.#end);
      const target = this.#window.subarray(this.#end - this.#start, this.#end - this.#start + want);
      const count = source.read(target, this.#end);
      if (count === 0) target.fill(0); // Shorter than it was said to be.
      this.#bytesRead += count;
      this.#end += count === 0 ? want : count;
    }
  }

  /** Keeps the bytes from `keep` to `end` alone, in the other window if somebody looks at this one. */
  #moveTo(keep: number, end: number): void {
    const from = this.#window;
    if (from === this.#lent) [this.#window, this.#otherWindow] = [this.#otherWindow, from];
    if (keep < end) from.copy(this.#window, 0, keep - this.#start, end - this.#start);
    this.#start = keep;
    this.#end = end;
  }
}
