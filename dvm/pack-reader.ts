/**
 * Reads chunks out of packs. Those that are announced are fetched and decompressed ahead of their use, on the thread pool;
 * recently used packs are kept, up to a budget of bytes. A chunk is handed out only if its bytes have its SHA-256.
 */

import { hash } from 'node:crypto';
import { equalBytes } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import type { Chunk } from './entry.ts';
import { Pack, damagedPack } from './pack.ts';

/** Bytes of packs that are kept, with those that are needed next, which are kept in any case. */
const CACHE_BUDGET = 64 * 1024 * 1024;
/** Segments decompressed, and packs fetched, ahead of their use: enough work for the thread pool, and little of the budget. */
const AHEAD = 4;

export class PackReader {
  readonly #blobs: BlobSource;
  readonly #budget: number;
  /** Packs by number, the least recently used first. */
  readonly #packs = new Map<number, Pack>();
  readonly #fetching = new Map<number, Promise<Pack>>();
  /** Announced and not read yet, in that order. */
  #unread = new Set<Chunk>();
  /** Of each segment that was decompressed ahead, and each pack that was fetched ahead, the announced chunk that is read first. */
  readonly #ahead = new Set<Chunk>();
  #readOne: () => void = () => undefined;

  constructor(blobs: BlobSource, budget = CACHE_BUDGET) {
    this.#blobs = blobs;
    this.#budget = budget;
  }

  /**
   * Announces chunks that will be read in this order, so that their packs are fetched and decompressed ahead. What was announced
   * before, and not read, no longer is.
   */
  prefetch(chunks: Iterable<Chunk>): void {
    this.#unread = new Set(chunks);
    const numbers = new Set<number>();
    for (const { place } of this.#unread)
      if (!this.#packs.has(place.blob) && !this.#fetching.has(place.blob)) numbers.add(place.blob);
    if (numbers.size > 0) this.#blobs.prefetch([...numbers]);
    this.#ahead.clear();
    this.#prepare(this.#unread).catch(() => undefined); // Whoever reads the chunk gets the failure.
  }

  /**
   * The verified bytes of `chunk`, at once if its pack is at hand and nothing is to be decompressed. They are a view into the pack. Do
   * not call it again before the last promise is settled. Throws `store-damaged`.
   */
  read(chunk: Chunk): Uint8Array | Promise<Uint8Array> {
    const pack = this.#packs.get(chunk.place.blob);
    if (pack === undefined)
      return this.#fetch(chunk).then((fetched) => this.#extractWhenThere(fetched, chunk));
    return this.#extractWhenThere(pack, chunk);
  }

  #extractWhenThere(pack: Pack, chunk: Chunk): Uint8Array | Promise<Uint8Array> {
    const { offset, packSize } = chunk.place;
    if (pack.size !== packSize) throw damagedPack('it has another size than the tree says');
    const coming = pack.coming(offset, chunk.length);
    return coming === undefined ? this.#extract(pack, chunk) : coming.then(() => this.#extract(pack, chunk));
  }

  /** Fetches and decompresses announced chunks, as far ahead as may be: what is fetched too early drives out what is still to be read. */
  async #prepare(unread: ReadonlySet<Chunk>): Promise<void> {
    for (const chunk of unread) {
      const known = this.#packs.get(chunk.place.blob);
      const pack = known ?? (await this.#fetch(chunk));
      if (this.#unread !== unread) return; // Something else was announced.
      if (!unread.has(chunk)) continue; // Its reader waited for the pack as well, and was first.
      if (!pack.prepare(chunk.place.offset, chunk.length) && known !== undefined) continue;
      this.#ahead.add(chunk);
      while (this.#ahead.size >= AHEAD) await new Promise<void>((resolve) => (this.#readOne = resolve));
    }
  }

  #fetch({ place }: Chunk): Promise<Pack> {
    const number = place.blob;
    const known = this.#fetching.get(number);
    if (known !== undefined) return known;
    const fetching = this.#blobs
      .get(number)
      .then((untrustedBlob) => {
        const pack = new Pack(untrustedBlob);
        this.#packs.set(number, pack);
        return pack;
      })
      .finally(() => this.#fetching.delete(number));
    this.#fetching.set(number, fetching);
    return fetching;
  }

  #extract(pack: Pack, chunk: Chunk): Uint8Array {
    const { blob, offset } = chunk.place;
    const bytes = pack.read(offset, chunk.length);
    this.#unread.delete(chunk);
    if (this.#ahead.delete(chunk)) this.#readOne(); // Not before: it may be prepared while it is waited for.
    this.#packs.delete(blob);
    this.#packs.set(blob, pack);
    this.#evict(blob);
    if (!equalBytes(hash('sha256', bytes, 'buffer'), chunk.hash))
      throw damagedPack('a chunk has another hash than the tree says');
    return bytes;
  }

  /** Drops packs above the budget, but neither the one that is read nor one that was fetched ahead, and is older than what was read since. */
  #evict(current: number): void {
    let weight = 0;
    for (const pack of this.#packs.values()) weight += pack.weight;
    if (weight <= this.#budget) return;
    const needed = new Set([...this.#ahead].map(({ place }) => place.blob)).add(current);
    for (const [number, pack] of this.#packs) {
      if (weight <= this.#budget) return;
      if (needed.has(number)) continue;
      this.#packs.delete(number);
      weight -= pack.weight;
    }
  }
}
