/** What statx(2) says of an entry. */

import { createHash } from 'node:crypto';
import type { ByteString } from '../shared/bytes.ts';
import type { Timestamp } from './entry.ts';
import { AT_SYMLINK_NOFOLLOW, LibcError, cString, run, sharedCString } from './libc.ts';

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

const statBuffer = new Uint8Array(256);
const statx = new DataView(statBuffer.buffer);
/** The last device of a file system that was seen, and its text: entries of one are met together. */
let lastDevice = { major: 0, minor: 0, text: '0:0' };

/** Metadata of `name` below `directory`; of a symlink itself, never of its target. Throws EOVERFLOW on a size beyond 2^53. */
export function statAt(directory: number, name: ByteString): Stat {
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  run('statx', directory, sharedCString(name), flags, STATX_BASIC_STATS, statBuffer);
  return readStat(statx);
}

/** Metadata of an open descriptor. Throws as {@link statAt}. */
export function statDescriptor(descriptor: number): Stat {
  run('statx', descriptor, EMPTY, AT_EMPTY_PATH, STATX_BASIC_STATS, statBuffer);
  return readStat(statx);
}

/** Offsets of struct statx (linux/stat.h). */
function readStat(b: DataView): Stat {
  const attributes = b.getUint32(8, true) & b.getUint32(56, true);
  return {
    links: b.getUint32(16, true),
    uid: b.getUint32(20, true),
    gid: b.getUint32(24, true),
    mode: b.getUint16(28, true),
    inode: foldInode(b.getUint32(36, true), b.getUint32(32, true)),
    size: readSize(b, 40),
    blocks: readU53(b, 48),
    ctime: readTime(b, 96),
    mtime: readTime(b, 112),
    device: [b.getUint32(128, true), b.getUint32(132, true)],
    fileSystem: deviceText(b.getUint32(136, true), b.getUint32(140, true)),
    mountRoot: (attributes & STATX_ATTR_MOUNT_ROOT) !== 0,
    attributes,
  };
}

/** Throws EOVERFLOW on one that no number is exact for, as xfs and memory have them: the tree stores none either. */
function readSize(b: DataView, at: number): number {
  const size = readU53(b, at);
  if (!Number.isSafeInteger(size))
    throw new LibcError('statx', EOVERFLOW, 'it says that it has 2^53 bytes or more');
  return size;
}

function readU53(b: DataView, at: number): number {
  return b.getUint32(at + 4, true) * 2 ** 32 + b.getUint32(at, true);
}

/** Seconds beyond +-2^52 (no file system of a VM reaches 2^36) are held at that bound: the tree stores no more. */
function readTime(b: DataView, at: number): Timestamp {
  const seconds = b.getInt32(at + 4, true) * 2 ** 32 + b.getUint32(at, true);
  return {
    seconds: Math.max(-(2 ** 52), Math.min(2 ** 52 - 1, seconds)),
    nanoseconds: b.getUint32(at + 8, true),
  };
}

function deviceText(major: number, minor: number): string {
  if (lastDevice.major !== major || lastDevice.minor !== minor)
    lastDevice = { major, minor, text: `${major}:${minor}` };
  return lastDevice.text;
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
