/**
 * One entry of a volume as the scanner reads it, the tree stores it and the restorer writes it
 * (docs/format.md, sections 8 and 9). Paths, names and targets are byte strings: any bytes but NUL.
 */

import type { ByteString } from '../shared/bytes.ts';

/** On-disk codes of section 8.1. */
export const TYPE = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  characterDevice: 6,
  blockDevice: 7,
  /** Left out of the backup: only the path is kept, and as `target` the reason. */
  skipped: 8,
} as const;
export type EntryType = (typeof TYPE)[keyof typeof TYPE];

/** The chattr(1) flags that ext4, xfs and btrfs all have, as in linux/fs.h. */
export const FILE_FLAGS = {
  synchronous: 0x08,
  immutable: 0x10,
  appendOnly: 0x20,
  noDump: 0x40,
  noAccessTime: 0x80,
} as const;
export const ALL_FILE_FLAGS = 0xf8;

/** A piece of a file's content: where it is in the file and in a pack, and its SHA-256. */
export interface Chunk {
  /** Zero bytes of the file before this chunk, since the end of the chunk before. */
  readonly gap: number;
  /** Bytes, 1 to MAX_CHUNK. */
  readonly length: number;
  /** SHA-256, 32 bytes. */
  readonly hash: Uint8Array;
  readonly place: Place;
}

/** Where a chunk is stored. */
export interface Place {
  /** Blob number of the pack. */
  readonly blob: number;
  /** Byte offset in the decompressed pack. */
  readonly offset: number;
  /** Decompressed size of that pack, in bytes: how much of it is still in use tells when to rewrite it. */
  readonly packSize: number;
}

/** An extended attribute; `value` is raw bytes. */
export interface Attribute {
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/** Seconds (may be negative) and nanoseconds (0 to 999,999,999) since 1970. */
export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface Entry {
  /** Relative to the volume's root; the root is the empty path. */
  readonly path: ByteString;
  readonly type: EntryType;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  /** Undefined where the owner cannot be mapped on this machine. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  readonly inode: number;
  /** Link count above 1, and not a directory: entries of the same inode are one file. */
  readonly linked: boolean;
  /** Changed while it was read: what is stored may mix two states. */
  readonly doubtful: boolean;
  /** Content (of a file) or names (of a directory) could not be read. */
  readonly unreadable: boolean;
  /** Sorted by name. */
  readonly attributes: readonly Attribute[];
  /** Regular files: size in bytes; else 0. */
  readonly size: number;
  /** Symlinks: the target; skipped: the reason; else empty. */
  readonly target: ByteString;
  /** Devices: [major, minor]; else [0, 0]. */
  readonly device: readonly [number, number];
  /** Portable chattr flags of regular files and directories (FILE_FLAGS); else 0. */
  readonly flags: number;
}

/** Sort key of path order: bytewise with `/` as 0x00, so that a directory's subtree follows it. */
export function pathKey(path: ByteString): string {
  return path.replaceAll('/', '\0');
}
