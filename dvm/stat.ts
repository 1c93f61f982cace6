/** What statx(2) says of an entry. */

import { createHash } from 'node:crypto';
import type { ByteString } from '../shared/bytes.ts';
import type { Timestamp } from './entry.ts';
import { AT_SYMLINK_NOFOLLOW, LibcError, cString, run } from './libc.ts';

/** Linux x86-64 constants (fcntl.h, linux/stat.h, errno.h). */
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_ATTR_MOUNT_ROOT = 0x2000;
const EOVERFLOW = 75;

const EMPTY = cString('');

/** What statx(2) says. */
export interface Stat {
  /** Type bits (S_IFMT) and the low 12 bits of permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** Units of 512 bytes. */
  readonly blocks: number;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  /** Exact up to 2^52; a larger one is folded (see {@link foldInode}). */
  readonly inode: number;
  readonly links: number;
  /** Device of the file system, as one comparable text. */
  readonly fileSystem: string;
  /** Major and minor of a device node. */
  readonly device: readonly [number, number];
  /** The root of a mount (Linux 5.8 and later; false before). */
  readonly mountRoot: boolean;
  /** STATX_ATTR_* bits that the file system knows. */
  readonly attributes: number;
}

const statBuffer = Buffer.alloc(256);

/** Metadata of `name` below `directory`; of a symlink itself, never of its target. Throws EOVERFLOW on a size beyond 2^53. */
export function statAt(directory: number, name: ByteString): Stat {
  run(
    'statx',
    directory,
    cString(name),
    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
    STATX_BASIC_STATS,
    statBuffer,
  );
  return readStat(statBuffer);
}

/** Metadata of an open descriptor. Throws as {@link statAt}. */
export function statDescriptor(descriptor: number): Stat {
  run('statx', descriptor, EMPTY, AT_EMPTY_PATH, STATX_BASIC_STATS, statBuffer);
  return readStat(statBuffer);
}

/** Offsets of struct statx (linux/stat.h). */
function readStat(b: Buffer): Stat {
  const attributes = b.readUInt32LE(8) & b.readUInt32LE(56);
  return {
    links: b.readUInt32LE(16),
    uid: b.readUInt32LE(20),
    gid: b.readUInt32LE(24),
    mode: b.readUInt16LE(28),
    inode: foldInode(b.readUInt32LE(36), b.readUInt32LE(32)),
    size: readSize(b, 40),
    blocks: readU53(b, 48),
    ctime: readTime(b, 96),
    mtime: readTime(b, 112),
    device: [b.readUInt32LE(128), b.readUInt32LE(132)],
    fileSystem: `${b.readUInt32LE(136)}:${b.readUInt32LE(140)}`,
    mountRoot: (attributes & STATX_ATTR_MOUNT_ROOT) !== 0,
    attributes,
  };
}

/** Throws EOVERFLOW on one that no number is exact for, as xfs and memory have them: the tree stores none either. */
function readSize(b: Buffer, at: number): number {
  const size = readU53(b, at);
  if (!Number.isSafeInteger(size))
    throw new LibcError('statx', EOVERFLOW, 'it says that it has 2^53 bytes or more');
  return size;
}

function readU53(b: Buffer, at: number): number {
  return b.readUInt32LE(at + 4) * 2 ** 32 + b.readUInt32LE(at);
}

/** Seconds beyond +-2^52 (no file system of a VM reaches 2^36) are held at that bound: the tree stores no more. */
function readTime(b: Buffer, at: number): Timestamp {
  const seconds = b.readInt32LE(at + 4) * 2 ** 32 + b.readUInt32LE(at);
  return {
    seconds: Math.max(-(2 ** 52), Math.min(2 ** 52 - 1, seconds)),
    nanoseconds: b.readUInt32LE(at + 8),
  };
}

/**
 * An inode number as an exact double. Numbers of 2^52 and above (some network, overlay and 64-bit file
 * systems) become 2^52 plus 52 bits of their SHA-256: an identity still, up to a chance of 2^-52 for a pair.
 */
export function foldInode(high: number, low: number): number {
  if (high < 2 ** 20) return high * 2 ** 32 + low;
  const exact = Buffer.alloc(8);
  exact.writeUInt32LE(low, 0);
  exact.writeUInt32LE(high, 4);
  const digest = createHash('sha256').update(exact).digest();
  return 2 ** 52 + (digest.readUInt32LE(4) % 2 ** 20) * 2 ** 32 + digest.readUInt32LE(0);
}
