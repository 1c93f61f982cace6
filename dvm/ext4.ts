/**
 * Walks an ext2, ext3 or ext4 file system in an image that is not mounted, in path order: the same entries that
 * walk.ts finds when the image is mounted.
 */

import { byteString } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_PATH } from '../shared/limits.ts';
import type { Access, OpenFile } from './access.ts';
import { TYPE } from './entry.ts';
import type { Attribute } from './entry.ts';
import type { AllBut, Excludes, Skipped } from './excludes.ts';
import { Ext2fs, Ext2fsError, lacksKey } from './ext2fs.ts';
import type { BlockMap } from './ext2fs.ts';
import { decodeInode, fastTarget } from './ext2-inode.ts';
import type { Inode } from './ext2-inode.ts';
import type { Stat } from './stat.ts';
import { attempt } from './walk.ts';
import type { Found, Noter } from './walk.ts';

const ROOT = 2;
/** The longest target that Linux makes. */
const MAX_TARGET = 4096;

/** What is left to visit in a directory, the next name last. */
interface Level {
  readonly path: ByteString;
  readonly names: { readonly name: ByteString; readonly inode: number }[];
  leftOut?: AllBut | undefined;
}

/** A walk under way. */
interface Walk {
  readonly fs: Ext2fs;
  readonly levels: Level[];
  /** Inode numbers of the directories so far. */
  readonly directories: Set<number>;
  readonly note: Noter;
  readonly excludes: Excludes | undefined;
}

/**
 * All entries of the image at `path`, the root first, and in place of what `excludes` leaves out, the path with the reason.
 * What cannot be read goes to `note`. Throws Ext2fsError if the root cannot be read, or if a directory has two places: no
 * walk of such a tree ends.
 */
export function* walkExt4(
  path: string,
  note: Noter,
  excludes?: Excludes,
): Generator<Found | Skipped, void, undefined> {
  const fs = new Ext2fs(path);
  try {
    const root = decodeInode(ROOT, fs.readInode(ROOT));
    const first: Level = { path: '' as ByteString, names: sortedNames(fs, root) };
    const levels = [first];
    const directories = new Set([ROOT]);
    excludes?.enter(first.path, (name) => lookUp(fs, first, name));
    yield foundOf(fs, '' as ByteString, root, false);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const next = level.names.pop();
      if (next === undefined) levels.pop();
      else yield* visit({ fs, levels, directories, note, excludes }, level, next);
    }
  } finally {
    fs.close();
  }
}

/** Yields one entry; if it is a directory, the walk goes on in it. */
function* visit(
  { fs, levels, directories, note, excludes }: Walk,
  level: Level,
  next: Level['names'][number],
): Generator<Found | Skipped> {
  const path = (level.path === '' ? next.name : `${level.path}/${next.name}`) as ByteString;
  if (path.length > MAX_PATH) {
    note('unreadable', path, `the path is longer than ${MAX_PATH} bytes`);
    return;
  }
  if (level.leftOut !== undefined && next.name !== level.leftOut.kept) {
    yield { path, type: TYPE.skipped, reason: level.leftOut.reason };
    return;
  }
  const inode = attempt(() => decodeInode(next.inode, fs.readInode(next.inode)), path, note);
  if (inode === undefined) return;
  const found = foundOf(fs, path, inode, false);
  const reason = excludes?.reasonFor(found);
  if (reason !== undefined) {
    yield { path, type: TYPE.skipped, reason };
    return;
  }
  if (inode.type !== TYPE.directory) {
    yield found;
    return;
  }
  if (directories.has(inode.number))
    throw new Ext2fsError(
      'walk',
      `the file system is damaged: directory inode ${inode.number} has two names`,
    );
  directories.add(inode.number);
  const names = attempt(() => sortedNames(fs, inode), path, note);
  if (names !== undefined) {
    const inside: Level = { path, names };
    inside.leftOut = excludes?.enter(path, (name) => lookUp(fs, inside, name));
    levels.push(inside);
  }
  yield { ...found, unreadable: names === undefined };
}

/** The entry `name` of a directory of which nothing was visited yet. */
function lookUp(fs: Ext2fs, level: Level, name: ByteString): Found | undefined {
  const child = level.names.find((candidate) => candidate.name === name);
  return child && foundOf(fs, level.path, decodeInode(child.inode, fs.readInode(child.inode)), false);
}

/** Names in descending order: the walk pops them off the end. Throws what a kernel without the key does if they are encrypted. */
function sortedNames(fs: Ext2fs, directory: Inode): Level['names'] {
  if (directory.encrypted) throw lacksKey();
  const names = fs.readNames(directory.number);
  if (names.some(({ name }) => name === '' || /[/\0]/.test(name)))
    throw new Ext2fsError('ext2fs_dir_iterate2', 'it holds a name that no file can have');
  return names.sort((a, b) => (a.name < b.name ? 1 : -1));
}

function foundOf(fs: Ext2fs, path: ByteString, inode: Inode, unreadable: boolean): Found {
  const { type, stat } = inode;
  const flags = type === TYPE.file || type === TYPE.directory ? inode.flags : 0;
  return { path, type, stat, unreadable, flags, access: new Ext4Access(fs, inode) };
}

class Ext4Access implements Access {
  readonly #fs: Ext2fs;
  readonly #inode: Inode;

  constructor(fs: Ext2fs, inode: Inode) {
    this.#fs = fs;
    this.#inode = inode;
  }

  open(): OpenFile {
    if (this.#inode.encrypted) throw lacksKey();
    return openFile(this.#fs, this.#inode);
  }

  readLink(): ByteString {
    const inode = this.#inode;
    if (inode.encrypted) throw lacksKey();
    if (!inode.isInline && this.#fs.isFastSymlink(inode.bytes)) return byteString(fastTarget(inode));
    if (inode.stat.size > MAX_TARGET) throw new Ext2fsError('readlink', 'the target is absurdly long');
    const file = openFile(this.#fs, inode);
    try {
      const target = Buffer.alloc(inode.stat.size);
      file.read(target, 0);
      return byteString(target);
    } finally {
      file.close();
    }
  }

  attributes(): Attribute[] {
    return this.#fs.readAttributes(this.#inode.number);
  }

  flags(): number {
    return this.#inode.flags;
  }
}

function openFile(fs: Ext2fs, inode: Inode): OpenFile {
  if (inode.isInline) return new InlineFile(inode, fs.readInline(inode.number));
  return new BlockFile(fs, inode, fs.openBlocks(inode.number, inode.hasExtents));
}

/** A file whose content lies in blocks. What was never written reads as zeros. */
class BlockFile implements OpenFile {
  readonly #fs: Ext2fs;
  readonly #inode: Inode;
  readonly #map: BlockMap;

  constructor(fs: Ext2fs, inode: Inode, map: BlockMap) {
    this.#fs = fs;
    this.#inode = inode;
    this.#map = map;
  }

  read(target: Uint8Array, position: number): number {
    const end = Math.min(position + target.length, this.#inode.stat.size);
    for (let at = position; at < end;) {
      const run = this.#map.find(at);
      const dataStart = Math.min(Math.max(run?.start ?? end, at), end);
      target.fill(0, at - position, dataStart - position);
      const dataEnd = Math.max(dataStart, Math.min(run?.end ?? end, end));
      if (run !== undefined && dataEnd > dataStart) {
        const piece = target.subarray(dataStart - position, dataEnd - position);
        this.#fs.readAt(piece, run.place + (dataStart - run.start));
      }
      at = dataEnd;
    }
    return Math.max(0, end - position);
  }

  seekData(position: number): number | undefined {
    const run = this.#map.find(position);
    if (run === undefined || run.start >= this.#inode.stat.size) return undefined;
    return Math.max(run.start, position);
  }

  stat(): Stat {
    return this.#inode.stat;
  }

  flags(): number {
    return this.#inode.flags;
  }

  close(): void {
    this.#map.close();
  }
}

/** A small file whose content lies in its inode. */
class InlineFile implements OpenFile {
  readonly #inode: Inode;
  #content: Buffer;

  constructor(inode: Inode, content: Buffer) {
    if (content.length < inode.stat.size)
      throw new Ext2fsError('ext2fs_inline_data_get', 'less than the size of the file');
    this.#inode = inode;
    this.#content = content.subarray(0, inode.stat.size);
  }

  read(target: Uint8Array, position: number): number {
    return this.#content.copy(target, 0, Math.min(position, this.#content.length));
  }

  seekData(position: number): number | undefined {
    return position < this.#content.length ? position : undefined;
  }

  stat(): Stat {
    return this.#inode.stat;
  }

  flags(): number {
    return this.#inode.flags;
  }

  close(): void {
    this.#content = Buffer.alloc(0);
  }
}
