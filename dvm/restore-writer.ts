/**
 * Writes entries of a tree below a folder. Every operation goes through a descriptor of the entry's directory,
 * opened without following symlinks, and creates what was not there. Records come in path order, a batch (one
 * leaf) at a time; within a batch contents are written in the order of their packs, each fetched once, then
 * hard links, then the metadata of directories that are complete.
 */

import { randomBytes } from 'node:crypto';
import { hex } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { damagedTree, isWithin, nameOf, parentOf } from './leaf.ts';
import type { TreeRecord } from './leaf.ts';
import {
  isLibcError,
  linkAt,
  makeDirectoryAt,
  makeNodeAt,
  renameAt,
  setFlagsAt,
  symlinkAt,
  unlinkAt,
} from './libc.ts';
import { statAt } from './stat.ts';
import type { PackReader } from './pack-reader.ts';
import { ContentWriter } from './restore-contents.ts';
import type { Slot } from './restore-contents.ts';
import { Directories } from './restore-directories.ts';
import { attempt, refused, setLinkMetadata, setNodeMetadata, setOpenMetadata } from './restore-metadata.ts';
import type { Report } from './restore-report.ts';

/** Type bits of st_mode. */
const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFDIR = 0o040000;
const S_IFMT = 0o170000;

/** What to do with what is there already: `none`, nothing is (an empty volume); `keep` it; `replace` files. */
export type Existing = 'none' | 'keep' | 'replace';

interface OpenDirectory {
  readonly entry: Entry;
  /** False for a folder that was there before: its metadata is not ours to set. */
  readonly ours: boolean;
}

export class FolderWriter {
  readonly #directories: Directories;
  readonly #contents: ContentWriter;
  readonly #report: Report;
  readonly #existing: Existing;
  /** Directories that hold the last entry, the root first. */
  readonly #stack: OpenDirectory[] = [];
  /** Where the first member of each hard-link group is, by inode. */
  readonly #linked = new Map<number, { readonly type: number; readonly path: ByteString }>();
  /** A directory that could not be made: everything below it was noted with it. */
  #blocked: ByteString | undefined;
  /** Hard-linked files that must not change any more once all their names are made. */
  readonly #sealLast: Entry[] = [];
  #links: { readonly entry: Entry; readonly target: ByteString }[] = [];
  #complete: OpenDirectory[] = [];

  /** `root` is an open descriptor of the folder; the caller closes it after close(). */
  constructor(root: number, packs: PackReader, report: Report, existing: Existing) {
    this.#directories = new Directories(root);
    this.#contents = new ContentWriter(this.#directories, packs, report, existing === 'none');
    this.#report = report;
    this.#existing = existing;
    process.umask(0); // Modes are the snapshot's, not this process's.
  }

  /** Writes a batch of records, which continue those before. */
  async write(records: Iterable<TreeRecord>): Promise<void> {
    for (const record of records) {
      if (record.kind === 'chunk') this.#contents.add(record.chunk);
      else this.#entry(record.entry, record.chunkCount);
    }
    await this.#contents.flush();
    for (const { entry, target } of this.#links) {
      this.#link(entry, target);
      await this.#report.tick();
    }
    this.#links = [];
    await this.#completeDirectories();
  }

  /** Completes what is still open. */
  async finish(): Promise<void> {
    while (this.#stack.length > 0) this.#leave();
    await this.#completeDirectories();
    for (const { path, flags } of this.#sealLast) {
      attempt(this.#report, path, 'setting its flags', () => {
        const directory = this.#directories.open(parentOf(path) ?? ('' as ByteString));
        setFlagsAt(directory, nameOf(path), flags);
      });
      await this.#report.tick();
    }
  }

  /** Closes descriptors; after a failure, removes the temporary file that was being written. */
  async close(): Promise<void> {
    await this.#contents.close();
    this.#directories.closeAll();
  }

  // ---- One entry -------------------------------------------------------------------------------------

  #entry(entry: Entry, chunkCount: number): void {
    this.#contents.endFile();
    while (this.#stack.length > 0 && !isWithin(entry.path, this.#top().entry.path)) this.#leave();
    if (this.#blocked !== undefined && isWithin(entry.path, this.#blocked)) return;
    this.#blocked = undefined;
    if (entry.type === TYPE.directory) {
      this.#directory(entry);
      return;
    }
    if (entry.type === TYPE.skipped) return;
    if (entry.type === TYPE.socket) {
      this.#report.note('skipped-socket', entry.path, 'sockets are made by the programs that use them');
      return;
    }
    if (entry.type === TYPE.file && entry.unreadable) {
      this.#report.note('not-restored', entry.path, 'its content could not be read when it was backed up');
      return;
    }
    if (entry.linked) {
      const first = this.#linked.get(entry.inode);
      if (first !== undefined) {
        if (first.type !== entry.type) throw damagedTree('hard links of different types');
        this.#links.push({ entry, target: first.path });
        return;
      }
    }
    const slot = this.#claim(entry);
    if (slot === undefined) return;
    if (entry.linked) this.#linked.set(entry.inode, { type: entry.type, path: entry.path });
    if (entry.linked && entry.flags !== 0 && this.#existing === 'none') this.#sealLast.push(entry);
    if (entry.type === TYPE.file) this.#contents.begin(entry, slot, chunkCount);
    else this.#special(entry, slot);
  }

  #directory(entry: Entry): void {
    const parent = parentOf(entry.path);
    const made = parent === undefined ? this.#existing === 'none' : this.#makeDirectory(entry, parent);
    if (made === undefined) {
      this.#blocked = entry.path;
      return;
    }
    if (entry.unreadable)
      this.#report.note('not-restored', entry.path, 'its names could not be read when it was backed up');
    this.#report.entries += 1;
    this.#stack.push({ entry, ours: made || (parent !== undefined && this.#existing === 'replace') });
  }

  /** True if made, false if there is one already, undefined (and noted) if neither can be. */
  #makeDirectory(entry: Entry, parent: ByteString): boolean | undefined {
    const name = nameOf(entry.path);
    try {
      makeDirectoryAt(this.#directories.open(parent), name, 0o700);
      return true;
    } catch (error) {
      if (this.#existing !== 'none' && isLibcError(error, 'EEXIST')) {
        const { mode } = statAt(this.#directories.open(parent), name);
        if ((mode & S_IFMT) === S_IFDIR) return false;
        this.#report.note(
          'exists',
          entry.path,
          'something else than a directory is there: left alone, nothing written below it',
        );
        return undefined;
      }
      refused(this.#report, entry.path, 'making the directory, and everything below it,', error);
      return undefined;
    }
  }

  /** The place for a new entry that is no directory; undefined (and noted) if something is in the way. */
  #claim(entry: Entry): Slot | undefined {
    const slot = {
      directory: parentOf(entry.path) ?? ('' as ByteString),
      name: nameOf(entry.path),
      temporary: undefined,
    };
    if (this.#existing === 'none') return slot;
    let mode: number;
    try {
      mode = statAt(this.#directories.open(slot.directory), slot.name).mode;
    } catch (error) {
      if (isLibcError(error, 'ENOENT')) return slot;
      refused(this.#report, entry.path, 'looking for what is there', error);
      return undefined;
    }
    if (this.#existing === 'keep' || (mode & S_IFMT) === S_IFDIR) {
      const what =
        this.#existing === 'keep'
          ? 'it is there already and was left alone'
          : 'a directory is in its place and was left alone';
      this.#report.note('exists', entry.path, what);
      return undefined;
    }
    return { ...slot, temporary: `.qubes-backup-${hex(randomBytes(8))}` as ByteString };
  }

  /** A symlink, FIFO or device node. */
  #special(entry: Entry, slot: Slot): void {
    this.#create(entry, slot, 'creating it', (directory, name) => {
      const [major, minor] = entry.device;
      if (entry.type === TYPE.symlink) symlinkAt(entry.target, directory, name);
      else if (entry.type === TYPE.fifo) makeNodeAt(directory, name, S_IFIFO | 0o600, 0, 0);
      else if (entry.type === TYPE.characterDevice)
        makeNodeAt(directory, name, S_IFCHR | 0o600, major, minor);
      else makeNodeAt(directory, name, S_IFBLK | 0o600, major, minor);
      if (entry.type === TYPE.symlink) setLinkMetadata(this.#report, entry, directory, name);
      else setNodeMetadata(this.#report, entry, directory, name);
    });
  }

  #link(entry: Entry, target: ByteString): void {
    const slot = this.#claim(entry);
    if (slot === undefined) return;
    this.#create(entry, slot, 'making the hard link', (directory, name) => {
      const targetDirectory = this.#directories.open(parentOf(target) ?? ('' as ByteString), directory);
      linkAt(targetDirectory, nameOf(target), directory, name);
      if (entry.type === TYPE.file) this.#report.files += 1;
    });
  }

  #create(entry: Entry, slot: Slot, what: string, make: (directory: number, name: ByteString) => void): void {
    const made = attempt(this.#report, entry.path, what, () => {
      const directory = this.#directories.open(slot.directory);
      make(directory, slot.temporary ?? slot.name);
      if (slot.temporary !== undefined) renameAt(directory, slot.temporary, directory, slot.name);
    });
    if (made) this.#report.entries += 1;
    else if (slot.temporary !== undefined) this.#removeTemporary(slot.directory, slot.temporary);
  }

  #removeTemporary(directory: ByteString, name: ByteString): void {
    try {
      unlinkAt(this.#directories.open(directory), name);
    } catch (error) {
      if (!isLibcError(error)) throw error; // What failed before was noted; most likely it was never made.
    }
  }

  // ---- Directories -----------------------------------------------------------------------------------

  #top(): OpenDirectory {
    const top = this.#stack.at(-1);
    if (top === undefined) throw new BackupError('internal', 'no directory is open');
    return top;
  }

  #leave(): void {
    const left = this.#stack.pop();
    if (left?.ours === true) this.#complete.push(left);
  }

  /** Metadata of directories whose last entry is written, the deepest first: writing into them changed their time. */
  async #completeDirectories(): Promise<void> {
    for (const { entry } of this.#complete) {
      attempt(this.#report, entry.path, 'opening the directory', () => {
        const directory = this.#directories.open(entry.path);
        setOpenMetadata(
          this.#report,
          entry,
          directory,
          directory,
          '.' as ByteString,
          this.#existing === 'none',
        );
      });
      this.#directories.release(entry.path);
      await this.#report.tick();
    }
    this.#complete = [];
  }
}
