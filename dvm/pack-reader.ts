/**
 * Reads chunks out of packs (docs/format.md, section 7). Only the segments that hold wanted chunks are
 * decompressed, those of announced chunks ahead of their use, on the thread pool; recently used packs are kept, up
 * to a budget of bytes. A chunk is handed out only if its bytes have its SHA-256.
 */

import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import { equalBytes, readU32 } from '../shared/bytes.ts';
import { BackupError, isBackupError } from '../shared/errors.ts';
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
/** Segments decompressed, and packs fetched, ahead of their use: enough work for the thread pool, and less than the budget of packs. */
const AHEAD = 4;
/** Bytes of room for what comes out of a segment, beyond its own: without, it takes another turn to see that no more comes. */
const SPARE = 64;

const decompressOnPool = promisify(zstdDecompress);

interface Segment {
  /** Where the segment starts in the raw pack. */
  readonly start: number;
  readonly rawLength: number;
  stored: Uint8Array | undefined;
  raw: Uint8Array | undefined;
  /** While the thread pool decompresses it, and for good if that fails. */
  coming: Promise<Uint8Array> | undefined;
}

/** A decoded pack header over stored segments, each decompressed at its first use or before. */
export class Pack {
  /** Bytes of the raw pack. */
  readonly size: number;
  /** Bytes in memory, with those that are on their way. */
  weight: number;
  readonly #segments: readonly Segment[];

  /** Throws `store-damaged` on anything but a well-formed pack. The pack keeps `untrustedBlob`. */
  constructor(untrustedBlob: Uint8Array) {
    this.#segments = readSegments(untrustedBlob);
    this.size = this.#segments.reduce((sum, segment) => sum + segment.rawLength, 0);
    this.weight = untrustedBlob.length;
  }

  /** `length` bytes from `offset` on, as a view. Throws `store-damaged`, also if they are not within one segment. */
  read(offset: number, length: number): Uint8Array {
    const segment = this.#segmentWith(offset, length);
    const raw = segment.raw ?? this.#decompress(segment);
    return raw.subarray(offset - segment.start, offset - segment.start + length);
  }

  /**
   * Has the thread pool decompress what {@link read} will answer; false if nothing is left to do. Throws as that does of a bad place;
   * all else that is wrong is for {@link coming} to say.
   */
  prepare(offset: number, length: number): boolean {
    const segment = this.#segmentWith(offset, length);
    if (segment.raw !== undefined || segment.coming !== undefined) return false;
    this.weight += segment.rawLength;
    const output = decompressOnPool(storedOf(segment), outputOf(segment));
    segment.coming = output.then((raw) => keep(segment, raw)).catch(damagedSegment);
    segment.coming.catch(() => undefined);
    return true;
  }

  /** What to wait for before {@link read}, if it is being prepared. Rejects with `store-damaged`. */
  coming(offset: number, length: number): Promise<unknown> | undefined {
    return this.#segmentWith(offset, length).coming;
  }

  #segmentWith(offset: number, length: number): Segment {
    const found = this.#segments.find(
      ({ start, rawLength }) => offset >= start && offset + length <= start + rawLength,
    );
    if (found === undefined) throw damagedPack('a chunk lies outside of every segment');
    return found;
  }

  #decompress(segment: Segment): Uint8Array {
    this.weight += segment.rawLength;
    try {
      return keep(segment, zstdDecompressSync(storedOf(segment), outputOf(segment)));
    } catch (cause) {
      return damagedSegment(cause);
    }
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
    const stored = untrustedBlob.subarray(at, at + storedLength);
    const raw = codec === CODEC.raw ? stored : undefined;
    segments.push({ start, rawLength, stored, raw, coming: undefined });
    at += storedLength;
    start += rawLength;
  }
  if (at !== untrustedBlob.length) throw damagedPack('bytes follow its segments');
  return segments;
}

function storedOf({ stored }: Segment): Uint8Array {
  if (stored === undefined) throw new BackupError('internal', 'a segment has no bytes');
  return stored;
}

/** How the decompressor writes a segment: in one piece, and no more than it says. */
function outputOf({ rawLength }: Segment) {
  return {
    chunkSize: rawLength + SPARE,
    maxOutputLength: rawLength,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
  };
}

function keep(segment: Segment, raw: Uint8Array): Uint8Array {
  if (raw.length !== segment.rawLength) throw damagedPack('a segment has another length than it says');
  segment.raw = raw;
  segment.stored = segment.coming = undefined;
  return raw;
}

function damagedSegment(cause: unknown): never {
  throw isBackupError(cause) ? cause : damagedPack('a segment does not decompress', cause);
}

export class PackReader {
  readonly #blobs: BlobSource;
  readonly #budget: number;
  /** Packs by number, the least recently used first. */
  readonly #packs = new Map<number, Pack>();
  readonly #fetching = new Map<number, Promise<Pack>>();
  #announced: readonly Chunk[] = [];
  /** Those of them that were not read yet. */
  #unread = new Set<Chunk>();
  /** Of each segment that was decompressed ahead, and each pack that was fetched ahead, the announced chunk that is read first. */
  readonly #ahead = new Set<Chunk>();
  #readOne: () => void = () => undefined;

  constructor(blobs: BlobSource, budget = CACHE_BUDGET) {
    this.#blobs = blobs;
    this.#budget = budget;
  }

  /**
   * Announces chunks that will be read in this order, so that their packs are fetched and decompressed ahead. What was announced
   * before, and not read, no longer is.
   */
  prefetch(chunks: Iterable<Chunk>): void {
    this.#announced = [...chunks];
    this.#unread = new Set(this.#announced);
    const numbers = new Set(this.#announced.map(({ place }) => place.blob));
    for (const number of numbers)
      if (this.#packs.has(number) || this.#fetching.has(number)) numbers.delete(number);
    if (numbers.size > 0) this.#blobs.prefetch([...numbers]);
    this.#ahead.clear();
    this.#prepare(this.#announced).catch(() => undefined); // Whoever reads the chunk gets the failure.
  }

  /**
   * The verified bytes of `chunk`, at once if its pack is at hand and nothing is to be decompressed. They are a view into the pack. Do
   * not call it again before the last promise is settled. Throws `store-damaged`.
   */
  read(chunk: Chunk): Uint8Array | Promise<Uint8Array> {
    const pack = this.#packs.get(chunk.place.blob);
    if (pack === undefined)
      return this.#fetch(chunk).then((fetched) => this.#extractWhenThere(fetched, chunk));
    return this.#extractWhenThere(pack, chunk);
  }

  #extractWhenThere(pack: Pack, chunk: Chunk): Uint8Array | Promise<Uint8Array> {
    const { offset, packSize } = chunk.place;
    if (pack.size !== packSize) throw damagedPack('it has another size than the tree says');
    const coming = pack.coming(offset, chunk.length);
    return coming === undefined ? this.#extract(pack, chunk) : coming.then(() => this.#extract(pack, chunk));
  }

  /** Fetches and decompresses announced chunks, as far ahead as may be: what is fetched too early drives out what is still to be read. */
  async #prepare(announced: readonly Chunk[]): Promise<void> {
    for (const chunk of announced) {
      const known = this.#packs.get(chunk.place.blob);
      const pack = known ?? (await this.#fetch(chunk));
      if (this.#announced !== announced) return;
      if (!this.#unread.has(chunk)) continue; // Who waited for the same pack longer was first.
      if (!pack.prepare(chunk.place.offset, chunk.length) && known !== undefined) continue;
      this.#ahead.add(chunk);
      while (this.#ahead.size >= AHEAD) await new Promise<void>((resolve) => (this.#readOne = resolve));
    }
  }

  #fetch({ place }: Chunk): Promise<Pack> {
    const number = place.blob;
    const known = this.#fetching.get(number);
    if (known !== undefined) return known;
    const fetching = this.#blobs
      .get(number)
      .then((untrustedBlob) => {
        const pack = new Pack(untrustedBlob);
        this.#packs.set(number, pack);
        return pack;
      })
      .finally(() => this.#fetching.delete(number));
    this.#fetching.set(number, fetching);
    return fetching;
  }

  #extract(pack: Pack, chunk: Chunk): Uint8Array {
    const { blob, offset } = chunk.place;
    const bytes = pack.read(offset, chunk.length);
    this.#unread.delete(chunk);
    if (this.#ahead.delete(chunk)) this.#readOne(); // Not before: it may be prepared while it is waited for.
    this.#packs.delete(blob);
    this.#packs.set(blob, pack);
    this.#evict(blob);
    if (!equalBytes(hash('sha256', bytes, 'buffer'), chunk.hash))
      throw damagedPack('a chunk has another hash than the tree says');
    return bytes;
  }

  /** Drops packs above the budget, but neither the one that is read nor one that was fetched ahead, and is older than what was read since. */
  #evict(current: number): void {
    let weight = 0;
    for (const pack of this.#packs.values()) weight += pack.weight;
    if (weight <= this.#budget) return;
    const needed = new Set([...this.#ahead].map(({ place }) => place.blob)).add(current);
    for (const [number, pack] of this.#packs) {
      if (weight <= this.#budget) return;
      if (needed.has(number)) continue;
      this.#packs.delete(number);
      weight -= pack.weight;
    }
  }
}

function damagedPack(what: string, cause?: unknown): BackupError {
  return new BackupError('store-damaged', `a pack is damaged: ${what}`, { cause });
}
