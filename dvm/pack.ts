/** A pack (docs/format.md, section 7) that is read: only the segments that hold wanted chunks are decompressed. */

import { promisify } from 'node:util';
import { constants, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import { readU32 } from '../shared/bytes.ts';
import { BackupError, isBackupError } from '../shared/errors.ts';
import { MAX_BLOB, MAX_SEGMENT, MAX_SEGMENTS } from '../shared/limits.ts';

const VERSION = 1;
const CODEC = { raw: 0, zstd: 1 } as const;
const HEADER_SIZE = 2;
const SEGMENT_HEADER_SIZE = 9;
/** Base-2 logarithm of the largest zstd window: two segments' worth of any encoder's default. */
const WINDOW_LOG = 23;
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

export function damagedPack(what: string, cause?: unknown): BackupError {
  return new BackupError('store-damaged', `a pack is damaged: ${what}`, { cause });
}
