/**
 * The stream of `qubes.Filecopy` (qubes-linux-utils, qrexec-lib: libqubes-rpc-filecopy.h, pack.c, unpack.c): for each
 * entry a header of 32 bytes, its name with a final NUL, and its content or target; a directory once more after all
 * that is in it; a header of zeros ends it. Numbers are little endian. What a receiver refuses ends the whole
 * transfer, so both sides know here what it refuses.
 */

import type { ByteString } from '../shared/bytes.ts';

export const HEADER_SIZE = 32;
/** Longest name, without its NUL: the receiver uses names whole, and a path has at most 4,095 bytes (PATH_MAX). */
export const MAX_NAME = 4095;
/** Longest target of a symlink, by the same limit. */
export const MAX_TARGET = 4095;
/** Latest second that a header holds. */
export const MAX_SECONDS = 2 ** 32 - 1;

/** Type bits of st_mode: all that the stream carries. */
export const KIND = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];
export const KIND_MASK = 0o170000;

export interface FileHeader {
  /** Bytes of the name with its NUL; 0 in the header that ends the stream. */
  readonly nameSize: number;
  /** Type bits and the low 12 bits of st_mode. */
  readonly mode: number;
  /** Bytes of content, or of a symlink's target; 0 for a directory. */
  readonly size: number;
  readonly seconds: number;
  readonly nanoseconds: number;
}

export const END: FileHeader = { nameSize: 0, mode: 0, size: 0, seconds: 0, nanoseconds: 0 };

/** The access time is the modification time: snapshots have no other. */
export function encodeFileHeader({ nameSize, mode, size, seconds, nanoseconds }: FileHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_SIZE);
  bytes.writeUInt32LE(nameSize, 0);
  bytes.writeUInt32LE(mode, 4);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  for (const at of [16, 24]) {
    bytes.writeUInt32LE(seconds, at);
    bytes.writeUInt32LE(nanoseconds, at + 4);
  }
  return bytes;
}

/** A size beyond 2^53 comes out inexact, and is larger than any file. */
export function decodeFileHeader(untrusted: Buffer): FileHeader {
  return {
    nameSize: untrusted.readUInt32LE(0),
    mode: untrusted.readUInt32LE(4),
    size: Number(untrusted.readBigUInt64LE(8)),
    seconds: untrusted.readUInt32LE(24),
    nanoseconds: untrusted.readUInt32LE(28),
  };
}

/** Printable ASCII: what every receiver takes. For other names it is called with the argument `allow-all-names`. */
export function isPlain(text: ByteString): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

/** Relative, of plain components: no `.`, `..` or empty one. */
export function isCanonical(name: ByteString): boolean {
  return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/**
 * Whether a symlink called `name` may have this target: relative, with `..` only at its beginning, and not so many
 * that it leaves the first component of `name`.
 */
export function isSafeTarget(name: ByteString, target: ByteString): boolean {
  const depth = name.split('/').length;
  const parts = target.replace(/\/$/, '').split('/');
  const down = parts.findIndex((part) => part !== '..');
  const up = down < 0 ? parts.length : down;
  const rest = parts.slice(up);
  return depth >= 2 && up <= depth - 2 && rest.every((part) => part !== '' && part !== '.' && part !== '..');
}
