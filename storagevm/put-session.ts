/** What one put session does to the store: quota, ledger, object, in this order. */

import { BackupError } from '../shared/errors.ts';
import type { ObjectId } from '../shared/ids.ts';
import { objectName } from './back-end.ts';
import type { PutJournal } from './ledger/puts.ts';
import { takeInPuts } from './ledger/take-in.ts';
import { listObjects } from './listing.ts';
import type { Store } from './store.ts';

/** Bytes put after which room and quota are looked at anew, as others may be putting as well. */
const LOOK_EVERY = 64 * 1024 * 1024;

export class PutSession {
  readonly #store: Store;
  #journal: Promise<PutJournal> | undefined;
  /** Bytes that may still be put before room and quota are looked at again. */
  #budget = 0;
  /** Bytes that are on their way, and not in the journal yet. */
  #underWay = 0;
  readonly #running = new Set<Promise<boolean>>();
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Stores an object; see BackEnd.write. Throws `store-full` where room or quota end. */
  async write(id: ObjectId, bytes: Uint8Array): Promise<boolean> {
    const size = bytes.length;
    await this.#admit(size);
    const storing = this.#journalled(id, bytes);
    this.#running.add(storing);
    const forget = () => {
      this.#underWay -= size;
      this.#running.delete(storing);
    };
    storing.then(forget, forget);
    return storing;
  }

  async #journalled(id: ObjectId, bytes: Uint8Array): Promise<boolean> {
    const journal = await this.#open();
    await journal.add(id, 0);
    await this.#store.ledger.purging.passed(id);
    const stored = await this.#store.backEnd.write(objectName(id), bytes);
    if (stored) await journal.add(id, bytes.length); // A second row, as only now it is known what came to the store.
    return stored;
  }

  /** Makes objects that were written durable. */
  async sync(ids: readonly ObjectId[]): Promise<void> {
    await Promise.all([
      this.#store.backEnd.sync(ids.map(objectName)),
      this.#open().then((journal) => journal.sync()),
    ]);
  }

  /** Nothing more is stored; what is under way ends first. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
    await (await this.#journal?.catch(() => undefined))?.close();
  }

  #open(): Promise<PutJournal> {
    if (this.#closed) return Promise.reject(new BackupError('internal', 'the put session is over'));
    this.#journal ??= this.#store.prepare().then(() => this.#store.ledger.openPuts());
    return this.#journal;
  }

  /** Throws `store-full` unless so many bytes more may be put; one after the other. */
  #admit(size: number): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#budget < size) this.#budget = await this.#look(size);
      this.#budget -= size;
      this.#underWay += size;
    });
    return this.#looking;
  }

  /** How many bytes may be put until the next look; at least `size`. */
  async #look(size: number): Promise<number> {
    const { backEnd, settings } = this.#store;
    const room = ((await backEnd.room()) ?? Infinity) - settings.reserve - this.#underWay;
    if (room < size)
      throw full(`the disk of the storage VM has no room left but the reserve of ${settings.reserve} bytes`);
    if (settings.quota === undefined) return Math.min(room, LOOK_EVERY);
    const left = settings.quota - (await this.#used()) - this.#underWay;
    if (left < size && this.#running.size > 0) {
      await Promise.allSettled(this.#running); // Some of it may have been there already.
      return this.#look(size);
    }
    if (left < size) throw full(`the storage VM’s quota of ${settings.quota} bytes is used up`);
    return Math.min(room, left, LOOK_EVERY);
  }

  /** Bytes in the store. What other sessions have under way at this instant is not among them. */
  async #used(): Promise<number> {
    const { ledger } = this.#store;
    const { counted, offsets } = await ledger.readState();
    if (counted === null) return this.#count();
    let bytes = counted.bytes;
    for await (const rows of ledger.readPuts(offsets).rows()) for (const { size } of rows) bytes += size;
    return bytes;
  }

  /** Counts what is in the store, once in its life. */
  async #count(): Promise<number> {
    const { ledger, backEnd } = this.#store;
    await this.#store.prepare();
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
