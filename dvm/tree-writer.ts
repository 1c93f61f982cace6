/**
 * Writes a tree: entries in path order, cut into leaves by content, under a top.
 */

import { hash } from 'node:crypto';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { comparePaths } from './leaf.ts';
import { LeafEncoder } from './leaf-encoder.ts';
import { wrapTreeBlob } from './tree-blob.ts';
import type { TreeEntry } from './tree-reader.ts';
import type { Leaf, Top } from './tree-top.ts';

/** A finished leaf. Compressing is left to who finds that its hash is not stored yet. */
export interface EncodedLeaf {
  readonly raw: Uint8Array;
  /** SHA-256 of `raw`. */
  readonly hash: Uint8Array;
  /** The leaf as a tree blob. */
  readonly blob: () => Promise<Uint8Array>;
}

export interface TreeWriterOptions {
  /** False keeps leaves uncompressed (R08). */
  readonly compress?: boolean;
}

/**
 * `emit` gets each leaf in order and answers its blob number. After every call that returned a promise, wait for
 * it before the next call. Throws `internal` on entries out of order or a wrong count of chunks, `limit` on an
 * entry that is too large.
 */
export class TreeWriter {
  readonly #emit: (leaf: EncodedLeaf) => Promise<number>;
  readonly #compress: boolean;
  #encoder = new LeafEncoder();
  readonly #leaves: Leaf[] = [];
  #path: ByteString | undefined;
  #chunksLeft = 0;
  /** Records of the last entry so far: itself and its chunks. */
  #records = 0;
  #first = { path: '' as ByteString, skip: 0 };
  #entries = 0;
  #totalEntries = 0;
  #totalBytes = 0;

  constructor(emit: (leaf: EncodedLeaf) => Promise<number>, options: TreeWriterOptions = {}) {
    this.#emit = emit;
    this.#compress = options.compress ?? true;
  }

  /**
   * A second writer with all that was added so far: what is added to one is not in the other. Leaves go to the same
   * `emit`. Only between entries.
   */
  fork(): TreeWriter {
    if (this.#chunksLeft > 0) throw misuse('chunks of the entry before are missing');
    const copy = new TreeWriter(this.#emit, { compress: this.#compress });
    copy.#encoder = this.#encoder.copy();
    copy.#leaves.push(...this.#leaves);
    copy.#path = this.#path;
    copy.#records = this.#records;
    copy.#first = this.#first;
    copy.#entries = this.#entries;
    copy.#totalEntries = this.#totalEntries;
    copy.#totalBytes = this.#totalBytes;
    return copy;
  }

  /** Adds an entry with all its chunks. */
  add(entry: Entry, chunks: readonly Chunk[]): Promise<void> | void {
    const started = this.beginEntry(entry, chunks.length);
    return started === undefined
      ? this.#addChunks(chunks, 0)
      : started.then(() => this.#addChunks(chunks, 0));
  }

  #addChunks(chunks: readonly Chunk[], from: number): Promise<void> | void {
    for (let i = from; i < chunks.length; i++) {
      const chunk = chunks[i];
      const added = chunk === undefined ? undefined : this.addChunk(chunk);
      if (added !== undefined) return added.then(() => this.#addChunks(chunks, i + 1));
    }
  }

  /** True if the next record, an entry or one of its chunks, starts a leaf. */
  get isAtLeafStart(): boolean {
    return this.#encoder.isEmpty;
  }

  /**
   * Adds a leaf that is stored already, where one starts, and that does not end the tree. `entries` are those that it holds, and
   * `chunksLeft` how many chunks of the last one, or of the one before if there are none, are to follow.
   */
  addLeaf(leaf: Leaf, entries: readonly TreeEntry[], chunksLeft: number): void {
    const records = this.#chunksLeft > 0 ? this.#records : 0;
    if (!this.isAtLeafStart || leaf.skip !== records || leaf.entries !== entries.length)
      throw misuse('a leaf does not start here, or has other entries');
    if (leaf.skip === 0) this.#checkOrder(leaf.firstPath);
    else if (leaf.firstPath !== this.#path) throw misuse('a leaf goes on with another file');
    const last = entries.at(-1);
    this.#records =
      last === undefined ? records + this.#chunksLeft - chunksLeft : 1 + last.chunks.length - chunksLeft;
    this.#chunksLeft = chunksLeft;
    this.#path = last?.entry.path ?? this.#path;
    this.#leaves.push(leaf);
    this.#totalEntries += entries.length;
    for (const { entry } of entries) this.#totalBytes += entry.size;
  }

  /** Adds an entry that exactly `chunkCount` calls of {@link addChunk} follow. */
  beginEntry(entry: Entry, chunkCount: number): Promise<void> | void {
    if (this.#chunksLeft > 0) throw misuse('chunks of the entry before are missing');
    this.#checkOrder(entry.path);
    if (chunkCount > 0 && entry.type !== TYPE.file) throw misuse('only regular files have chunks');
    this.#startRecord(entry.path, 0);
    this.#path = entry.path;
    this.#encoder.addEntry(entry, chunkCount);
    this.#chunksLeft = chunkCount;
    this.#records = 1;
    this.#entries += 1;
    this.#totalEntries += 1;
    this.#totalBytes += entry.size;
    if (this.#encoder.ended) return this.#flush();
  }

  addChunk(chunk: Chunk): Promise<void> | void {
    if (this.#chunksLeft === 0 || this.#path === undefined) throw misuse('a chunk belongs to no entry');
    this.#startRecord(this.#path, this.#records);
    this.#encoder.addChunk(chunk);
    this.#chunksLeft -= 1;
    this.#records += 1;
    if (this.#encoder.ended) return this.#flush();
  }

  /** The last leaf, and the top over all. */
  async finish(): Promise<Top> {
    if (this.#path === undefined || this.#chunksLeft > 0) throw misuse('the tree is not complete');
    if (!this.#encoder.isEmpty) await this.#flush();
    return { totalEntries: this.#totalEntries, totalBytes: this.#totalBytes, leaves: this.#leaves };
  }

  #checkOrder(path: ByteString): void {
    if (this.#path === undefined ? path !== '' : comparePaths(this.#path, path) >= 0)
      throw misuse('entries are not in path order, the root first');
  }

  #startRecord(path: ByteString, skip: number): void {
    if (this.#encoder.isEmpty) this.#first = { path, skip };
  }

  async #flush(): Promise<void> {
    const raw = this.#encoder.take();
    const first = this.#first;
    const entries = this.#entries;
    this.#entries = 0;
    const digest = new Uint8Array(hash('sha256', raw, 'buffer'));
    const number = await this.#emit({ raw, hash: digest, blob: () => wrapTreeBlob(raw, this.#compress) });
    this.#leaves.push({ firstPath: first.path, skip: first.skip, entries, number, hash: digest });
  }
}

function misuse(what: string): BackupError {
  return new BackupError('internal', `writing a tree: ${what}`);
}
