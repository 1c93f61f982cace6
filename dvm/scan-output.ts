/**
 * What a scan puts: packs, leaves and tops, numbered in the order they are sent. Entries wait here until the packs they
 * refer to are complete, because a leaf holds their numbers.
 */

import { byteString, equalBytes } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { NumberSet } from '../shared/numbers.ts';
import { DigestWriter } from './digest.ts';
import { TYPE } from './entry.ts';
import { LeafReuse } from './leaf-reuse.ts';
import { PackWriter } from './pack-writer.ts';
import { SegmentPlace } from './place.ts';
import type { Base } from './scan-base.ts';
import { TreeWriter, encodeTop } from './tree.ts';
import type { EncodedLeaf, Top, TreeEntry } from './tree.ts';
import { encodeRawTop } from './tree-top.ts';

/** Entries, and chunks of them, that may wait for their packs before the open pack is closed early. */
const MAX_WAITING = 20_000;

/** The part of a session that blobs go through. */
export interface BlobSink {
  send(name: 'putContent' | 'putTree', value: Uint8Array | readonly Uint8Array[]): Promise<void>;
}

export interface OutputOptions {
  readonly firstNumber: number;
  readonly compress: boolean;
  readonly base: Base | undefined;
}

export class ScanOutput {
  readonly packs: PackWriter;
  readonly digest = new DigestWriter();
  readonly #sink: BlobSink;
  readonly #options: OutputOptions;
  readonly #tree: TreeWriter;
  readonly #reuse: LeafReuse;
  readonly #waiting: TreeEntry[] = [];
  #waitingChunks = 0;
  /** Chunks of the first waiting entry whose packs are known to be complete. */
  #complete = 0;
  #next: number;
  /** Numbers of leaves by their hash: the base's and this scan's. */
  readonly #leaves = new Map<ByteString, number>();
  readonly #livePacks = new Set<number>();
  #last: { readonly path: ByteString; readonly isDirectory: boolean } | undefined;

  constructor(sink: BlobSink, options: OutputOptions) {
    const { firstNumber, compress, base } = options;
    this.#sink = sink;
    this.#options = options;
    this.#next = firstNumber;
    this.packs = new PackWriter((pieces) => this.#put('putContent', pieces), { compress });
    this.#tree = new TreeWriter((leaf) => this.#emit(leaf), { compress });
    const leaves = base?.top.leaves ?? [];
    this.#reuse = new LeafReuse(this.#tree, leaves);
    for (const leaf of leaves) this.#leaves.set(byteString(leaf.hash), leaf.number);
  }

  /** True once something was put. */
  get isNew(): boolean {
    return this.#next > this.#options.firstNumber;
  }

  /** Adds the next entry in path order. After a call that returned a promise, wait for it before the next. */
  add(item: TreeEntry): Promise<void> | void {
    this.digest.add(item.entry, item.chunks);
    if (this.#waiting.length === 0 && this.#isHeadComplete(item)) return this.#write(item);
    this.#waiting.push(item);
    this.#waitingChunks += 1 + item.chunks.length;
    if (this.#waitingChunks > MAX_WAITING) return this.settle();
    const [head] = this.#waiting;
    if (head !== undefined && this.#isHeadComplete(head)) return this.#drain();
  }

  /** Completes all packs and brings every entry so far into the tree. */
  async settle(): Promise<void> {
    await this.packs.flush();
    await this.#drain();
    await this.#reuse.release();
  }

  /** The tree so far as one that can go on differently; call {@link settle} before. `last` is what was added last. */
  fork(): {
    readonly tree: TreeWriter;
    readonly last: { readonly path: ByteString; readonly isDirectory: boolean };
  } {
    return { tree: this.#tree.fork(), last: this.#last ?? { path: '' as ByteString, isDirectory: true } };
  }

  /** Puts a top; the base's own is not put again. Answers its number. */
  async putTop(top: Top): Promise<number> {
    const { base, compress } = this.#options;
    if (base !== undefined && equalBytes(encodeRawTop(top), encodeRawTop(base.top))) return base.number;
    return this.#put('putTree', await encodeTop(top, compress));
  }

  /** Completes the tree and puts what is missing of it. `live` is every blob it refers to. */
  async finish(): Promise<{ readonly top: number; readonly tree: Top; readonly live: NumberSet }> {
    await this.settle();
    const tree = await this.#tree.finish();
    const top = await this.putTop(tree);
    const live = NumberSet.of([...this.#livePacks, ...tree.leaves.map((leaf) => leaf.number), top]);
    return { top, tree, live };
  }

  async #drain(): Promise<void> {
    let done = 0;
    for (const item of this.#waiting) {
      if (!this.#isHeadComplete(item)) break;
      this.#waitingChunks -= 1 + item.chunks.length;
      done += 1;
      const written = this.#write(item);
      if (written !== undefined) await written;
    }
    this.#waiting.splice(0, done);
  }

  /** Brings an entry into the tree, all chunks of which are in complete packs. */
  #write(item: TreeEntry): Promise<void> | void {
    const { entry, chunks } = item;
    this.#complete = 0;
    for (const { place } of chunks) this.#livePacks.add(place.blob);
    this.#last = { path: entry.path, isDirectory: entry.type === TYPE.directory };
    return this.#reuse.add(item);
  }

  #isHeadComplete(item: TreeEntry): boolean {
    while (this.#complete < item.chunks.length) {
      const place = item.chunks[this.#complete]?.place;
      if (place instanceof SegmentPlace && place.segment.pack === undefined) return false;
      this.#complete += 1;
    }
    return true;
  }

  async #emit(leaf: EncodedLeaf): Promise<number> {
    const key = byteString(leaf.hash);
    const known = this.#leaves.get(key);
    if (known !== undefined) return known;
    const number = await this.#put('putTree', await leaf.blob());
    this.#leaves.set(key, number);
    return number;
  }

  /** Numbers follow the order of sending, so the number is taken in the same turn. */
  async #put(name: 'putContent' | 'putTree', value: Uint8Array | readonly Uint8Array[]): Promise<number> {
    const number = this.#next++;
    await this.#sink.send(name, value);
    return number;
  }
}
