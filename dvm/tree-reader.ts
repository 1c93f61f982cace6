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

/** One as it is in a tree that was read. */
export class StoredEntry implements TreeEntry {
  readonly entry: Entry;
  readonly chunks: Chunk[] = [];
  /** Its place among all entries of the tree. */
  readonly at: number;

  constructor(entry: Entry, at: number) {
    this.entry = entry;
    this.at = at;
  }
}

/** Leaves fetched ahead of the one that is read. The other places are for packs. */
const PREFETCH = 3;

/**
 * All entries in path order. A huge file's chunks are held together: where that matters, read records.
 * Throws `store-damaged` on a tree that breaks a rule of the format.
 */
export async function* readTree(top: Top, blobs: BlobSource): AsyncGenerator<TreeEntry> {
  for await (const entries of readEntries(top, blobs)) yield* entries;
}

/** As {@link readTree}, in one array for each leaf: who reads millions of entries does not wait for each. */
export async function* readEntries(top: Top, blobs: BlobSource): AsyncGenerator<readonly StoredEntry[]> {
  let current: StoredEntry | undefined;
  let at = 0;
  for await (const records of readRecords(top, blobs)) {
    const complete: StoredEntry[] = [];
    for (const record of records) {
      if (record.kind === 'chunk') {
        current?.chunks.push(record.chunk);
        continue;
      }
      if (current !== undefined) complete.push(current);
      current = new StoredEntry(record.entry, at++);
    }
    yield complete;
  }
  if (current !== undefined) yield [current];
}

/** All records, checked, one array a leaf. Throws as {@link readTree}. */
export async function* readRecords(top: Top, blobs: BlobSource): AsyncGenerator<readonly TreeRecord[]> {
  const checker = new RecordChecker();
  for await (const { leaf, records } of readLeaves(top, blobs, 0, top.leaves.length)) {
    checker.startLeaf(leaf, records[0]);
    for (const record of records) checker.check(record);
    yield records;
  }
  checker.end();
  if (checker.entries !== top.totalEntries || checker.bytes !== top.totalBytes)
    throw damagedTree('its totals are wrong');
}

/**
 * The leaves from index `from` up to, not including, `to`, each checked by itself only: what a search in one
 * part of a tree needs. Paths are in order and their names valid; whether parents exist is not known.
 */
export function readLeaves(
  top: Top,
  blobs: BlobSource,
  from: number,
  to: number,
): AsyncGenerator<{ readonly leaf: Leaf; readonly records: readonly TreeRecord[] }> {
  return readChosenLeaves(top.leaves.slice(from, to), blobs);
}

/** Some leaves of a tree, in order, each checked by itself only. */
export async function* readChosenLeaves(
  leaves: readonly Leaf[],
  blobs: BlobSource,
): AsyncGenerator<{ readonly leaf: Leaf; readonly records: readonly TreeRecord[] }> {
  let announced = 0;
  for (const [index, leaf] of leaves.entries()) {
    const end = Math.min(leaves.length, index + PREFETCH);
    if (end > announced) blobs.prefetch(leaves.slice(announced, end).map(({ number }) => number));
    announced = Math.max(announced, end);
    const records = [...decodeLeaf(await blobs.get(leaf.number), leaf.hash)];
    checkLeaf(leaf, records);
    yield { leaf, records };
  }
}

/** Holds a leaf against its line in the top, as far as it can be seen without the leaves before. */
function checkLeaf(leaf: Leaf, records: readonly TreeRecord[]): void {
  const first = records[0];
  const entries = records.reduce((count, record) => count + (record.kind === 'entry' ? 1 : 0), 0);
  if (entries !== leaf.entries) throw damagedTree('a leaf has more or fewer entries than the top says');
  const starts =
    first?.kind === 'entry' ? leaf.skip === 0 && first.entry.path === leaf.firstPath : leaf.skip > 0;
  if (!starts) throw damagedTree('a leaf starts elsewhere than the top says');
}

/** Holds records against the rules of section 8: of a whole tree, or of a part with all directories above it. */
export class RecordChecker {
  #last: Entry | undefined;
  /** Paths of the directories that hold the last entry, the root first; the last entry itself if it is one. */
  readonly #directories: ByteString[] = [];
  #chunksLeft = 0;
  #position = 0;
  /** Records of the last entry so far: itself and its chunks. */
  #records = 0;
  entries = 0;
  bytes = 0;

  /** Throws `store-damaged` if `leaf` does not continue here with `first`. */
  startLeaf(leaf: Leaf, first: TreeRecord | undefined): void {
    const continues = first?.kind === 'chunk';
    const path = continues ? this.#last?.path : first?.entry.path;
    if (path !== leaf.firstPath || leaf.skip !== (continues ? this.#records : 0)) {
      throw damagedTree('a leaf starts elsewhere than the top says');
    }
  }

  check(record: TreeRecord): void {
    if (record.kind === 'chunk') this.#checkChunk(record.chunk);
    else this.#checkEntry(record.entry, record.chunkCount);
  }

  end(): void {
    if (this.#chunksLeft > 0) throw damagedTree('chunks of the last file are missing');
  }

  #checkEntry(entry: Entry, chunkCount: number): void {
    this.end();
    const parent = parentOf(entry.path);
    if (this.#last === undefined) {
      if (parent !== undefined || entry.type !== TYPE.directory)
        throw damagedTree('the root is not the first directory');
    } else {
      // Within a leaf the decoder saw the order; across leaves it is seen here.
      if (comparePaths(this.#last.path, entry.path) >= 0) throw damagedTree('paths are out of order');
      this.#leaveTo(parent);
    }
    if (entry.type === TYPE.directory) this.#directories.push(entry.path);
    this.#last = entry;
    this.#chunksLeft = chunkCount;
    this.#position = 0;
    this.#records = 1;
    this.entries += 1;
    this.bytes += entry.size;
  }

  #leaveTo(parent: ByteString | undefined): void {
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
