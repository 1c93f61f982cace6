/**
 * Reads chunks out of packs (docs/format.md, section 7). Only the segments that hold wanted chunks are
 * decompressed; recently used packs are kept, up to a budget of bytes. A chunk is handed out only if its bytes
 * have its SHA-256.
 */

import { hash } from 'node:crypto';
import { constants, zstdDecompressSync } from 'node:zlib';
import { equalBytes, readU32 } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_BLOB, MAX_SEGMENT, MAX_SEGMENTS } from '../shared/limits.ts';
import type { BlobSource } from './blobs.ts';
import type { Chunk } from './entry.ts';

const VERSION = 1;
const CODEC = { raw: 0, zstd: 1 } as const;
const HEADER_SIZE = 2;
const SEGMENT_HEADER_SIZE = 9;
/** Base-2 logarithm of the largest zstd window: two segments' worth of any encoder's default. */
const WINDOW_LOG = 23;
/** Bytes of packs kept for chunks that are still to come. */
const CACHE_BUDGET = 64 * 1024 * 1024;

interface Segment {
  readonly codec: number;
  /** Where the segment starts in the raw pack. */
  readonly start: number;
  readonly rawLength: number;
  stored: Uint8Array | undefined;
  raw: Uint8Array | undefined;
}

/** A decoded pack header over stored segments, each decompressed at its first use. */
export class Pack {
  /** Bytes of the raw pack. */
  readonly size: number;
  /** Bytes in memory. */
  weight: number;
  readonly #segments: readonly Segment[];

  /** Throws `store-damaged` on anything but a well-formed pack. The pack keeps `untrustedBlob`. */
  constructor(untrustedBlob: Uint8Array) {
    this.#segments = readSegments(untrustedBlob);
    this.size = this.#segments.reduce((sum, segment) => sum + segment.rawLength, 0);
    this.weight = untrustedBlob.length;
  }

  /** `length` bytes from `offset` on, as a view. Throws `store-damaged` if they are not within one segment. */
  read(offset: number, length: number): Uint8Array {
    const segment = this.#segments.find(
      ({ start, rawLength }) => offset >= start && offset + length <= start + rawLength,
    );
    if (segment === undefined) throw damagedPack('a chunk lies outside of every segment');
    const raw = segment.raw ?? this.#decompress(segment);
    return raw.subarray(offset - segment.start, offset - segment.start + length);
  }

  #decompress(segment: Segment): Uint8Array {
    const { stored, rawLength } = segment;
    if (stored === undefined) throw new BackupError('internal', 'a segment has no bytes');
    const raw = segment.codec === CODEC.raw ? stored : decompress(stored, rawLength);
    if (raw.length !== rawLength) throw damagedPack('a segment has another length than it says');
    if (raw !== stored) this.weight += raw.length;
    segment.raw = raw;
    segment.stored = undefined;
    return raw;
  }
}

function readSegments(untrustedBlob: Uint8Array): Segment[] {
  if (untrustedBlob.length < HEADER_SIZE || untrustedBlob.length > MAX_BLOB)
    throw damagedPack('its length is impossible');
  if (untrustedBlob[0] !== VERSION) throw damagedPack('it is no pack, or one of another version');
  const count = untrustedBlob[1] ?? 0;
  if (count === 0 || count > MAX_SEGMENTS) throw damagedPack('its number of segments is impossible');
  let at = HEADER_SIZE + count * SEGMENT_HEADER_SIZE;
  if (at > untrustedBlob.length) throw damagedPack('it ends too early');
  const segments: Segment[] = [];
  let start = 0;
  for (let i = 0; i < count; i++) {
    const header = HEADER_SIZE + i * SEGMENT_HEADER_SIZE;
    const codec = untrustedBlob[header] ?? 0;
    const rawLength = readU32(untrustedBlob, header + 1);
    const storedLength = readU32(untrustedBlob, header + 5);
    if (codec !== CODEC.raw && codec !== CODEC.zstd) throw damagedPack('a segment has an unknown codec');
    if (rawLength === 0 || rawLength > MAX_SEGMENT) throw damagedPack('a segment’s length is impossible');
    if (codec === CODEC.raw && storedLength !== rawLength) throw damagedPack('a raw segment has two lengths');
    if (storedLength > untrustedBlob.length - at) throw damagedPack('it ends too early');
    segments.push({
      codec,
      start,
      rawLength,
      stored: untrustedBlob.subarray(at, at + storedLength),
      raw: undefined,
    });
    at += storedLength;
    start += rawLength;
  }
  if (at !== untrustedBlob.length) throw damagedPack('bytes follow its segments');
  return segments;
}

function decompress(stored: Uint8Array, rawLength: number): Uint8Array {
  try {
    return zstdDecompressSync(stored, {
      maxOutputLength: rawLength,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
    });
  } catch (cause) {
    throw damagedPack('a segment does not decompress', cause);
  }
}

export class PackReader {
  readonly #blobs: BlobSource;
  readonly #budget: number;
  /** Packs by number, the least recently used first. */
  readonly #packs = new Map<number, Pack>();
  #weight = 0;

  constructor(blobs: BlobSource, budget = CACHE_BUDGET) {
    this.#blobs = blobs;
    this.#budget = budget;
  }

  /** Announces chunks that will be read in this order, so that their packs are fetched ahead. */
  prefetch(chunks: Iterable<Chunk>): void {
    const numbers = new Set<number>();
    for (const { place } of chunks) if (!this.#packs.has(place.blob)) numbers.add(place.blob);
    if (numbers.size > 0) this.#blobs.prefetch([...numbers]);
  }

  /**
   * The verified bytes of `chunk`, at once if its pack is at hand. They are a view into the pack. Do not call it
   * again before the last promise is settled. Throws `store-damaged`.
   */
  read(chunk: Chunk): Uint8Array | Promise<Uint8Array> {
    const pack = this.#packs.get(chunk.place.blob);
    return pack === undefined ? this.#fetch(chunk) : this.#extract(pack, chunk);
  }

  async #fetch(chunk: Chunk): Promise<Uint8Array> {
    return this.#extract(new Pack(await this.#blobs.get(chunk.place.blob)), chunk);
  }

  #extract(pack: Pack, chunk: Chunk): Uint8Array {
    const { blob, offset, packSize } = chunk.place;
    if (pack.size !== packSize) throw damagedPack('it has another size than the tree says');
    if (this.#packs.delete(blob)) this.#weight -= pack.weight;
    const bytes = pack.read(offset, chunk.length);
    this.#packs.set(blob, pack);
    this.#weight += pack.weight;
    this.#evict();
    if (!equalBytes(hash('sha256', bytes, 'buffer'), chunk.hash))
      throw damagedPack('a chunk has another hash than the tree says');
    return bytes;
  }

  #evict(): void {
    for (const [number, pack] of this.#packs) {
      if (this.#weight <= this.#budget || this.#packs.size === 1) return;
      this.#packs.delete(number);
      this.#weight -= pack.weight;
    }
  }
}

function damagedPack(what: string, cause?: unknown): BackupError {
  return new BackupError('store-damaged', `a pack is damaged: ${what}`, { cause });
}
