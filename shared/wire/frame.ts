/**
 * Frames: what travels over a service's stdio (docs/format.md, "Wire"). One byte of type, four bytes of
 * length (big endian), the payload. A frame's type and length are checked against the declared table before
 * its payload is read.
 */

import * as z from 'zod';
import { lengthOf } from '../bytes.ts';
import { encodeWith, decodeWith } from '../cbor.ts';
import { BackupError } from '../errors.ts';
import { FRAME_COST, MAX_CONTROL, MAX_TEXT } from '../limits.ts';
import { printable } from '../schema.ts';
import { usedBuffers } from '../young-memory.ts';
import type { ByteIo } from './io.ts';
import { PayloadMemory } from './payload-memory.ts';

/** First bytes of both directions: a login profile that prints to stdout, or a newer peer, is noticed here. */
export const MAGIC = Buffer.from('\x89QIB\r\n\x1a\x04', 'latin1');

/** A message of strict CBOR under a schema. Costs no credit; its size is capped by `max`. */
export interface ControlSpec<S extends z.ZodType = z.ZodType> {
  readonly form: 'control';
  readonly type: number;
  readonly max: number;
  readonly schema: S;
}

/** Raw bytes. Costs {@link creditFor} its length. */
export interface BulkSpec {
  readonly form: 'bulk';
  readonly type: number;
  readonly max: number;
}

/**
 * Strict CBOR under a schema in a bulk frame: one page of an answer that may have any number of them. Costs
 * {@link creditFor} its length, so that a receiver that takes its time holds the sender back.
 */
export interface PageSpec<S extends z.ZodType = z.ZodType> {
  readonly form: 'page';
  readonly type: number;
  readonly max: number;
  readonly schema: S;
}

export type FrameSpec = ControlSpec | BulkSpec | PageSpec;

/** The frames of one direction by name. */
export type FrameTable = Readonly<Record<string, FrameSpec>>;

/** What a frame of `Spec` carries. */
export type ValueOf<Spec> = Spec extends ControlSpec<infer S> | PageSpec<infer S> ? z.output<S> : Uint8Array;

/** Declares a control frame. `type` is 0x10 to 0x7f. */
export function control<S extends z.ZodType>(type: number, schema: S, max = MAX_CONTROL): ControlSpec<S> {
  return { form: 'control', type, max, schema };
}

/** Declares a bulk frame. `type` is 0x80 to 0xff. */
export function bulk(type: number, max: number): BulkSpec {
  return { form: 'bulk', type, max };
}

/** Declares a bulk frame of strict CBOR. `type` is 0x80 to 0xff. */
export function page<S extends z.ZodType>(type: number, schema: S, max: number): PageSpec<S> {
  return { form: 'page', type, max, schema };
}

/** Frames that every session has in both directions. */
export const COMMON = {
  /** The last frame: how many frames and bytes of frames went before it. A stream that ends without it was cut. */
  end: control(0x01, z.strictObject({ frames: z.int().min(0), bytes: z.int().min(0) })),
  /** The peer gives up, and why. The last frame, too. */
  error: control(0x02, z.strictObject({ code: printable(32), message: printable(MAX_TEXT) })),
  /** The receiver of bulk frames allows `bytes` more of them. */
  credit: control(
    0x03,
    z.strictObject({
      bytes: z
        .int()
        .min(1)
        .max(2 ** 32),
    }),
  ),
  /** The sender lives. */
  ping: control(0x04, z.strictObject({})),
} as const satisfies FrameTable;

/** A service: its name and the frames of both directions. */
export interface Protocol<
  ToService extends FrameTable = FrameTable,
  ToCaller extends FrameTable = FrameTable,
> {
  readonly service: `qubes.Backup${string}`;
  readonly toService: ToService;
  readonly toCaller: ToCaller;
}

export const HEADER_SIZE = 5;

/** Payloads below this many bytes have no allocation of their own. */
const SHARED = 2048;

/** The credit that a bulk frame of `length` payload bytes costs its sender. */
export function creditFor(length: number): number {
  return length + FRAME_COST;
}

/** Header and payload of a frame, ready to write. Throws `internal` on a value its own spec refuses. */
export function encodeFrame(spec: FrameSpec, value: unknown): Uint8Array[] {
  const pieces: readonly Uint8Array[] =
    spec.form !== 'bulk'
      ? [encodeWith(spec.schema, value)]
      : Array.isArray(value)
        ? (value as Uint8Array[])
        : [value as Uint8Array];
  const length = lengthOf(pieces);
  if (length > spec.max)
    throw new BackupError('internal', `frame type ${spec.type} of ${length} bytes is over its cap`);
  const header = Buffer.alloc(HEADER_SIZE);
  header[0] = spec.type;
  header.writeUInt32BE(length, 1);
  return [header, ...pieces];
}

/** One received frame: its name in the table, and its still undecoded payload in memory of its own. */
export interface RawFrame {
  readonly name: string;
  readonly spec: FrameSpec;
  readonly payload: Uint8Array;
}

/** Decodes a payload by its schema; bulk payloads stay as they are. */
export function decodeFrame(frame: RawFrame): unknown {
  return frame.spec.form !== 'bulk' ? decodeWith(frame.spec.schema, frame.payload) : frame.payload;
}

/** Takes frames off a byte stream. `admit` sees type and length before the payload is read, and may throw. */
export class FrameReader {
  /** Where payloads get their memory from, and to where it may be given back. */
  readonly memory = new PayloadMemory();
  readonly #io: ByteIo;
  readonly #specs = new Map<number, [string, FrameSpec]>();
  readonly #admit: (spec: FrameSpec, length: number) => void;
  readonly #onBytes: (ofPayload: number) => void;
  readonly #buffer = new Uint8Array(64 * 1024);
  #start = 0;
  #end = 0;

  constructor(
    io: ByteIo,
    table: FrameTable,
    hooks: {
      admit: (spec: FrameSpec, length: number) => void;
      /** Something came; so many bytes at least of the payload of a bulk frame or page. */
      onBytes: (ofPayload: number) => void;
    },
  ) {
    this.#io = io;
    this.#admit = hooks.admit;
    this.#onBytes = hooks.onBytes;
    for (const [name, spec] of Object.entries({ ...COMMON, ...table }))
      this.#specs.set(spec.type, [name, spec]);
  }

  /** Throws `protocol` unless the peer speaks this protocol and version. */
  async readMagic(): Promise<void> {
    const magic = Buffer.alloc(MAGIC.length);
    await this.#fill(magic);
    if (magic.equals(MAGIC)) return;
    const start = MAGIC.subarray(0, 7).equals(magic.subarray(0, 7));
    throw new BackupError(
      'protocol',
      start
        ? `speaks version ${magic.readUInt8(7)} of the protocol; this program speaks version ${MAGIC.readUInt8(7)}: update both`
        : 'did not start with the protocol’s magic: does a login profile of that VM print to stdout?',
    );
  }

  async next(): Promise<RawFrame> {
    const header = Buffer.alloc(HEADER_SIZE);
    await this.#fill(header);
    const untrustedType = header.readUInt8(0);
    const untrustedLength = header.readUInt32BE(1);
    const known = this.#specs.get(untrustedType);
    if (known === undefined)
      throw new BackupError('protocol', `sent a frame of unknown type ${untrustedType}`);
    const [name, spec] = known;
    if (untrustedLength > spec.max) {
      throw new BackupError(
        'protocol',
        `sent a ${name} frame of ${untrustedLength} bytes, ${spec.max} are allowed`,
      );
    }
    this.#admit(spec, untrustedLength);
    // Not zeroed first, because every byte is read from the peer; large ones are memory of their own, of small ones a
    // flood may wait in the queue: they share.
    const payload =
      untrustedLength < SHARED ? Buffer.allocUnsafe(untrustedLength) : this.memory.take(untrustedLength);
    await this.#fill(payload, spec.form !== 'control');
    usedBuffers(2 * untrustedLength);
    return { name, spec, payload };
  }

  async #fill(target: Uint8Array, isBulk = false): Promise<void> {
    let filled = 0;
    while (filled < target.length) {
      if (this.#start < this.#end) {
        const piece = this.#buffer.subarray(
          this.#start,
          Math.min(this.#end, this.#start + target.length - filled),
        );
        target.set(piece, filled);
        filled += piece.length;
        this.#start += piece.length;
        continue;
      }
      // Large payloads go straight to their place, small frames come many to a read.
      const direct = target.length - filled >= this.#buffer.length;
      const count = await this.#io.read(direct ? target.subarray(filled) : this.#buffer);
      if (count === 0) throw new BackupError('service-died', 'ended in the middle of the conversation');
      this.#onBytes(isBulk ? Math.min(count, target.length - filled) : 0);
      if (direct) filled += count;
      else {
        this.#start = 0;
        this.#end = count;
      }
    }
  }
}
