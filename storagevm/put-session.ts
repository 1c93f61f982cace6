/** What one put session does to the store: quota, ledger, object, in this order. */

import { BackupError } from '../shared/errors.ts';
import type { ObjectId } from '../shared/ids.ts';
import { objectName } from './back-end.ts';
import type { PutJournal } from './ledger/puts.ts';
import { takeInPuts } from './ledger/sweep.ts';
import { listObjects } from './listing.ts';
import type { Store } from './store.ts';

/** Bytes put after which room and quota are looked at anew, as others may be putting as well. */
const LOOK_EVERY = 64 * 1024 * 1024;

export class PutSession {
  readonly #store: Store;
  #journal: Promise<PutJournal> | undefined;
  /** Bytes that may still be put before room and quota are looked at again. */
  #budget = 0;
  #looking: Promise<void> = Promise.resolve();
  #recounted = false;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Stores an object; see BackEnd.write. Throws `store-full` where room or quota end. */
  async write(id: ObjectId, bytes: Uint8Array): Promise<boolean> {
    await this.#require(bytes.length);
    await (await this.#open()).add(id, bytes.length);
    await this.#store.ledger.purging.passed(id);
    return this.#store.backEnd.write(objectName(id), bytes);
  }

  /** Makes objects that were written durable. */
  async sync(ids: readonly ObjectId[]): Promise<void> {
    await Promise.all([
      this.#store.backEnd.sync(ids.map(objectName)),
      this.#open().then((journal) => journal.sync()),
    ]);
  }

  async close(): Promise<void> {
    await (await this.#journal?.catch(() => undefined))?.close();
  }

  #open(): Promise<PutJournal> {
    this.#journal ??= this.#store.prepare().then(() => this.#store.ledger.openPuts());
    return this.#journal;
  }

  /** Throws `store-full` unless so many bytes more may be put. */
  #require(size: number): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#budget < size) this.#budget = await this.#look(size);
      this.#budget -= size;
    });
    return this.#looking;
  }

  /** How many bytes may be put until the next look; at least `size`. */
  async #look(size: number): Promise<number> {
    const { backEnd, settings } = this.#store;
    const room = ((await backEnd.room()) ?? Infinity) - settings.reserve;
    if (room < size)
      throw full(`the disk of the storage VM has no room left but the reserve of ${settings.reserve} bytes`);
    if (settings.quota === undefined) return Math.min(room, LOOK_EVERY);
    let left = settings.quota - (await this.#used());
    if (left < size && !this.#recounted) {
      this.#recounted = true; // What was counted is an upper bound: objects that were there already count twice.
      left = settings.quota - (await this.#recount());
    }
    if (left < size) throw full(`the storage VM’s quota of ${settings.quota} bytes is used up`);
    return Math.min(room, left, LOOK_EVERY);
  }

  /** Bytes in the store, and those that all sessions may have put since they were counted. */
  async #used(): Promise<number> {
    const { counted, offsets } = await this.#store.ledger.readState();
    if (counted === null) return this.#recount();
    let bytes = counted.bytes;
    for await (const rows of this.#store.ledger.readPuts(offsets).rows())
      for (const { size } of rows) bytes += size;
    return bytes;
  }

  async #recount(): Promise<number> {
    const { ledger, backEnd } = this.#store;
    return ledger.locked(async () => {
      await takeInPuts(ledger, await ledger.clock.age());
      const counted = { objects: 0, bytes: 0 };
      for await (const batch of listObjects(backEnd)) {
        counted.objects += batch.length;
        for (const { size } of batch) counted.bytes += size;
      }
      await ledger.writeState({ ...(await ledger.readState()), counted });
      return counted.bytes;
    });
  }
}

function full(what: string): BackupError {
  return new BackupError('store-full', `${what}: make room there, or let its owner raise the limit`);
}
