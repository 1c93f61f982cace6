/** Two ends of a conversation, and peers that say exactly the bytes a test wants. */

import { duplexPair } from 'node:stream';
import { u32 } from '../../shared/bytes.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { streamIo } from '../../shared/wire/io.ts';
import type { ByteIo } from '../../shared/wire/io.ts';

/** Two connected ends over in-memory streams with back-pressure. */
export function connectedPair(): [ByteIo, ByteIo] {
  const [a, b] = duplexPair();
  return [streamIo(a, a), streamIo(b, b)];
}

/** `io`, but every read gives one byte, and every write is handed on byte by byte. */
export function byteByByte(io: ByteIo): ByteIo {
  return {
    read: (target) => io.read(target.subarray(0, 1)),
    async write(pieces) {
      for (const piece of pieces) for (const byte of piece) await io.write([Uint8Array.of(byte)]);
    },
  };
}

/** A peer under the test's control, seen from the session that talks to it. */
export class RawPeer {
  /** The session's end. */
  readonly io: ByteIo;
  /** Everything the session wrote. */
  written = Buffer.alloc(0);
  /** Bytes the session took so far, and the largest piece it offered room for. */
  taken = 0;
  largestRoom = 0;
  #waiting: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void) | undefined;
  #onWrite = new Set<() => void>();
  #stuck = false;

  constructor() {
    this.io = {
      read: async (target) => {
        this.largestRoom = Math.max(this.largestRoom, target.length);
        while (this.#waiting.length === 0) {
          if (this.#ended) return 0;
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
        const piece = this.#waiting.subarray(0, target.length);
        target.set(piece);
        this.#waiting = this.#waiting.subarray(piece.length);
        this.taken += piece.length;
        return piece.length;
      },
      write: async (pieces) => {
        if (this.#stuck) await new Promise(() => undefined);
        this.written = Buffer.concat([this.written, ...pieces]);
        for (const check of this.#onWrite) check();
      },
    };
  }

  say(...pieces: Uint8Array[]): this {
    this.#waiting = Buffer.concat([this.#waiting, ...pieces]);
    this.#wake?.();
    return this;
  }

  hangUp(): this {
    this.#ended = true;
    this.#wake?.();
    return this;
  }

  /** From now on the session's writes never complete. */
  stopReading(): this {
    this.#stuck = true;
    return this;
  }

  /** Waits until the session has written what satisfies `condition`. */
  async wrote(condition: (frames: WireFrame[]) => boolean): Promise<void> {
    const holds = () => condition(framesOf(this.written));
    await new Promise<void>((resolve) => {
      const check = () => {
        if (!holds()) return;
        this.#onWrite.delete(check);
        resolve();
      };
      this.#onWrite.add(check);
      check();
    });
  }
}

/** A frame as it is on the wire. */
export interface WireFrame {
  readonly type: number;
  readonly payload: Buffer;
}

/** The complete frames in `bytes`, which start with the magic. */
export function framesOf(bytes: Buffer): WireFrame[] {
  const frames: WireFrame[] = [];
  let at = MAGIC.length;
  while (at + 5 <= bytes.length) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    if (end > bytes.length) break;
    frames.push({ type: bytes.readUInt8(at), payload: bytes.subarray(at + 5, end) });
    at = end;
  }
  return frames;
}

/** A frame's bytes, whatever the type. */
export function frame(type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(type), u32(payload.length), payload]);
}

export const controlFrame = (type: number, value: unknown): Buffer => frame(type, encodeCbor(value));

/** The frames that every protocol has. */
export const end = (frames: number, bytes: number): Buffer => controlFrame(0x01, { frames, bytes });
export const error = (code: string, message: string): Buffer => controlFrame(0x02, { code, message });
export const credit = (bytes: number): Buffer => controlFrame(0x03, { bytes });
export const ping = (): Buffer => controlFrame(0x04, {});
