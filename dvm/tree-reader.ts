/**
 * Reads a tree leaf by leaf and checks what no single leaf can show: that leaves continue each other as the top
 * says, that every entry has a directory to be in, that files have the chunks they announce.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { comparePaths, damagedTree, parentOf } from './leaf.ts';
import type { TreeRecord } from './leaf.ts';
import { decodeLeaf } from './leaf-decoder.ts';
import type { Leaf, Top } from './tree-top.ts';

/** An entry with all chunks of its content. */
export interface TreeEntry {
  readonly entry: Entry;
  readonly chunks: readonly Chunk[];
}

/** Leaves fetched ahead of the one that is read. */
const PREFETCH = 6;

/**
 * All entries in path order. A huge file's chunks are held together: where that matters, read records.
 * Throws `store-damaged` on a tree that breaks a rule of the format.
 */
export async function* readTree(top: Top, blobs: BlobSource): AsyncGenerator<TreeEntry> {
  let current: { entry: Entry; chunks: Chunk[] } | undefined;
  for await (const records of readRecords(top, blobs)) {
    for (const record of records) {
      if (record.kind === 'chunk') {
        current?.chunks.push(record.chunk);
        continue;
      }
      if (current !== undefined) yield current;
      current = { entry: record.entry, chunks: [] };
    }
  }
  if (current !== undefined) yield current;
}

/** All records, checked, one array a leaf. Throws as {@link readTree}. */
export async function* readRecords(top: Top, blobs: BlobSource): AsyncGenerator<readonly TreeRecord[]> {
  const checker = new TreeChecker();
  for await (const { leaf, records } of readLeaves(top, blobs, 0, top.leaves.length)) {
    checker.startLeaf(leaf);
    for (const record of records) checker.check(record);
    checker.endLeaf();
    yield records;
  }
  checker.end(top);
}

/**
 * The leaves from index `from` up to, not including, `to`, each checked by itself only: what a search in one
 * part of a tree needs. Paths are in order and their names valid; whether parents exist is not known.
 */
export async function* readLeaves(
  top: Top,
  blobs: BlobSource,
  from: number,
  to: number,
): AsyncGenerator<{ readonly leaf: Leaf; readonly records: readonly TreeRecord[] }> {
  let announced = from;
  for (let index = from; index < to; index++) {
    const end = Math.min(to, index + PREFETCH);
    if (end > announced) blobs.prefetch(top.leaves.slice(announced, end).map((leaf) => leaf.number));
    announced = end;
    const leaf = top.leaves[index];
    if (leaf === undefined) throw damagedTree('a leaf is missing');
    yield { leaf, records: [...decodeLeaf(await blobs.get(leaf.number), leaf.hash)] };
  }
}

/** Holds a whole tree's records against the rules of section 8, in order. */
class TreeChecker {
  #last: Entry | undefined;
  /** Paths of the directories that hold the last entry, the root first; the last entry itself if it is one. */
  readonly #directories: ByteString[] = [];
  #chunksLeft = 0;
  /** Records of the last entry so far: itself and its chunks. */
  #records = 0;
  #position = 0;
  #entries = 0;
  #bytes = 0;
  #leaf: Leaf | undefined;
  #atStart = false;
  #leafEntries = 0;

  startLeaf(leaf: Leaf): void {
    this.#leaf = leaf;
    this.#atStart = true;
    this.#leafEntries = 0;
  }

  check(record: TreeRecord): void {
    if (this.#atStart) this.#checkFirst(record);
    if (record.kind === 'chunk') this.#checkChunk(record.chunk);
    else this.#checkEntry(record.entry, record.chunkCount);
    this.#atStart = false;
  }

  endLeaf(): void {
    if (this.#leafEntries !== this.#leaf?.entries)
      throw damagedTree('a leaf has more or fewer entries than the top says');
  }

  end(top: Top): void {
    if (this.#chunksLeft > 0) throw damagedTree('chunks of the last file are missing');
    if (this.#entries !== top.totalEntries || this.#bytes !== top.totalBytes)
      throw damagedTree('its totals are wrong');
  }

  #checkFirst(record: TreeRecord): void {
    const { firstPath, skip } = this.#leaf ?? { firstPath: '', skip: 0 };
    const continues = record.kind === 'chunk';
    const path = continues ? this.#last?.path : record.entry.path;
    if (path !== firstPath || skip !== (continues ? this.#records : 0)) {
      throw damagedTree('a leaf starts elsewhere than the top says');
    }
  }

  #checkEntry(entry: Entry, chunkCount: number): void {
    if (this.#chunksLeft > 0) throw damagedTree('chunks of a file are missing');
    const parent = parentOf(entry.path);
    if (parent === undefined) {
      if (this.#last !== undefined || entry.type !== TYPE.directory)
        throw damagedTree('the root is not the first directory');
    } else {
      if (this.#last === undefined) throw damagedTree('the first entry is not the root');
      // Within a leaf the decoder saw the order; across leaves it is seen here.
      if (this.#atStart && comparePaths(this.#last.path, entry.path) >= 0)
        throw damagedTree('paths are out of order');
      this.#leaveTo(parent);
    }
    if (entry.type === TYPE.directory) this.#directories.push(entry.path);
    this.#last = entry;
    this.#chunksLeft = chunkCount;
    this.#records = 1;
    this.#position = 0;
    this.#entries += 1;
    this.#leafEntries += 1;
    this.#bytes += entry.size;
  }

  #leaveTo(parent: ByteString): void {
    while (this.#directories.length > 0 && this.#directories.at(-1) !== parent) this.#directories.pop();
    if (this.#directories.length === 0) throw damagedTree('an entry is in no directory');
  }

  #checkChunk(chunk: Chunk): void {
    if (this.#chunksLeft === 0 || this.#last === undefined) throw damagedTree('a chunk belongs to no file');
    this.#position += chunk.gap + chunk.length;
    if (this.#position > this.#last.size) throw damagedTree('chunks reach beyond the end of their file');
    this.#chunksLeft -= 1;
    this.#records += 1;
  }
}
