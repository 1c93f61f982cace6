/**
 * libext2fs of e2fsprogs (libext2fs.so.2): reads an ext2, ext3 or ext4 file system in a file, without mounting it. It
 * says what inodes there are and where their bytes lie; the bytes themselves are read from the file.
 *
 * The library is loaded with the first image, as no other job needs it. Whoever opens an image checks it first
 * (ext4-check.ts): what passed e2fsck is sound. All the same every length is held against its buffer here, and what
 * the library refuses is an {@link Ext2fsError}.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import koffi from 'koffi';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError, messageOf } from '../shared/errors.ts';
import { MAX_ATTRIBUTES } from './access.ts';
import type { Attribute } from './entry.ts';
import { LibcError } from './libc.ts';
import { diskAttribute } from './posix-acl.ts';

type Argument = number | bigint | Uint8Array | string | null;
type Call = (...args: Argument[]) => number | bigint;
/** Called for each name of a directory: inode of the directory, kind of entry, pointer to the entry, its offset, size and pointer of the buffer. */
type NameVisitor = (
  a: number,
  kind: number,
  entry: bigint,
  at: number,
  size: number,
  buffer: bigint,
) => number;
/** Called for each attribute: pointer to its name. */
type AttributeVisitor = (name: bigint) => number;
/** Called for each block of a file: the file system, pointer to the block's number, the block's index in the file. */
type BlockVisitor = (fs: bigint, block: bigint, index: number | bigint) => number;

/** com_err codes of ext2_err.h. */
const NO_NEXT_EXTENT = 2133571452;
const NO_NODE_BELOW = 2133571455;
const ENOKEY = 126;
const EIO = 5;
const E2BIG = 7;

/** ext2fs.h, ext2_fs.h. */
const OPEN_64_BIT = 0x20000;
const DIRENT_HEADER = 8;
const EXTENT_ROOT = 1;
const EXTENT_NEXT = 9;
const EXTENT_IS_LEAF = 1;
const EXTENT_IS_UNWRITTEN = 2;
const EXTENT_SECOND_VISIT = 4;
const BLOCKS_DATA_ONLY = 4;
const BLOCKS_READ_ONLY = 8;
const BLOCKS_ABORT = 2;

/** Runs of blocks that are kept of a file without extents: a hostile one has a run for every second block. */
const MAX_RUNS = 2 ** 22;

/** What the library, or a check of ours, found wrong with the file system: an input or output error for the caller. */
export class Ext2fsError extends LibcError {
  constructor(call: string, reason: string) {
    super(call, EIO);
    this.message = `${call}: ${reason}`;
  }
}

/** Bytes of a file that lie in one piece on the disk; all in bytes. */
export interface Run {
  readonly start: number;
  readonly end: number;
  /** Where `start` is in the image. */
  readonly place: number;
}

/** The written parts of one file, found in ascending order. */
export interface BlockMap {
  /** The first run that ends after `position`, or undefined if only a hole follows. */
  find(position: number): Run | undefined;
  close(): void;
}

function load() {
  const library = koffi.load('libext2fs.so.2');
  const messages = koffi.load('libcom_err.so.2');
  const bind = (signature: string): Call => library.func(signature);
  const visitName = koffi.proto('int VisitName(uint32_t, int, void *, int, int, void *, void *)');
  const visitAttribute = koffi.proto('int VisitAttribute(void *, void *, size_t, void *)');
  const visitBlock = koffi.proto('int VisitBlock(void *, void *, int64_t, uint64_t, int, void *)');
  bind('void initialize_ext2_error_table()')();
  const manager: unknown = koffi.decode(library.symbol('unix_io_manager'), 'void *');
  if (typeof manager !== 'bigint') throw new Error('unix_io_manager is no pointer');
  const iterateNames: (
    fs: bigint,
    inode: number,
    flags: number,
    buffer: Uint8Array,
    visit: NameVisitor,
    data: null,
  ) => number = library.func('ext2fs_dir_iterate2', 'long', [
    ...['void *', 'uint32_t', 'int', 'void *', koffi.pointer(visitName), 'void *'],
  ]);
  const iterateAttributes: (handle: bigint, visit: AttributeVisitor, data: null) => number = library.func(
    'ext2fs_xattrs_iterate',
    'long',
    ['void *', koffi.pointer(visitAttribute), 'void *'],
  );
  const iterateBlocks: (
    fs: bigint,
    inode: number,
    flags: number,
    buffer: null,
    visit: BlockVisitor,
    data: null,
  ) => number = library.func('ext2fs_block_iterate3', 'long', [
    ...['void *', 'uint32_t', 'int', 'void *', koffi.pointer(visitBlock), 'void *'],
  ]);
  const message: (code: number) => string = messages.func('const char *error_message(long)');
  return {
    manager,
    message,
    iterateNames,
    iterateAttributes,
    iterateBlocks,
    calls: {
      ext2fs_open: bind('long ext2fs_open(void *, int, int, uint32_t, void *, void *)'),
      ext2fs_close_free: bind('long ext2fs_close_free(void *)'),
      ext2fs_read_inode_full: bind('long ext2fs_read_inode_full(void *, uint32_t, void *, int)'),
      ext2fs_inline_data_size: bind('long ext2fs_inline_data_size(void *, uint32_t, void *)'),
      ext2fs_inline_data_get: bind('long ext2fs_inline_data_get(void *, uint32_t, void *, void *, void *)'),
      ext2fs_extent_open2: bind('long ext2fs_extent_open2(void *, uint32_t, void *, void *)'),
      ext2fs_extent_get: bind('long ext2fs_extent_get(void *, int, void *)'),
      ext2fs_xattrs_open: bind('long ext2fs_xattrs_open(void *, uint32_t, void *)'),
      ext2fs_xattrs_read: bind('long ext2fs_xattrs_read(void *)'),
      ext2fs_xattr_get: bind('long ext2fs_xattr_get(void *, const char *, void *, void *)'),
      ext2fs_xattrs_close: bind('long ext2fs_xattrs_close(void *)'),
      ext2fs_free_mem: bind('long ext2fs_free_mem(void *)'),
    },
    isFastSymlink: bind('int ext2fs_is_fast_symlink(void *)'),
    freeExtents: bind('void ext2fs_extent_free(void *)'),
  };
}

type Library = ReturnType<typeof load>;
let loaded: Library | undefined;

function library(): Library {
  try {
    return (loaded ??= load());
  } catch (cause) {
    throw new BackupError(
      'io',
      `cannot read an ext4 image without libext2fs (${messageOf(cause)}): install e2fsprogs, or run the backup as root`,
      { cause },
    );
  }
}

/** Runs one call; a code other than 0 becomes an exception. */
function run(name: keyof Library['calls'], ...args: Argument[]): void {
  check(name, Number(library().calls[name](...args)));
}

function check(call: string, code: number): void {
  if (code !== 0) throw new Ext2fsError(call, library().message(code));
}

/** A pointer or size that a call writes to its argument. */
function outgoing<T extends readonly Uint8Array[]>(...values: T): T {
  return values;
}

/** The pointer that a call wrote to `slot`. */
function pointerIn(slot: Buffer): bigint {
  return slot.readBigUInt64LE(0);
}

/** An open file system. */
export class Ext2fs {
  readonly blockSize: number;
  /** The whole inodes' size in bytes, 128 or more. */
  readonly #inodeSize: number;
  readonly #file: number;
  /** ext2_filsys, in the memory that ext2fs_close_free() takes it from. */
  readonly #handle = Buffer.alloc(8);

  /** Opens the image at `path`, read-only. Throws Ext2fsError, or `io` without the library. */
  constructor(path: string) {
    const { manager } = library();
    run('ext2fs_open', Buffer.from(`${path}\0`), OPEN_64_BIT, 0, 0, manager, this.#handle);
    try {
      this.#file = openSync(path, 'r');
    } catch (error) {
      run('ext2fs_close_free', this.#handle);
      throw error;
    }
    // struct ext2_super_block: s_log_block_size, s_rev_level, s_inode_size. What the library opened has sane ones.
    const superblock = Buffer.alloc(1024);
    readSync(this.#file, superblock, 0, superblock.length, 1024);
    this.blockSize = 1024 << superblock.readUInt32LE(24);
    this.#inodeSize = superblock.readUInt32LE(76) === 0 ? 128 : superblock.readUInt16LE(88);
  }

  close(): void {
    run('ext2fs_close_free', this.#handle);
    closeSync(this.#file);
  }

  get #fs(): bigint {
    return pointerIn(this.#handle);
  }

  /** An inode as it is on disk: struct ext2_inode_large, of which 128 bytes are always there. */
  readInode(inode: number): Buffer {
    const bytes = Buffer.alloc(this.#inodeSize);
    run('ext2fs_read_inode_full', this.#fs, inode, bytes, bytes.length);
    return bytes;
  }

  /** True if the target of the symlink with these inode bytes is in the inode itself. */
  isFastSymlink(bytes: Uint8Array): boolean {
    return library().isFastSymlink(bytes) !== 0;
  }

  /** Names of a directory but `.` and `..`, each with its inode, in no order. */
  readNames(directory: number): { readonly name: ByteString; readonly inode: number }[] {
    const names: { name: ByteString; inode: number }[] = [];
    const block = Buffer.alloc(this.blockSize);
    const own: unknown = koffi.address(block);
    const visit: NameVisitor = (_directory, _kind, entry, at, _size, buffer) => {
      // struct ext2_dir_entry: u32 inode, u16 length of the record, u8 length of the name, u8 type, name. An inline
      // directory is shown in a buffer of the library's own.
      const bytes = buffer === own ? block.subarray(at) : copyEntry(entry);
      const end = DIRENT_HEADER + bytes.readUInt8(6);
      const name = bytes.toString('latin1', DIRENT_HEADER, end) as ByteString;
      // The kind of entry does not tell those two: in an inline directory it is another's.
      if (name !== '.' && name !== '..') names.push({ name, inode: bytes.readUInt32LE(0) });
      return 0;
    };
    check('ext2fs_dir_iterate2', library().iterateNames(this.#fs, directory, 0, block, visit, null));
    return names;
  }

  /** Extended attributes, as the kernel shows them to a reader without CAP_SYS_ADMIN, sorted by name. */
  readAttributes(inode: number): Attribute[] {
    const [slot] = outgoing(Buffer.alloc(8));
    run('ext2fs_xattrs_open', this.#fs, inode, slot);
    try {
      const handle = pointerIn(slot);
      run('ext2fs_xattrs_read', handle);
      const keys: string[] = [];
      const visit: AttributeVisitor = (name) => {
        keys.push(koffi.decode.string(name));
        return 0;
      };
      check('ext2fs_xattrs_iterate', library().iterateAttributes(handle, visit, null));
      let size = 0;
      const attributes = keys.flatMap((key) => {
        const attribute = diskAttribute(key, this.#readAttribute(handle, key));
        if (attribute === undefined) return [];
        size += attribute.name.length + attribute.value.length;
        if (size > MAX_ATTRIBUTES) throw new LibcError('ext2fs_xattr_get', E2BIG);
        return [attribute];
      });
      return attributes.sort((a, b) => (a.name < b.name ? -1 : 1));
    } finally {
      run('ext2fs_xattrs_close', slot);
    }
  }

  #readAttribute(handle: bigint, key: string): Uint8Array {
    const [value, length] = outgoing(Buffer.alloc(8), Buffer.alloc(8));
    run('ext2fs_xattr_get', handle, key, value, length);
    try {
      const size = Number(length.readBigUInt64LE(0));
      return size === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(pointerIn(value), size)).slice();
    } finally {
      if (pointerIn(value) !== 0n) run('ext2fs_free_mem', value);
    }
  }

  /** The content of a file that lies in its inode. */
  readInline(inode: number): Buffer {
    const [size] = outgoing(Buffer.alloc(8));
    run('ext2fs_inline_data_size', this.#fs, inode, size);
    const length = Number(size.readBigUInt64LE(0));
    if (length > MAX_ATTRIBUTES) throw new Ext2fsError('ext2fs_inline_data_size', 'larger than an inode');
    const bytes = Buffer.alloc(length);
    run('ext2fs_inline_data_get', this.#fs, inode, null, bytes, size);
    return bytes;
  }

  /** Where a file's content is; `hasExtents` as its inode says. The caller closes it. */
  openBlocks(inode: number, hasExtents: boolean): BlockMap {
    if (hasExtents) return new Extents(this.#fs, inode, this.blockSize);
    return new Blocks(this.#fs, inode, this.blockSize);
  }

  /** Fills `target` from the image at `place`. */
  readAt(target: Uint8Array, place: number): void {
    for (let filled = 0; filled < target.length;) {
      const count = readSync(this.#file, target, filled, target.length - filled, place + filled);
      if (count === 0) throw new Ext2fsError('read', 'the image ends before this file does');
      filled += count;
    }
  }
}

function copyEntry(entry: bigint): Buffer {
  const header = Buffer.from(koffi.view(entry, DIRENT_HEADER));
  return Buffer.from(koffi.view(entry, DIRENT_HEADER + header.readUInt8(6)));
}

/** The map of a file with extents, read as far as it is asked for. */
class Extents implements BlockMap {
  readonly #slot = Buffer.alloc(8);
  readonly #blockSize: number;
  #started = false;
  #current: Run | undefined;

  constructor(fs: bigint, inode: number, blockSize: number) {
    this.#blockSize = blockSize;
    run('ext2fs_extent_open2', fs, inode, null, this.#slot);
  }

  find(position: number): Run | undefined {
    if (!this.#started || (this.#current !== undefined && position < this.#current.start)) this.#restart();
    while (this.#current !== undefined && this.#current.end <= position)
      this.#current = this.#next(EXTENT_NEXT);
    return this.#current;
  }

  close(): void {
    library().freeExtents(pointerIn(this.#slot));
  }

  #restart(): void {
    this.#started = true;
    this.#current = undefined;
    this.#current = this.#next(EXTENT_ROOT);
  }

  /** The next written extent, starting with a step of kind `step`. */
  #next(step: number): Run | undefined {
    const after = this.#current?.end ?? 0;
    // struct ext2fs_extent: u64 physical block, u64 logical block, u32 length, u32 flags.
    const extent = Buffer.alloc(24);
    for (let kind = step; ; kind = EXTENT_NEXT) {
      const code = Number(library().calls.ext2fs_extent_get(pointerIn(this.#slot), kind, extent));
      if (code === NO_NEXT_EXTENT || code === NO_NODE_BELOW) return undefined;
      check('ext2fs_extent_get', code);
      const flags = extent.readUInt32LE(20);
      if ((flags & EXTENT_IS_LEAF) === 0 || (flags & (EXTENT_IS_UNWRITTEN | EXTENT_SECOND_VISIT)) !== 0)
        continue;
      const place = Number(extent.readBigUInt64LE(0)) * this.#blockSize;
      const start = Number(extent.readBigUInt64LE(8)) * this.#blockSize;
      const length = extent.readUInt32LE(16) * this.#blockSize;
      if (start < after || length === 0)
        throw new Ext2fsError('ext2fs_extent_get', 'extents are out of order');
      return { start, end: start + length, place };
    }
  }
}

/** The map of a file with indirect blocks (ext2, ext3), read whole. */
class Blocks implements BlockMap {
  readonly #runs: Run[] = [];

  constructor(fs: bigint, inode: number, blockSize: number) {
    let last: { start: number; end: number; place: number } | undefined;
    const visit: BlockVisitor = (_fs, block, index) => {
      const start = Number(index) * blockSize;
      const place = Number(koffi.decode.uint64(block)) * blockSize;
      if (last?.end === start && last.place + (start - last.start) === place) {
        last.end += blockSize;
        return 0;
      }
      if (this.#runs.length === MAX_RUNS) return BLOCKS_ABORT;
      last = { start, end: start + blockSize, place };
      this.#runs.push(last);
      return 0;
    };
    const flags = BLOCKS_DATA_ONLY | BLOCKS_READ_ONLY;
    check('ext2fs_block_iterate3', library().iterateBlocks(fs, inode, flags, null, visit, null));
    if (this.#runs.length === MAX_RUNS)
      throw new Ext2fsError('ext2fs_block_iterate3', `more than ${MAX_RUNS} pieces`);
  }

  find(position: number): Run | undefined {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.end ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return this.#runs[low];
  }

  close(): void {
    this.#runs.length = 0;
  }
}

/** What the kernel says to who opens an encrypted file without its key. */
export function lacksKey(): LibcError {
  return new LibcError('open', ENOKEY);
}
