/**
 * All stores of a repository as one (R44). Every object goes to all that are in step, a root to the primary first, whose
 * compare-and-set decides. Whichever has an object can give it. A store that fails is told of once and left out of the rest of
 * the run; without the primary nothing can be written.
 */

import { randomInt } from 'node:crypto';
import { BackupError } from '../../shared/errors.ts';
import type { ObjectId, RootHash } from '../../shared/ids.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { formatBytes } from '../../shared/format.ts';
import type { WaitingList } from '../../shared/protocol/storage.ts';
import type { Root } from '../../shared/root.ts';
import type { SealedObject } from '../seal/object.ts';
import { asBackupError } from './store.ts';
import type { Store } from './store.ts';

/** Who is told of the faults of stores. */
export interface StoreListener {
  /** Makes the run end with status 3. */
  warn(text: string): void;
  /** Does not: another store stands in. */
  warnOnly(text: string): void;
  note(text: string): void;
}

export class Stores {
  /** In the order of the configuration. */
  readonly all: readonly Store[];
  readonly primary: Store;
  /** True once a root was published. */
  published = false;
  readonly #lostPrimary: string | undefined;
  readonly #listener: StoreListener;
  readonly #toldToWait = new Set<Store>();
  /** How many times all sessions were aborted: what fails by that is no fault of a store. */
  #aborted = 0;

  /** `chosen`: the name of the primary store, if one was chosen; else the first is it. */
  constructor(all: readonly Store[], listener: StoreListener, chosen?: string) {
    const [first] = all;
    if (first === undefined) throw new BackupError('internal', 'no store is configured');
    const found = all.find(({ name }) => name === chosen);
    this.all = all;
    this.primary = found ?? first;
    this.#lostPrimary = found === undefined ? chosen : undefined;
    this.#listener = listener;
  }

  /** False if the primary store that was chosen is not configured any more. */
  get hasPrimary(): boolean {
    return this.#lostPrimary === undefined;
  }

  /** The names of all, for people. */
  get name(): string {
    return listNames(this.all);
  }

  /** The names of those that offer `root`. */
  offering({ hash }: Root): string {
    return listNames(this.all.filter(({ root }) => root?.hash === hash));
  }

  get inStep(): readonly Store[] {
    return this.all.filter((store) => store.inStep);
  }

  /** The store of that name. Throws `usage`. */
  named(name: string): Store {
    const found = this.all.find((store) => store.name === name);
    if (found !== undefined) return found;
    throw new BackupError('usage', `no store named ${name} is configured: there is ${this.name}`);
  }

  /** Starts the reading services, so that they are ready when they are needed. */
  warmUp(): void {
    for (const { client } of this.all) client.warmUp();
  }

  /** The same of those that store objects. */
  warmUpWriting(): void {
    for (const { client } of this.inStep) client.warmUpWriting();
  }

  /** The same of those that publish the next root. */
  warmUpPublishing(): void {
    for (const { client } of this.inStep) client.warmUpPublishing();
  }

  /** Asks every store for its root. */
  async survey(): Promise<void> {
    await Promise.all(this.all.map((store) => store.survey()));
  }

  /** Tells how the stores stand that are not in step. */
  report(): void {
    for (const store of this.all) {
      const text = `store ${store.name} ${store.describe()}`;
      const { is } = store.standing;
      if (store.waits)
        this.#listener.note(
          `store ${store.name} waits for its owner: run "qubes-backup-storage status" there`,
        );
      if (is === 'in-step') continue;
      if (is === 'behind' || is === 'empty' || store.isAway) this.#listener.note(text);
      else if (is === 'absent' || is === 'failed') this.#listener.warnOnly(text);
      else this.#listener.warn(text);
    }
  }

  /** Throws unless something can be published: the primary store must be there, and in step. */
  requirePrimary(): void {
    const { primary } = this;
    const { standing, name } = primary;
    if (this.#lostPrimary !== undefined)
      throw new BackupError(
        'usage',
        `the primary store is ${this.#lostPrimary}, which is not configured any more: put it back, or make another one the primary: "qubes-backup storage primary NAME"`,
      );
    if (standing.is === 'in-step') return;
    const code = 'error' in standing ? standing.error.code : 'store-missing';
    const how =
      standing.is === 'behind' || standing.is === 'rolled-back' || standing.is === 'empty' || primary.lostRoot
        ? `run "qubes-backup storage sync ${name}" first`
        : `see to it, or make another store the primary one: "qubes-backup storage primary NAME"`;
    throw new BackupError(
      code,
      `the primary store ${name} ${primary.describe()}. Without it nothing is written: ${how}`,
    );
  }

  /**
   * The untrusted bytes of an object from the first store that has it whole; undefined if none has any. `except`: a store that is
   * not asked.
   */
  async get(id: ObjectId, except?: Store): Promise<Uint8Array | undefined> {
    const session = this.#aborted;
    const readers = this.#readers().filter((store) => store !== except);
    let damaged: Uint8Array | undefined;
    let failure: BackupError | undefined;
    for (const store of readers) {
      const recourse = store !== readers.at(-1);
      try {
        const bytes = await store.client.get(id);
        // Who opens it checks its hash all the same: here it only decides whether another store is asked.
        if (bytes !== undefined && (readers.length === 1 || objectIdOf(bytes) === id)) return bytes;
        damaged ??= bytes;
        if (recourse && store.inStep)
          this.#warnOfObject(store, id, bytes === undefined ? 'missing' : 'damaged');
      } catch (error) {
        if (readers.length === 1 || session !== this.#aborted) throw error;
        failure ??= asBackupError(error);
        this.#drop(store, error);
      }
    }
    if (damaged === undefined && failure !== undefined) throw failure;
    return damaged;
  }

  /** The untrusted bytes that one of the stores in step has of an object, whichever: to find out a store that lost it. */
  async getFromOne(
    id: ObjectId,
  ): Promise<{ readonly store: string; readonly bytes: Uint8Array | undefined }> {
    for (;;) {
      const { inStep } = this;
      const store = inStep[inStep.length > 1 ? randomInt(inStep.length) : 0];
      if (store === undefined) throw new BackupError('store-missing', 'no store is left to read from');
      const answer = await this.#attempt(store, async ({ client }) => ({ bytes: await client.get(id) }));
      if (answer !== undefined) return { store: store.name, ...answer };
    }
  }

  /** Resolves when `object` is durable in every store that is in step. */
  async put(object: SealedObject): Promise<void> {
    this.requirePrimary();
    await Promise.all(this.inStep.map((store) => this.#attempt(store, ({ client }) => client.put(object))));
  }

  /** Publishes `root` if `current` is the primary's root. Throws `store-conflict` if it is not. */
  async setRoot(root: Root, current: RootHash): Promise<void> {
    this.requirePrimary();
    this.#published(this.primary, root, await this.primary.client.setRoot(root, current));
    this.published = true;
    const others = this.inStep.filter((store) => store !== this.primary);
    await Promise.all(
      others.map((other) =>
        this.#attempt(other, async (store) => {
          this.#published(store, root, await store.client.setRoot(root, current));
        }),
      ),
    );
  }

  /** `store` has `root` now. What waits for its owner is told once a run. */
  #published(store: Store, root: Root, waits: WaitingList | null): void {
    store.joined(root, waits !== null);
    if (waits === null || this.#toldToWait.has(store)) return;
    this.#toldToWait.add(store);
    this.#listener.warn(
      `store ${store.name}: ${formatBytes(waits.deadBytes)} of ${formatBytes(waits.bytes)} are needed no more by a root that was published, ` +
        'and are kept until its owner says so: run "qubes-backup-storage status" there. If you did not forget that much, do not accept it',
    );
  }

  /** Takes back the memory of an object that get() or getFromOne() answered, at which nobody will look again: whose it was is all the same. */
  giveBack(object: Uint8Array): void {
    this.primary.client.giveBack(object);
  }

  /** The untrusted bytes of the primary's root. */
  root(): Promise<Uint8Array | undefined> {
    return this.primary.client.root();
  }

  /** Ends all sessions in order; after this, everything was confirmed to the last frame. None is left, even on failure. */
  async close(): Promise<void> {
    const ends = await Promise.allSettled(this.all.map(({ client }) => client.close()));
    const failed = ends.flatMap((end) => (end.status === 'rejected' ? [asBackupError(end.reason)] : []));
    const [first, ...others] = failed;
    for (const error of others) this.#listener.warn(error.message);
    if (first !== undefined) throw first;
  }

  /**
   * After a failure: what failed is used anew. The primary as well: without it there is no going on. Other stores that failed stay
   * left out, and what works, works on.
   */
  async recover(): Promise<void> {
    await Promise.all(this.all.map(({ client }) => client.forgetFailed()));
    this.#readmitPrimary();
  }

  /** Ends all sessions at once. The primary may be used again. */
  async abort(): Promise<void> {
    this.#aborted += 1;
    await Promise.all(this.all.map(({ client }) => client.abort()));
    this.#readmitPrimary();
  }

  #readmitPrimary(): void {
    if (this.#primaryFailed) this.primary.standing = { is: 'in-step' };
    this.#primaryFailed = false;
  }

  #primaryFailed = false;

  /** Those in step, the primary first; then those that may have an object all the same. */
  #readers(): readonly Store[] {
    const rank = (store: Store) => (store.inStep ? 0 : 2) + (store === this.primary ? 0 : 1);
    const useful = this.all.filter(
      ({ root, standing }) => root !== undefined && !['failed', 'absent', 'replaced'].includes(standing.is),
    );
    return useful.length > 0 ? [...useful].sort((a, b) => rank(a) - rank(b)) : [this.primary];
  }

  /** `work` on one store. If it fails there, the store is left out from now on; the primary's failure is thrown. */
  async #attempt<T>(store: Store, work: (store: Store) => Promise<T>): Promise<T | undefined> {
    const session = this.#aborted;
    try {
      return await work(store);
    } catch (error) {
      if (store === this.primary || session !== this.#aborted) throw error;
      this.#drop(store, error);
      return undefined;
    }
  }

  #drop(store: Store, cause: unknown): void {
    if (store.standing.is === 'failed') return; // Every object that waited for it fails as well.
    if (store === this.primary && store.inStep) this.#primaryFailed = true;
    const error = asBackupError(cause);
    store.standing = { is: 'failed', error };
    void store.client.abort();
    this.#listener.warnOnly(
      `store ${store.name} failed, and is left out of the rest of this run: ${error.message}`,
    );
  }

  #warnOfObject(store: Store, id: ObjectId, how: 'missing' | 'damaged'): void {
    this.#listener.warn(
      `store ${store.name}: object ${id.slice(0, 16)}… is ${how}, another store is asked: run "qubes-backup check --read-data 100 --repair"`,
    );
  }
}

function listNames(stores: readonly Store[]): string {
  const names = stores.map(({ name }) => name);
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}
