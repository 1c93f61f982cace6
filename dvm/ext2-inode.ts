/** Reads struct ext2_inode_large (ext2_fs.h of e2fsprogs) as the kernel does. Little endian. */

import { ALL_FILE_FLAGS, TYPE } from './entry.ts';
import type { Timestamp } from './entry.ts';
import { Ext2fsError } from './ext2fs.ts';
import type { Stat } from './stat.ts';
import { TYPE_OF_MODE } from './walk.ts';
import type { Found } from './walk.ts';

/** i_flags. */
const FLAG = { encrypted: 0x800, extents: 0x80000, inlineData: 0x10000000 } as const;

/** Offset of the block map, which may be a link's target or a device's number instead. */
const BLOCK_MAP = 0x28;
/** Size of an inode without the fields that were added with ext4. */
const SMALL = 128;

export interface Inode {
  readonly number: number;
  readonly type: Found['type'];
  readonly stat: Stat;
  /** Portable chattr flags. */
  readonly flags: number;
  readonly encrypted: boolean;
  readonly hasExtents: boolean;
  readonly isInline: boolean;
  /** As on disk. */
  readonly bytes: Buffer;
}

/** Throws Ext2fsError if it is of no known type, or its size is beyond 2^53. */
export function decodeInode(number: number, bytes: Buffer): Inode {
  const mode = bytes.readUInt16LE(0);
  const type = TYPE_OF_MODE.get(mode & 0o170000);
  if (type === undefined) throw new Ext2fsError('inode', `inode ${number} is of no known type`);
  const size = bytes.readUInt32LE(0x6c) * 2 ** 32 + bytes.readUInt32LE(4);
  if (!Number.isSafeInteger(size)) throw new Ext2fsError('inode', `inode ${number} is of an absurd size`);
  const flags = bytes.readUInt32LE(0x20);
  return {
    number,
    type,
    stat: {
      mode,
      uid: bytes.readUInt16LE(0x02) + bytes.readUInt16LE(0x78) * 2 ** 16,
      gid: bytes.readUInt16LE(0x18) + bytes.readUInt16LE(0x7a) * 2 ** 16,
      size,
      blocks: bytes.readUInt32LE(0x1c) + bytes.readUInt16LE(0x74) * 2 ** 32,
      mtime: timeAt(bytes, 0x10, 0x88),
      ctime: timeAt(bytes, 0x0c, 0x84),
      inode: number,
      links: bytes.readUInt16LE(0x1a),
      fileSystem: '',
      device: type === TYPE.characterDevice || type === TYPE.blockDevice ? deviceOf(bytes) : [0, 0],
      mountRoot: false,
      attributes: 0,
    },
    flags: flags & ALL_FILE_FLAGS,
    encrypted: (flags & FLAG.encrypted) !== 0,
    hasExtents: (flags & FLAG.extents) !== 0,
    isInline: (flags & FLAG.inlineData) !== 0,
    bytes,
  };
}

/** The target of a symlink that lies in the inode. */
export function fastTarget(inode: Inode): Buffer {
  return inode.bytes.subarray(BLOCK_MAP, BLOCK_MAP + Math.min(inode.stat.size, 60));
}

/** Signed seconds at `at`; if the inode has the field at `extra`: two more bits of seconds, and nanoseconds. */
function timeAt(bytes: Buffer, at: number, extra: number): Timestamp {
  const seconds = bytes.readInt32LE(at);
  const added = bytes.length > SMALL ? bytes.readUInt16LE(SMALL) : 0; // i_extra_isize
  if (extra + 4 > SMALL + added || extra + 4 > bytes.length) return { seconds, nanoseconds: 0 };
  const more = bytes.readUInt32LE(extra);
  return { seconds: seconds + (more & 3) * 2 ** 32, nanoseconds: more >>> 2 };
}

/** Major and minor: in 8 bits each in the first word of the map, or in 12 and 20 bits in the second. */
function deviceOf(bytes: Buffer): readonly [number, number] {
  const old = bytes.readUInt32LE(BLOCK_MAP);
  if (old !== 0) return [(old >>> 8) & 0xff, old & 0xff];
  const device = bytes.readUInt32LE(BLOCK_MAP + 4);
  return [(device >>> 8) & 0xfff, (device & 0xff) | ((device >>> 12) & 0xfff00)];
}
