/** The stream of qubes.Filecopy and its answer, written and read without any code of the product. */

import { crc32 } from 'node:zlib';

export interface Sent {
  /** One character a byte, without the NUL. */
  readonly name: string;
  /** With the type bits. */
  readonly mode: number;
  readonly content?: Uint8Array | string;
  readonly mtime?: readonly [seconds: number, nanoseconds: number];
  /** Instead of the content's own size. */
  readonly size?: bigint;
}

export const END = Buffer.alloc(32);

/** One entry of a stream. */
export function entry({ name, mode, content = '', mtime = [1_600_000_000, 5], size }: Sent): Buffer {
  const body = Buffer.from(content);
  const header = Buffer.alloc(32);
  header.writeUInt32LE(name.length + 1, 0);
  header.writeUInt32LE(mode, 4);
  header.writeBigUInt64LE(size ?? BigInt(body.length), 8);
  header.writeUInt32LE(mtime[0], 24);
  header.writeUInt32LE(mtime[1], 28);
  return Buffer.concat([header, Buffer.from(`${name}\0`, 'latin1'), body]);
}

/** The entries of a whole stream, in order. Throws on anything after its end. */
export function entriesOf(stream: Buffer): Required<Omit<Sent, 'size'>>[] {
  const found: Required<Omit<Sent, 'size'>>[] = [];
  let at = 0;
  for (;;) {
    const nameSize = stream.readUInt32LE(at);
    if (nameSize === 0) break;
    const name = stream.toString('latin1', at + 32, at + 31 + nameSize);
    if (stream[at + 31 + nameSize] !== 0) throw new Error(`no NUL after ${name}`);
    const start = at + 32 + nameSize;
    const end = start + Number(stream.readBigUInt64LE(at + 8));
    found.push({
      name,
      mode: stream.readUInt32LE(at + 4),
      content: stream.subarray(start, end),
      mtime: [stream.readUInt32LE(at + 24), stream.readUInt32LE(at + 28)],
    });
    at = end;
  }
  if (!stream.subarray(at).equals(END)) throw new Error('the stream does not end with a header of zeros');
  return found;
}

/** What a receiver answers; `name` undefined: one of the older ones, which name nothing. */
export function answer(code: number, crc: number, name?: string): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32LE(code, 0);
  fixed.writeBigUInt64LE(BigInt(crc), 8);
  if (name === undefined) return fixed;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(name.length);
  return Buffer.concat([fixed, length, Buffer.from(name, 'latin1')]);
}

export const checksum = (...pieces: Uint8Array[]): number =>
  pieces.reduce((sum, piece) => crc32(piece, sum), 0);
