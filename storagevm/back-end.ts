/**
 * What a storage VM needs of the place that holds its data: immutable objects by name, a chain of roots, one
 * pinned key. Every back end passes the same contract suite (test/storagevm/back-end-contract.ts).
 *
 * "Durable" means: survives a power cut at the next instant. All methods may be called concurrently, from any
 * number of processes on the same store, without locks. Failures are BackupError: `store-full` (no room, or
 * over quota), `store-version`, `store-damaged`, `io`.
 */

import type { ObjectId, RootHash } from '../shared/ids.ts';

/** An object as a listing reports it; `size` in bytes, unverified. */
export interface StoredObject {
  readonly id: ObjectId;
  readonly size: number;
}

export interface BackEnd {
  /**
   * Stores `bytes` (at most MAX_OBJECT) under `id`, which the caller computed as their SHA-256. All or nothing:
   * no reader ever sees a part. False if exactly these bytes were there already; other bytes found under the
   * name are damage and are replaced. Durable only after {@link sync}. A failure leaves nothing behind.
   */
  write(id: ObjectId, bytes: Uint8Array): Promise<boolean>;

  /** Makes earlier writes of `ids` durable, whichever process did them and whether or not they stored anything. */
  sync(ids: readonly ObjectId[]): Promise<void>;

  /**
   * The bytes under `id` as they are (their hash is for the reader to check), or undefined if there are none.
   * Throws `io` if they cannot be delivered: unreadable, or more than MAX_OBJECT.
   */
  read(id: ObjectId): Promise<Uint8Array | undefined>;

  /** All objects in batches, sorted by name over all of them; an object written meanwhile may be left out. */
  list(): AsyncIterable<readonly StoredObject[]>;

  /** The bytes of the newest root, unverified but durable; undefined if there is none. */
  currentRoot(): Promise<Uint8Array | undefined>;

  /**
   * Makes `root` the successor of `previous`, durably; NO_ROOT is the place of the first. The compare-and-set:
   * of all calls with the same `previous`, ever, one answers true. The others answer false and change nothing.
   */
  addRoot(previous: RootHash, root: Uint8Array): Promise<boolean>;

  /**
   * Pins `key` (Ed25519, 32 bytes) durably if none is pinned, or `replaced` is; answers the one that is pinned then.
   * Nothing else changes it.
   */
  pinKey(key: Uint8Array, replaced?: Uint8Array): Promise<Uint8Array>;
}
