/**
 * Gathers chunks into packs (docs/format.md, section 7): chunks fill segments, segments are compressed on the thread
 * pool, and a pack closes before it would exceed its size.
 */

import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync } from 'node:zlib';
import { u32 } from '../shared/bytes.ts';
import { MAX_PACK, MAX_SEGMENT, MAX_SEGMENTS } from '../shared/limits.ts';
import { Segment, SegmentPlace } from './place.ts';

const compressAsync = promisify(zstdCompress);

const VERSION = 1;
const CODEC = { raw: 0, zstd: 1 } as const;
const LEVEL = 3;
/** Bytes the compressor writes at a time: its default of 16 KiB means a hundred callbacks a segment. */
const OUTPUT_SIZE = 512 * 1024;
/** Below this gain compression is not worth the reader's time. */
const WORTHWHILE = 0.98;
/** The probe for incompressible segments: so many samples of so many bytes each. */
const SAMPLES = 4;
const SAMPLE = 16 * 1024;
/** Segments being compressed or waiting to be sent; with the open pack and the one being sent, some 26 MiB. */
const MAX_IN_FLIGHT = 4;

interface EncodedSegment {
  readonly segment: Segment;
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
  /** The segment being filled. */
  #segment = new Segment();
  #raw = Buffer.alloc(0);
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
    if (this.#raw.length === 0) this.#raw = Buffer.allocUnsafeSlow(MAX_SEGMENT);
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
    const encoded = encodeSegment(segment, this.#raw.subarray(0, this.#used), this.#compress);
    this.#segment = new Segment();
    this.#raw = Buffer.alloc(0);
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
    this.#stored += encoded.stored.length;
  }

  async #closePack(): Promise<void> {
    const segments = this.#pack;
    if (segments.length === 0) return;
    this.#pack = [];
    this.#stored = 0;
    const number = await this.#put([header(segments), ...segments.map((each) => each.stored)]);
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

async function encodeSegment(segment: Segment, raw: Buffer, compress: boolean): Promise<EncodedSegment> {
  const plain = { segment, codec: CODEC.raw, rawLength: raw.length, stored: raw };
  if (!compress || !looksCompressible(raw)) return plain;
  const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
  const stored = await compressAsync(raw, { params, chunkSize: OUTPUT_SIZE });
  if (stored.length > raw.length * WORTHWHILE) return plain;
  return { segment, codec: CODEC.zstd, rawLength: raw.length, stored };
}

/** Tries a few samples, quickly: media, archives and ciphertext need no full attempt. */
function looksCompressible(raw: Buffer): boolean {
  if (raw.length <= SAMPLES * SAMPLE) return true;
  const stride = Math.floor((raw.length - SAMPLE) / (SAMPLES - 1));
  const samples = Array.from({ length: SAMPLES }, (_, i) => raw.subarray(i * stride, i * stride + SAMPLE));
  const probe = Buffer.concat(samples);
  const packed = zstdCompressSync(probe, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  return packed.length <= probe.length * WORTHWHILE;
}
