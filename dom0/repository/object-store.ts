/** Sealing and opening against a storage VM: plaintext records and blobs on this side, objects on the other. */

import type * as z from 'zod';
import { concat } from '../../shared/bytes.ts';
import { decodeWith, encodeWith } from '../../shared/cbor.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { ObjectId, VmId } from '../../shared/ids.ts';
import { MAX_PADDED } from '../../shared/limits.ts';
import { PayloadMemory } from '../../shared/wire/payload-memory.ts';
import { KIND, open, seal } from '../seal/object.ts';
import type { Kind, Place, SealedObject } from '../seal/object.ts';
import type { ObjectCache } from '../state/cache.ts';
import { Semaphore } from '../semaphore.ts';
import type { Stores } from '../storage/stores.ts';
import { Tally } from './tally.ts';

/** A key and what it seals. */
export interface Sealer {
  readonly key: Uint8Array;
  readonly place: Place;
}

/** An object that should be in the store, and what people call it. */
export interface StoredObject {
  readonly sealer: Sealer;
  readonly id: ObjectId;
  readonly what: string;
}

/** Objects fetched for spot checks at the same time, of all VMs: the storage VM reads one while another is verified. */
const SPOT_CHECKS_AT_ONCE = 2;

export class ObjectStore {
  readonly storage: Stores;
  readonly #cache: ObjectCache;
  /** What spot checks of all VMs share: each holds an object in memory. */
  readonly spotChecks = new Semaphore(SPOT_CHECKS_AT_ONCE);
  readonly #tallies = new Map<VmId | undefined, Tally>();
  /** Of ciphertexts alone: what a store may still be sent must never become a plaintext. */
  readonly #sealedMemory = new PayloadMemory();
  /** Of plaintexts alone, of blobs that go to a disposable: one waits to be sent while the next is opened. */
  readonly #openedMemory = new PayloadMemory(2 * MAX_PADDED);

  constructor(storage: Stores, cache: ObjectCache) {
    this.storage = storage;
    this.#cache = cache;
  }

  /** Seals `payload`; the caller gets the object at once, `durable` resolves when the storage VM has it. */
  put({ key, place }: Sealer, payload: Uint8Array): { object: SealedObject; durable: Promise<void> } {
    const object = seal(key, place, payload, (length) => this.#sealedMemory.take(length));
    if (place.kind !== KIND.content) this.#cache.put(object.id, object.pieces);
    this.tally(place.vm).add({ sealer: { key, place }, id: object.id, what: nameOf(place) }, object.size);
    return { object, durable: this.#send(object) };
  }

  async #send(object: SealedObject): Promise<void> {
    await this.storage.put(object);
    for (const piece of object.pieces) this.#sealedMemory.giveBack(piece); // Not after a failure: it may still be on its way.
  }

  /** Stores a record and waits until it is durable. */
  async putRecord<S extends z.ZodType>(sealer: Sealer, schema: S, record: z.output<S>): Promise<ObjectId> {
    const { object, durable } = this.put(sealer, encodeWith(schema, record));
    await durable;
    return object.id;
  }

  /** Verified plaintext of object `id`. Throws `store-missing` or `store-damaged`; `what` names it for people. */
  async get({ key, place }: Sealer, id: ObjectId, what: string): Promise<Uint8Array> {
    const cached = place.kind === KIND.content ? undefined : this.#cache.get(id);
    if (cached !== undefined) {
      try {
        return open(key, place, id, cached);
      } catch (error) {
        if (!isBackupError(error, 'store-damaged')) throw error;
        this.#cache.remove(id);
      }
    }
    return this.getFromStorage({ key, place }, id, what);
  }

  /** Like get(), never from the cache. */
  async getFromStorage({ key, place }: Sealer, id: ObjectId, what: string): Promise<Uint8Array> {
    const untrusted = await this.storage.get(id);
    return this.#openUntrusted({ key, place }, id, what, this.storage.name, untrusted);
  }

  /** Like getFromStorage(), of one store alone, whichever: what it lost, or altered, no other makes good. */
  async getFromOneStore(sealer: Sealer, id: ObjectId, what: string): Promise<Uint8Array> {
    const { store, bytes } = await this.storage.getFromOne(id);
    return this.#openUntrusted(sealer, id, what, store, bytes);
  }

  #openUntrusted(
    { key, place }: Sealer,
    id: ObjectId,
    what: string,
    store: string,
    untrusted: Uint8Array | undefined,
  ): Uint8Array {
    if (untrusted === undefined) {
      throw new BackupError(
        'store-missing',
        `${store} lost object ${id.slice(0, 16)}… (${what}): the store is damaged`,
      );
    }
    const allocate = (length: number) => this.#openedMemory.take(length);
    const payload = annotate(what, () => open(key, place, id, untrusted, allocate));
    if (place.kind !== KIND.content) this.#cache.put(id, [concat([untrusted])]);
    this.storage.giveBack(untrusted);
    return payload;
  }

  /** Takes back the memory of a payload from get(), at which nobody will look again. */
  giveBack(payload: Uint8Array): void {
    this.#openedMemory.giveBack(payload);
  }

  async getRecord<S extends z.ZodType>(
    sealer: Sealer,
    schema: S,
    id: ObjectId,
    what: string,
  ): Promise<z.output<S>> {
    const payload = await this.get(sealer, id, what);
    try {
      return decodeWith(schema, payload);
    } catch (cause) {
      throw new BackupError(
        'store-damaged',
        `${what} is sealed properly but malformed: written by a faulty or newer program?`,
        { cause },
      );
    }
  }

  /** What was stored of a VM since this was made; without `vm`, of none: catalogs and lists of roots. */
  tally(vm: VmId | undefined): Tally {
    let tally = this.#tallies.get(vm);
    if (tally === undefined) {
      tally = new Tally();
      this.#tallies.set(vm, tally);
    }
    return tally;
  }

  clearCache(): void {
    this.#cache.clear();
  }

  trimCache(): void {
    this.#cache.trim();
  }
}

/** What people call each kind. */
const KIND_NAMES: Readonly<Record<Kind, string>> = {
  [KIND.catalog]: 'catalog',
  [KIND.rootSegment]: 'list of roots',
  [KIND.vmRecord]: 'VM record',
  [KIND.tableLeaf]: 'blob table',
  [KIND.snapshot]: 'snapshot',
  [KIND.snapshotSegment]: 'list of snapshots',
  [KIND.config]: 'configuration',
  [KIND.liveSet]: 'live set',
  [KIND.content]: 'content blob',
  [KIND.tree]: 'tree blob',
};

function nameOf({ kind, number }: Place): string {
  return `${KIND_NAMES[kind]} ${number}, which this run stored`;
}

function annotate<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isBackupError(error)) throw error;
    throw new BackupError(error.code, `${error.message} (${what})`, { cause: error });
  }
}
