/**
 * Whether what a peer said may be believed at all, judged apart from the product's own reader: strict frames, strict
 * CBOR, the fields that honest frames have, printable text, and right counts at the end.
 */

import { COMMON } from '../../shared/wire/frame.ts';
import type { FrameSpec, FrameTable } from '../../shared/wire/frame.ts';
import { END, MAGIC } from './peer/altered.ts';
import { protocolOf } from './program.ts';

/** Names of the fields of each map in honest frames, by frame type and place in it. */
export type Shapes = Map<string, Set<string>>;

const HEADER = 5;
const KEY = /^[a-z][A-Za-z0-9]{0,31}$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

class Wrong extends Error {}

function refuse(what: string): never {
  throw new Wrong(what);
}

/** Learns what honest frames of `service` look like. */
export function learn(service: string, said: Uint8Array, shapes: Shapes): void {
  readAll(service, Buffer.from(said), (place, keys) => {
    const known = shapes.get(place) ?? new Set();
    shapes.set(place, known.add(keys));
  });
}

/** What is wrong with a whole conversation; undefined if nothing is. */
export function problemOf(service: string, said: Uint8Array, shapes: Shapes): string | undefined {
  try {
    readAll(service, Buffer.from(said), (place, keys) => {
      const known = shapes.get(place);
      if (known !== undefined && !known.has(keys)) refuse(`fields ${keys} at ${place}`);
    });
    return undefined;
  } catch (error) {
    if (error instanceof Wrong || error instanceof RangeError) return error.message;
    throw error;
  }
}

type Visit = (place: string, keys: string) => void;

function readAll(service: string, said: Buffer, visit: Visit): void {
  if (!said.subarray(0, MAGIC.length).equals(MAGIC)) refuse('no magic');
  const table: FrameTable = { ...COMMON, ...protocolOf(service).toCaller };
  const specs = new Map<number, FrameSpec>(Object.values(table).map((spec) => [spec.type, spec]));
  let frames = 0;
  for (let at = MAGIC.length; ;) {
    if (at + HEADER > said.length) refuse('no final frame');
    const type = said.readUInt8(at);
    const length = said.readUInt32BE(at + 1);
    const spec = specs.get(type);
    if (spec === undefined || length > spec.max) refuse(`a frame of type ${type} and ${length} bytes`);
    const next = at + HEADER + length;
    if (next > said.length) refuse('half a frame');
    const payload = said.subarray(at + HEADER, next);
    if (spec.form !== 'bulk') new Reader(payload, visit).readWhole(`${service} ${type}`);
    if (type === END) {
      const counts = Buffer.from(payload);
      if (!counts.equals(expectedEnd(frames, at - MAGIC.length))) refuse('wrong counts');
      return;
    }
    frames += 1;
    at = next;
  }
}

function expectedEnd(frames: number, bytes: number): Buffer {
  const text = (value: string) =>
    Buffer.concat([Buffer.of(0x60 + value.length), Buffer.from(value, 'latin1')]);
  return Buffer.concat([Buffer.of(0xa2), text('bytes'), numberOf(bytes), text('frames'), numberOf(frames)]);
}

function numberOf(value: number): Buffer {
  if (value < 24) return Buffer.of(value);
  if (value < 256) return Buffer.of(24, value);
  if (value < 65_536) return Buffer.of(25, value >> 8, value & 255);
  const bytes = Buffer.alloc(5, 26);
  bytes.writeUInt32BE(value, 1);
  return bytes;
}

/** A reader of the CBOR that is allowed, written for clearness. */
class Reader {
  readonly #bytes: Buffer;
  readonly #visit: Visit;
  #at = 0;

  constructor(bytes: Buffer, visit: Visit) {
    this.#bytes = bytes;
    this.#visit = visit;
  }

  readWhole(place: string): void {
    this.#item(place, 0);
    if (this.#at !== this.#bytes.length) refuse('bytes after the message');
  }

  #item(place: string, depth: number): void {
    if (depth > 8) refuse('nested too deeply');
    const first = this.#bytes.readUInt8(this.#at++);
    const major = first >> 5;
    if (major === 7) {
      if (first < 0xf4 || first > 0xf6) refuse('a simple value');
      return;
    }
    const value = this.#number(first & 31);
    if (major === 1 || major === 6) refuse('a negative number or a tag');
    if (major === 2) this.#take(value);
    if (major === 3 && !PRINTABLE.test(this.#take(value).toString('latin1'))) refuse('unprintable text');
    if (major === 4) for (let i = 0; i < value; i++) this.#item(`${place}[]`, depth + 1);
    if (major === 5) this.#map(place, value, depth);
  }

  #map(place: string, pairs: number, depth: number): void {
    const keys: string[] = [];
    for (let i = 0; i < pairs; i++) {
      const first = this.#bytes.readUInt8(this.#at++);
      if (first >> 5 !== 3) refuse('a key that is no text');
      const key = this.#take(this.#number(first & 31)).toString('latin1');
      if (!KEY.test(key)) refuse(`the key ${JSON.stringify(key)}`);
      keys.push(key);
      this.#item(`${place}.${key}`, depth + 1);
    }
    const sorted = [...new Set(keys)].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
    if (sorted.join() !== keys.join()) refuse('keys out of order, or twice');
    this.#visit(place, keys.join());
  }

  #number(info: number): number {
    if (info < 24) return info;
    if (info > 27) refuse('an unstated length');
    const size = 1 << (info - 24);
    const hex = this.#take(size).toString('hex');
    const value = BigInt(`0x${hex}`);
    const least = info === 24 ? 24n : 1n << BigInt(4 * size);
    if (value < least) refuse('a long form');
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) refuse('a number too large');
    return Number(value);
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) refuse('more than there is');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}
