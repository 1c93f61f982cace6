/**
 * An open repository: verified root, catalog, and the one way to publish changes. The order is always objects,
 * records, catalog, root (docs/format.md, sections 4 and 5), so that a crash leaves the previous or the new state.
 */

import { equalBytes } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { NO_ROOT } from '../../shared/ids.ts';
import { MAX_ROTATIONS } from '../../shared/limits.ts';
import { FORMAT_VERSION, decodeRoot, encodeRoot } from '../../shared/root.ts';
import type { KeySlot, Root, RootBody } from '../../shared/root.ts';
import { descendsFromKey, signRotation } from '../../shared/rotation.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { PinFile } from '../state/pin.ts';
import { CatalogStore, EMPTY_CATALOG, isDescendant, withVm } from './catalog.ts';
import { Semaphore } from '../semaphore.ts';
import type { ObjectStore } from './object-store.ts';
import type { Catalog, CatalogEntry, RootReference, VmRecord } from './records.ts';

/** What a new root changes beside the catalog, given the catalog that it will name. */
type RootChanges = (catalog: Catalog) => Promise<Partial<Pick<RootBody, 'slots' | 'live'>>>;

const NOTHING: RootChanges = () => Promise.resolve({});

/** New keys, and all that is sealed under the catalog key, sealed anew under theirs. */
export interface Rekeyed {
  readonly keyring: Keyring;
  readonly slots: KeySlot[];
  readonly catalog: Catalog;
}

export class Repository {
  readonly store: ObjectStore;
  readonly #pin: PinFile;
  #keyring: Keyring;
  #records: CatalogStore;
  #root: Root;
  #catalog: Catalog;
  /** Roots follow one another: each is made on the one before. */
  readonly #publishing = new Semaphore(1);

  private constructor(keyring: Keyring, store: ObjectStore, pin: PinFile, root: Root, catalog: Catalog) {
    this.store = store;
    this.#pin = pin;
    this.#keyring = keyring;
    this.#records = new CatalogStore(keyring, store);
    this.#root = root;
    this.#catalog = catalog;
  }

  /** Publishes the first root of a new repository in an empty store. `slots` wrap its master key. */
  static async create(
    keyring: Keyring,
    store: ObjectStore,
    pin: PinFile,
    slots: KeySlot[],
    now: number,
  ): Promise<Repository> {
    const body: RootBody = {
      version: FORMAT_VERSION,
      repository: keyring.repository,
      counter: 1,
      time: now,
      previous: NO_ROOT,
      publicKey: keyring.publicKey,
      rotations: [],
      signingSeed: keyring.wrapSeed(),
      slots,
      catalog: await new CatalogStore(keyring, store).put(EMPTY_CATALOG),
      live: null,
    };
    const root = encodeRoot(body, (message) => keyring.sign(message));
    pin.writePending(root);
    await store.storage.setRoot(root, NO_ROOT);
    pin.write(root, []);
    return new Repository(keyring, store, pin, root, EMPTY_CATALOG);
  }

  /** Opens the catalog under a root whose signature and place were verified (dom0/repository/open.ts). */
  static async open(keyring: Keyring, store: ObjectStore, pin: PinFile, root: Root): Promise<Repository> {
    const catalog = await new CatalogStore(keyring, store).read(root);
    return new Repository(keyring, store, pin, root, catalog);
  }

  get keyring(): Keyring {
    return this.#keyring;
  }

  get root(): Root {
    return this.#root;
  }

  get catalog(): Catalog {
    return this.#catalog;
  }

  get vms(): readonly CatalogEntry[] {
    return this.#catalog.vms;
  }

  readVm(entry: CatalogEntry): Promise<VmRecord> {
    return this.#records.readVm(entry);
  }

  /** All root hashes before the current root, oldest first. */
  async earlierRoots(): Promise<RootReference[]> {
    return this.#records.earlierRoots(this.#catalog);
  }

  /** Names of the catalog's own objects: for a check of what must be there. */
  catalogObjects(): ObjectId[] {
    return [this.#root.body.catalog, ...this.#catalog.rootSegments];
  }

  /**
   * Publishes `record` as the VM's newest, if the VM's record is still `base` (undefined for a new VM). Everything
   * it refers to must be durable. Calls may overlap: their roots follow one another. If another root was published meanwhile and did not touch this VM, the record is
   * applied on top of it; else `store-conflict` is thrown and nothing changed.
   */
  async publish(record: VmRecord, base: ObjectId | undefined, now: () => number): Promise<ObjectId> {
    const id = await this.#records.putVm(record);
    await this.#publishing.run(() => this.#publishRecord(record, id, base, now));
    return id;
  }

  async #publishRecord(
    record: VmRecord,
    id: ObjectId,
    base: ObjectId | undefined,
    now: () => number,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const current = this.#catalog.vms.find((entry) => entry.id === record.id);
      if (current?.record !== base) {
        throw new BackupError(
          'store-conflict',
          `${nameOf(record)} was backed up by another run meanwhile: start again`,
        );
      }
      const catalog = withVm(this.#catalog, { id: record.id, name: nameOf(record), record: id });
      if (await this.#publishCatalog(catalog, NOTHING, now())) return;
      if (attempt === MAX_ATTEMPTS)
        throw new BackupError('store-conflict', 'other runs keep publishing roots: try again later');
    }
  }

  /** Publishes a root that changes only what `changes` answers. Throws `store-conflict` if another root won meanwhile. */
  async publishRoot(changes: RootChanges, now: number): Promise<void> {
    const published = await this.#publishing.run(() => this.#publishCatalog(this.#catalog, changes, now));
    if (!published) throw lostRace();
  }

  /**
   * Publishes the root by which new keys replace the present ones, which are closed. The catalog lists the current root and
   * those before it. Throws `store-conflict` if another root won meanwhile: nothing changed.
   */
  async publishRekeyed({ keyring, slots, catalog }: Rekeyed, now: number): Promise<void> {
    const next = this.#nextBody(now, await new CatalogStore(keyring, this.store).put(catalog));
    const { publicKey } = keyring;
    const body: RootBody = {
      ...next,
      publicKey,
      rotations: [...next.rotations, signRotation(next, publicKey, this.#keyring)].slice(-MAX_ROTATIONS),
      signingSeed: keyring.wrapSeed(),
      slots,
    };
    const root = encodeRoot(body, (message) => keyring.sign(message));
    if (!(await this.#send(root, catalog))) throw lostRace();
    this.#keyring.close();
    this.#keyring = keyring;
    this.#records = new CatalogStore(keyring, this.store);
  }

  /** True if published; false if another root won, which is then loaded. */
  async #publishCatalog(catalog: Catalog, changes: RootChanges, now: number): Promise<boolean> {
    const { counter } = this.#root.body;
    const roots = [...catalog.roots, { counter, hash: this.#root.hash }];
    const next = { ...catalog, ...(await this.#records.putRoots(roots, catalog.rootSegments)) };
    const body = { ...this.#nextBody(now, await this.#records.put(next)), ...(await changes(next)) };
    const root = encodeRoot(body, (message) => this.#keyring.sign(message));
    if (await this.#send(root, next)) return true;
    await this.#reload();
    return false;
  }

  /** The root after the current one, as it is without further changes. */
  #nextBody(time: number, catalog: ObjectId): RootBody {
    const { body, hash } = this.#root;
    const counter = Math.max(body.counter, this.#pin.read()?.highestCounter ?? 0) + 1;
    return { ...body, counter, time, previous: hash, catalog, live: null };
  }

  /** Makes `root` the current one; false if another root won. */
  async #send(root: Root, catalog: Catalog): Promise<boolean> {
    this.#pin.writePending(root);
    try {
      await this.store.storage.setRoot(root, this.#root.hash);
    } catch (error) {
      if (isBackupError(error, 'store-conflict')) return false;
      throw error;
    }
    this.#root = root;
    this.#catalog = catalog;
    this.#pin.write(root, catalog.vms);
    return true;
  }

  async #reload(): Promise<void> {
    const root = await this.#readVerifiedRoot();
    const catalog = await this.#records.read(root);
    if (!isDescendant(root, await this.#records.earlierRoots(catalog), this.#root.hash)) {
      throw new BackupError(
        'store-forked',
        'the store now serves a root that does not descend from the one this run started from',
      );
    }
    this.#pin.write(root, catalog.vms);
    this.#root = root;
    this.#catalog = catalog;
  }

  /** The store's current root, signed by this repository's key. */
  async #readVerifiedRoot(): Promise<Root> {
    const { name } = this.store.storage.primary;
    const untrusted = await this.store.storage.root();
    if (untrusted === undefined) throw new BackupError('store-missing', `${name} no longer has a root`);
    const root = decodeRoot(untrusted);
    const { repository, publicKey } = this.#keyring;
    if (root.body.repository === repository && equalBytes(root.body.publicKey, publicKey)) return root;
    if (root.body.repository === repository && descendsFromKey(root.body, publicKey, this.#root.body.counter))
      throw new BackupError('store-conflict', `the keys of ${name} were rotated meanwhile: start again`);
    throw new BackupError('store-replaced', `${name} now serves another repository`);
  }
}

/** Lost races before publish() gives up. */
const MAX_ATTEMPTS = 5;

function lostRace(): BackupError {
  return new BackupError(
    'store-conflict',
    'another run published a root meanwhile: nothing was changed, start again',
  );
}

function nameOf(record: VmRecord) {
  const name = record.names.at(-1);
  if (name === undefined) throw new BackupError('internal', 'a VM record without a name');
  return name;
}
