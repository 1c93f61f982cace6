/**
 * The newest snapshot's tree, as a scan uses it: entry by entry beside the walk, as a table of known chunks, and as the
 * rest of a checkpoint.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { ChunkTable } from './chunk-table.ts';
import { sameState } from './describe.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { comparePaths, decodeTop, isWithin, parentOf, readEntries, readLeaves, readRecords } from './tree.ts';
import type { Top, TreeEntry } from './tree.ts';
import type { Found } from './walk.ts';

/** Writes of one clock tick share a timestamp: a ctime this close before the snapshot (ms) proves nothing. */
const RACY = 2_000;

/** The base's chunks, and which of its packs are mostly dead. */
export interface BaseChunks {
  readonly table: ChunkTable;
  /** Packs of which less than half is in use. */
  readonly sparse: ReadonlySet<number>;
}

export class Base {
  /** Blob number of the top. */
  readonly number: number;
  readonly top: Top;
  readonly #takenAt: number;
  readonly #blobs: BlobSource;

  private constructor(job: { top: number; takenAt: number }, top: Top, blobs: BlobSource) {
    this.number = job.top;
    this.top = top;
    this.#takenAt = job.takenAt;
    this.#blobs = blobs;
  }

  static async open(job: { top: number; takenAt: number }, blobs: BlobSource): Promise<Base> {
    return new Base(job, decodeTop(await blobs.get(job.top)), blobs);
  }

  /** A cursor for questions in path order. */
  cursor(): BaseCursor {
    return new BaseCursor(readEntries(this.top, this.#blobs));
  }

  /**
   * True if `found` is what `entry` describes, in the same state, and its timestamps can tell. Then neither content
   * nor attributes need reading.
   */
  isUnchanged(found: Found, entry: Entry): boolean {
    if (!this.#canTell(found, entry)) return false;
    const { stat } = found;
    return sameState(entry, entry.type === TYPE.file ? stat : { ...stat, size: 0 });
  }

  /** True if the regular file `found` has the content that `entry` describes unless its mtime was set back after a write. */
  hasContentOf(found: Found, entry: Entry): boolean {
    const { size, inode, mtime } = found.stat;
    return this.#canTell(found, entry) && sameState({ ...entry, size, inode, mtime }, entry);
  }

  #canTell(found: Found, entry: Entry): boolean {
    return entry.type === found.type && !entry.doubtful && !entry.unreadable && !this.isRacy(entry);
  }

  /** True if `entry` may have been written again, after it was read, without a new ctime. */
  isRacy(entry: Entry): boolean {
    return entry.ctime.seconds * 1000 + entry.ctime.nanoseconds / 1e6 >= this.#takenAt - RACY;
  }

  /** Reads the whole tree for its chunks. */
  async loadChunks(tick: () => Promise<void> | undefined): Promise<BaseChunks> {
    const table = new ChunkTable();
    const packs = new Map<number, { readonly size: number; used: number }>();
    for await (const records of readRecords(this.top, this.#blobs)) {
      for (const record of records) if (record.kind === 'chunk') count(record.chunk, table, packs);
      await tick();
    }
    const sparse = [...packs].filter(([, { size, used }]) => 2 * used < size).map(([number]) => number);
    return { table, sparse: new Set(sparse) };
  }

  /**
   * The entries after `path` that still have a place beside what was scanned up to there: their directory exists. Of the others
   * `lost` is told.
   */
  async *remainder(
    path: ByteString,
    isDirectory: boolean,
    lost: (entry: Entry) => void = () => undefined,
  ): AsyncGenerator<TreeEntry> {
    const directories = ancestors(path);
    if (isDirectory) directories.push(path);
    for await (const item of this.#after(path)) {
      const parent = parentOf(item.entry.path);
      if (parent === undefined) continue;
      while (directories.length > 0 && !isWithin(parent, directories.at(-1) ?? parent)) directories.pop();
      if (directories.at(-1) !== parent) {
        lost(item.entry);
        continue;
      }
      if (item.entry.type === TYPE.directory) directories.push(item.entry.path);
      yield item;
    }
  }

  async *#after(path: ByteString): AsyncGenerator<TreeEntry> {
    const { leaves } = this.top;
    const next = leaves.findIndex((leaf) => comparePaths(leaf.firstPath, path) > 0);
    const first = Math.max(0, (next === -1 ? leaves.length : next) - 1);
    let current: { entry: Entry; chunks: Chunk[] } | undefined;
    for await (const { records } of readLeaves(this.top, this.#blobs, first, leaves.length)) {
      for (const record of records) {
        if (record.kind === 'chunk') current?.chunks.push(record.chunk);
        else {
          if (current !== undefined) yield current;
          const isAfter = comparePaths(record.entry.path, path) > 0;
          current = isAfter ? { entry: record.entry, chunks: [] } : undefined;
        }
      }
    }
    if (current !== undefined) yield current;
  }
}

/** Walks the base's entries beside the volume's. */
export class BaseCursor {
  /** Regular files that were passed over: nobody asked for them. */
  deletedFiles = 0;
  readonly #leaves: AsyncIterator<readonly TreeEntry[], undefined>;
  /** Those of one leaf, and which of them is next. */
  #entries: readonly TreeEntry[] = [];
  #at = 0;
  /** True if it was asked for the entry that is next. */
  #found = false;
  #ended = false;

  constructor(leaves: AsyncIterator<readonly TreeEntry[], undefined>) {
    this.#leaves = leaves;
  }

  /** The base's entry of this path. Paths must be asked in path order; what lies between was deleted. */
  find(path: ByteString): TreeEntry | undefined | Promise<TreeEntry | undefined> {
    while (this.#at < this.#entries.length) {
      const next = this.#entries[this.#at] as TreeEntry;
      if (next.entry.path === path) {
        this.#found = true;
        return next;
      }
      if (comparePaths(next.entry.path, path) > 0) return undefined;
      this.#pass();
    }
    return this.#ended ? undefined : this.#nextLeaf().then(() => this.find(path));
  }

  /** Passes over all that is left. */
  async finish(): Promise<void> {
    while (!this.#ended) {
      while (this.#at < this.#entries.length) this.#pass();
      await this.#nextLeaf();
    }
  }

  #pass(): void {
    if (!this.#found && this.#entries[this.#at]?.entry.type === TYPE.file) this.deletedFiles += 1;
    this.#found = false;
    this.#at += 1;
  }

  async #nextLeaf(): Promise<void> {
    const { value } = await this.#leaves.next();
    this.#ended = value === undefined;
    this.#entries = value ?? [];
    this.#at = 0;
  }
}

function count(
  chunk: Chunk,
  table: ChunkTable,
  packs: Map<number, { readonly size: number; used: number }>,
): void {
  const { blob, packSize } = chunk.place;
  let pack = packs.get(blob);
  if (pack === undefined) packs.set(blob, (pack = { size: packSize, used: 0 }));
  if (table.addBase(chunk.hash, chunk.place)) pack.used += chunk.length;
}

/** The directories above `path`, the root first. */
function ancestors(path: ByteString): ByteString[] {
  const found: ByteString[] = [];
  for (let up = parentOf(path); up !== undefined; up = parentOf(up)) found.unshift(up);
  return found;
}
