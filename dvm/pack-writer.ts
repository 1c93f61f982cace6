/**
 * Gathers chunks into packs (docs/format.md, section 7): chunks fill segments, segments are compressed on the thread
 * pool, and a pack closes before it would exceed its size.
 */

import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { u32 } from '../shared/bytes.ts';
import { MAX_PACK, MAX_SEGMENT, MAX_SEGMENTS } from '../shared/limits.ts';
import { PayloadMemory } from '../shared/wire/payload-memory.ts';
import { usedBuffers } from '../shared/young-memory.ts';
import { Segment, SegmentPlace } from './place.ts';

const compressAsync = promisify(zstdCompress);

const VERSION = 1;
const CODEC = { raw: 0, zstd: 1 } as const;
/** Between speed and size (docs/decisions.md). The table of hashes has 2^15 entries: half of what the level would take. */
const COMPRESSION = {
  [constants.ZSTD_c_compressionLevel]: 2,
  [constants.ZSTD_c_hashLog]: 15,
};
/** Bytes the compressor writes at a time: its default of 16 KiB means a hundred callbacks a segment. */
const OUTPUT_SIZE = 512 * 1024;
/** Below this gain compression is not worth the reader's time. */
const WORTHWHILE = 0.98;
/** The probe for incompressible segments: so many samples of so many bytes each, and the bits that a byte of them holds at most. */
const SAMPLES = 4;
const SAMPLE = 4 * 1024;
const MAX_ENTROPY = 7.9;
/** Segments being compressed or waiting to be sent; with the open pack and the one being sent, some 26 MiB. */
const MAX_IN_FLIGHT = 4;

interface EncodedSegment {
  readonly segment: Segment;
  /** Memory that is used again once nobody looks at it: `stored` lies in it if the codec is raw. */
  readonly raw: Uint8Array;
  readonly codec: number;
  readonly rawLength: number;
  readonly stored: Uint8Array;
}

export interface PackWriterOptions {
  /** False stores all segments as they are (R08). */
  readonly compress: boolean;
}

/** `put` stores a finished pack, given in pieces, and answers its blob number. */
export class PackWriter {
  readonly #put: (pieces: readonly Uint8Array[]) => Promise<number>;
  readonly #compress: boolean;
  readonly #memory = new PayloadMemory();
  /** The segment being filled. */
  #segment = new Segment();
  #raw: Uint8Array = new Uint8Array(0);
  #used = 0;
  /** Segments of the open pack. */
  #pack: EncodedSegment[] = [];
  #stored = 0;
  #tail: Promise<void> = Promise.resolve();
  #inFlight: Promise<void>[] = [];

  constructor(put: (pieces: readonly Uint8Array[]) => Promise<number>, { compress }: PackWriterOptions) {
    this.#put = put;
    this.#compress = compress;
  }

  /** Copies a chunk (1 to MAX_CHUNK bytes) into the open segment. Call {@link ready} before the next. */
  add(bytes: Uint8Array): SegmentPlace {
    if (this.#used + bytes.length > MAX_SEGMENT) this.#seal();
    // A segment's memory goes on to the compressor and the pack, so each has its own.
    if (this.#raw.length === 0) this.#raw = this.#memory.take(MAX_SEGMENT);
    this.#raw.set(bytes, this.#used);
    const place = new SegmentPlace(this.#segment, this.#used);
    this.#used += bytes.length;
    return place;
  }

  /** Waits while too much is on its way. Throws what storing threw. */
  async ready(): Promise<void> {
    while (this.#inFlight.length >= MAX_IN_FLIGHT) await this.#inFlight[0];
  }

  /** Closes the open pack: afterwards every place has its number. Throws what storing threw. */
  async flush(): Promise<void> {
    this.#seal();
    await this.#tail;
    await this.#closePack();
  }

  #seal(): void {
    if (this.#used === 0) return;
    const segment = this.#segment;
    const encoded = encodeSegment(segment, this.#raw, this.#used, this.#compress);
    this.#segment = new Segment();
    this.#raw = new Uint8Array(0);
    this.#used = 0;
    const appended = Promise.all([encoded, this.#tail]).then(([ready]) => this.#append(ready));
    this.#tail = appended;
    this.#inFlight.push(appended);
    appended.then(
      () => this.#inFlight.shift(), // They settle in order.
      () => undefined, // A failure stays at the head, where ready() and flush() meet it.
    );
  }

  async #append(encoded: EncodedSegment): Promise<void> {
    const count = this.#pack.length + 1;
    const size = headerSize(count) + this.#stored + encoded.stored.length;
    if (count > MAX_SEGMENTS || size > MAX_PACK) await this.#closePack();
    this.#pack.push(encoded);
    if (encoded.codec === CODEC.zstd) {
      this.#memory.giveBack(encoded.raw);
      usedBuffers(2 * encoded.stored.length); // Its own memory, and the pieces that it was made in.
    }
    this.#stored += encoded.stored.length;
  }

  async #closePack(): Promise<void> {
    const segments = this.#pack;
    if (segments.length === 0) return;
    this.#pack = [];
    this.#stored = 0;
    const number = await this.#put([header(segments), ...segments.map((each) => each.stored)]);
    for (const { codec, raw } of segments) if (codec === CODEC.raw) this.#memory.giveBack(raw);
    const size = segments.reduce((sum, each) => sum + each.rawLength, 0);
    let start = 0;
    for (const { segment, rawLength } of segments) {
      segment.start = start;
      segment.pack = { number, size };
      start += rawLength;
    }
  }
}

function headerSize(segments: number): number {
  return 2 + 9 * segments;
}

function header(segments: readonly EncodedSegment[]): Uint8Array {
  const pieces = segments.flatMap(({ codec, rawLength, stored }) => [
    Uint8Array.of(codec),
    u32(rawLength),
    u32(stored.length),
  ]);
  return Buffer.concat([Uint8Array.of(VERSION, segments.length), ...pieces]);
}

/** Encodes the first `length` bytes of `raw`. */
async function encodeSegment(
  segment: Segment,
  raw: Uint8Array,
  length: number,
  compress: boolean,
): Promise<EncodedSegment> {
  const bytes = raw.subarray(0, length);
  const plain = { segment, raw, codec: CODEC.raw, rawLength: length, stored: bytes };
  if (!compress || !looksCompressible(bytes)) return plain;
  const stored = await compressAsync(bytes, { params: COMPRESSION, chunkSize: OUTPUT_SIZE });
  if (stored.length > length * WORTHWHILE) return plain;
  return { ...plain, codec: CODEC.zstd, stored };
}

/** Looks at a few samples: media, archives and ciphertext need no attempt. Their bytes are as good as equally frequent. */
function looksCompressible(raw: Uint8Array): boolean {
  if (raw.length <= SAMPLES * SAMPLE) return true;
  const stride = Math.floor((raw.length - SAMPLE) / (SAMPLES - 1));
  const frequencies = new Uint32Array(256);
  for (let i = 0; i < SAMPLES; i++)
    for (const byte of raw.subarray(i * stride, i * stride + SAMPLE))
      frequencies[byte] = (frequencies[byte] as number) + 1;
  return entropyOf(frequencies, SAMPLES * SAMPLE) <= MAX_ENTROPY;
}

/** Shannon's entropy of a byte, in bits, of `count` bytes of these frequencies. */
function entropyOf(frequencies: Uint32Array, count: number): number {
  let bits = 0;
  for (const frequency of frequencies) if (frequency > 0) bits -= frequency * Math.log2(frequency / count);
  return bits / count;
}
