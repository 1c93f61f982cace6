/**
 * Brings one store up to date (R44): one that missed roots, was put back to an older one, or is empty. It is given every object that
 * the current root needs and that it does not list, each from another store and verified before it is sent, then that root.
 * What an interrupted run copied is listed by the next.
 */

import type { ObjectId } from '../../shared/ids.ts';
import { NO_ROOT, objectIdOf } from '../../shared/ids.ts';
import { DOM0_UPLOAD_SHARE, FRAME_COST, MAX_OBJECT } from '../../shared/limits.ts';
import { Semaphore } from '../semaphore.ts';
import { Listing } from '../storage/listing.ts';
import type { Store } from '../storage/store.ts';
import { neededObjects } from './live-objects.ts';
import type { Repository } from './repository.ts';

/** What an object counts for in memory while its size is not known: most are no larger. */
const GUESS = MAX_OBJECT / 2;

/** Objects and bytes copied so far, of `total` objects; `lost` of them are in no store. */
export interface Synced {
  readonly objects: number;
  readonly bytes: number;
  readonly total: number;
  readonly lost: number;
}

export interface SyncListener {
  progress(synced: Synced): void;
  /** Told of an object that no other store has whole. */
  lost(id: ObjectId): void;
}

/**
 * `store` offers a root that is known to be one before the current one, none, or one that cannot be read. Throws what went wrong with
 * it; then it has its old root, and the objects that it acknowledged.
 */
export async function syncStore(
  repository: Repository,
  store: Store,
  listener: SyncListener,
): Promise<Synced> {
  const present = await Listing.of(store.client);
  const copy = new Copy(repository, store, present, listener);
  const synced = await copy.run();
  const waits = await store.client.setRoot(repository.root, store.root?.hash ?? NO_ROOT);
  store.joined(repository.root, waits !== null);
  return synced;
}

class Copy {
  readonly #repository: Repository;
  readonly #store: Store;
  readonly #present: Listing;
  readonly #listener: SyncListener;
  readonly #budget = new Semaphore(DOM0_UPLOAD_SHARE);
  readonly #copying = new Set<Promise<void>>();
  #synced: Synced = { objects: 0, bytes: 0, total: 0, lost: 0 };
  #failure: { readonly error: unknown } | undefined;

  constructor(repository: Repository, store: Store, present: Listing, listener: SyncListener) {
    this.#repository = repository;
    this.#store = store;
    this.#present = present;
    this.#listener = listener;
  }

  async run(): Promise<Synced> {
    let total = 0;
    for await (const id of neededObjects(this.#repository)) if (this.#lacks(id)) total += 1;
    this.#synced = { ...this.#synced, total };
    try {
      if (total > 0)
        for await (const id of neededObjects(this.#repository)) if (this.#lacks(id)) await this.#start(id);
    } finally {
      await Promise.all(this.#copying); // Nothing of this outlives it; a failure was kept.
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return this.#synced;
  }

  #lacks(id: ObjectId): boolean {
    return this.#present.problemOf(id) !== undefined;
  }

  /** Resolves as soon as there is room for the next. */
  async #start(id: ObjectId): Promise<void> {
    await this.#budget.take(GUESS);
    if (this.#failure !== undefined) throw this.#failure.error;
    const copying = this.#copy(id).catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#copying.add(copying);
    void copying.then(() => this.#copying.delete(copying));
  }

  async #copy(id: ObjectId): Promise<void> {
    let held = GUESS;
    try {
      const bytes = await this.#repository.store.storage.get(id, this.#store);
      if (bytes === undefined || objectIdOf(bytes) !== id) {
        this.#synced = { ...this.#synced, lost: this.#synced.lost + 1 };
        this.#listener.lost(id);
        return;
      }
      if (this.#failure !== undefined) return;
      const size = bytes.length + FRAME_COST;
      this.#budget.give(held - size);
      held = size;
      await this.#store.client.put({ id, pieces: [bytes], size: bytes.length });
      const { objects, bytes: before } = this.#synced;
      this.#synced = { ...this.#synced, objects: objects + 1, bytes: before + bytes.length };
      this.#listener.progress(this.#synced);
    } finally {
      this.#budget.give(held);
    }
  }
}
