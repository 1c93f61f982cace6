/**
 * Byte helpers shared by every part: fixed-width big-endian integers, LEB128 varints, comparison, text.
 * Nothing here allocates from a length it was told; callers check caps first.
 */

import { BackupError } from './errors.ts';

/** One byte per character (U+0000 to U+00FF): a file name or path of any bytes as a compact, comparable string. */
export type ByteString = string & { readonly __brand: 'ByteString' };

/** The bytes of `text`, one per character. */
export function bytesOf(text: ByteString): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/** `bytes` as a string of one character per byte. */
export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') as ByteString;
}

export function utf8(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function concat(pieces: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(pieces);
}

/** Bytes in all of `pieces`. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/** -1, 0 or 1 by unsigned bytes, a prefix first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** Fixed-width big-endian writer and reader positions are the caller's: these are the primitives. */
export function u32(value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

export function u64(value: number): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}

/** Reads a u64; throws `protocol` above 2^53 - 1. */
export function readU64(bytes: Uint8Array, at: number): number {
  const value = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new BackupError('protocol', 'a 64-bit number is out of range');
  return Number(value);
}

/** Appends `value` (0 to 2^53 - 1) to `out` as an unsigned LEB128 varint. */
export function pushVarint(out: number[], value: number): void {
  while (value >= 0x80) {
    out.push((value % 0x80) | 0x80);
    value = Math.floor(value / 0x80);
  }
  out.push(value);
}

/**
 * A cursor over untrusted bytes. Every read is bounds-checked and throws `store-damaged`; varints must be
 * minimal and at most 2^53 - 1.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw truncated();
    this.#at += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new BackupError('store-damaged', 'a varint is out of range');
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw new BackupError('store-damaged', 'a varint is not minimal');
        return value;
      }
      scale *= 0x80;
      if (scale > 2 ** 53) throw new BackupError('store-damaged', 'a varint is too long');
    }
  }

  /** The next `length` bytes, as a view into the input. */
  take(length: number): Uint8Array {
    if (length > this.remaining) throw truncated();
    const piece = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return piece;
  }
}

function truncated(): BackupError {
  return new BackupError('store-damaged', 'data ends too early');
}

/**
 * `text` as printable ASCII: a backslash doubles, every other byte outside 0x20-0x7e becomes `\xHH`.
 * What dom0 shows of another VM's names has been through this, in the VM that read them.
 */
export function escapeText(text: ByteString): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) out += '\\\\';
    else if (code >= 0x20 && code <= 0x7e) out += text.charAt(i);
    else out += `\\x${code.toString(16).padStart(2, '0')}`;
  }
  return out;
}

/** The inverse of {@link escapeText} for what a person typed: non-ASCII characters stand for their UTF-8 bytes. */
export function unescapeText(text: string): ByteString {
  const raw = byteString(utf8(text));
  const out = raw.replace(
    /\\(?:x([0-9a-fA-F]{2})|([\s\S]?))/g,
    (_whole, code: string | undefined, other: string) => {
      if (code !== undefined) return String.fromCharCode(parseInt(code, 16));
      if (other === '\\') return '\\';
      throw new BackupError('usage', `in a path a backslash is written \\\\ and a byte \\xHH: ${text}`);
    },
  );
  return out as ByteString;
}
