/**
 * An open repository: verified root, catalog, and the one way to publish changes. The order is always objects,
 * records, catalog, root (docs/format.md, sections 4 and 5), so that a crash leaves the previous or the new state.
 */

import { equalBytes } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ObjectId, RootHash, VmId } from '../../shared/ids.ts';
import { NO_ROOT } from '../../shared/ids.ts';
import { ROOT_SEGMENT } from '../../shared/limits.ts';
import { FORMAT_VERSION, decodeRoot, encodeRoot } from '../../shared/root.ts';
import type { KeySlot, Root } from '../../shared/root.ts';
import type { Keyring } from '../keys/keyring.ts';
import { KIND } from '../seal/object.ts';
import type { Kind } from '../seal/object.ts';
import type { PinFile } from '../state/pin.ts';
import type { ObjectStore, Sealer } from './object-store.ts';
import { catalogSchema, rootSegmentSchema, vmRecordSchema } from './records.ts';
import type { Catalog, CatalogEntry, RootReference, VmRecord } from './records.ts';

export class Repository {
  readonly keyring: Keyring;
  readonly store: ObjectStore;
  readonly #pin: PinFile;
  #root: Root;
  #catalog: Catalog;

  private constructor(keyring: Keyring, store: ObjectStore, pin: PinFile, root: Root, catalog: Catalog) {
    this.keyring = keyring;
    this.store = store;
    this.#pin = pin;
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
    const catalog: Catalog = { version: FORMAT_VERSION, vms: [], rootSegments: [], roots: [] };
    const catalogId = await store.putRecord(recordSealer(keyring, KIND.catalog), catalogSchema, catalog);
    const root = encodeRoot(
      {
        version: FORMAT_VERSION,
        repository: keyring.repository,
        counter: 1,
        time: now,
        previous: NO_ROOT,
        publicKey: keyring.publicKey,
        signingSeed: keyring.wrapSeed(),
        slots,
        catalog: catalogId,
      },
      (message) => keyring.sign(message),
    );
    pin.writePending(root);
    await store.storage.setRoot(root, NO_ROOT);
    pin.write(root);
    return new Repository(keyring, store, pin, root, catalog);
  }

  /** Opens the catalog under a root whose signature and place were verified (dom0/repository/open.ts). */
  static async open(keyring: Keyring, store: ObjectStore, pin: PinFile, root: Root): Promise<Repository> {
    const catalog = await readCatalog(keyring, store, root);
    return new Repository(keyring, store, pin, root, catalog);
  }

  get root(): Root {
    return this.#root;
  }

  get vms(): readonly CatalogEntry[] {
    return this.#catalog.vms;
  }

  readVm(entry: CatalogEntry): Promise<VmRecord> {
    return this.store.getRecord(
      this.#sealer(KIND.vmRecord, entry.id),
      vmRecordSchema,
      entry.record,
      `the record of ${entry.name}`,
    );
  }

  /** All root hashes before the current root, oldest first. */
  async earlierRoots(): Promise<RootReference[]> {
    return readEarlierRoots(this.keyring, this.store, this.#catalog);
  }

  /** Names of the catalog's own objects: for a check of what must be there. */
  catalogObjects(): ObjectId[] {
    return [this.#root.body.catalog, ...this.#catalog.rootSegments];
  }

  /**
   * Publishes `record` as the VM's newest, if the VM's record is still `base` (undefined for a new VM). Everything
   * it refers to must be durable. If another root was published meanwhile and did not touch this VM, the record is
   * applied on top of it; else `store-conflict` is thrown and nothing changed.
   */
  async publish(record: VmRecord, base: ObjectId | undefined, now: () => number): Promise<ObjectId> {
    const id = await this.store.putRecord(this.#sealer(KIND.vmRecord, record.id), vmRecordSchema, record);
    for (let attempt = 1; ; attempt++) {
      const current = this.#catalog.vms.find((entry) => entry.id === record.id);
      if (current?.record !== base) {
        throw new BackupError(
          'store-conflict',
          `${this.#nameOf(record)} was backed up by another run meanwhile: start again`,
        );
      }
      const vms = this.#catalog.vms.filter((entry) => entry.id !== record.id);
      vms.push({ id: record.id, name: this.#nameOf(record), record: id });
      vms.sort((a, b) => (a.id < b.id ? -1 : 1));
      if (await this.#publishCatalog(vms, now())) return id;
      if (attempt === MAX_ATTEMPTS)
        throw new BackupError('store-conflict', 'other runs keep publishing roots: try again later');
    }
  }

  /** True if published; false if another root won, which is then loaded. */
  async #publishCatalog(vms: CatalogEntry[], time: number): Promise<boolean> {
    const { catalog, id } = await this.#storeCatalog(vms);
    const counter = Math.max(this.#root.body.counter, this.#pin.read()?.highestCounter ?? 0) + 1;
    const body = { ...this.#root.body, counter, time, previous: this.#root.hash, catalog: id };
    const root = encodeRoot(body, (message) => this.keyring.sign(message));
    this.#pin.writePending(root);
    try {
      await this.store.storage.setRoot(root, this.#root.hash);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== 'store-conflict') throw error;
      await this.#reload();
      return false;
    }
    this.#pin.write(root);
    this.#root = root;
    this.#catalog = catalog;
    return true;
  }

  /** Stores a catalog that lists the current root among the earlier ones. */
  async #storeCatalog(vms: CatalogEntry[]): Promise<{ catalog: Catalog; id: ObjectId }> {
    const { counter } = this.#root.body;
    let roots = [...this.#catalog.roots, { counter, hash: this.#root.hash }];
    const rootSegments = [...this.#catalog.rootSegments];
    if (roots.length === ROOT_SEGMENT) {
      const sealer = this.#sealer(KIND.rootSegment, undefined, rootSegments.length);
      rootSegments.push(await this.store.putRecord(sealer, rootSegmentSchema, { roots }));
      roots = [];
    }
    const catalog: Catalog = { version: FORMAT_VERSION, vms, rootSegments, roots };
    return { catalog, id: await this.store.putRecord(this.#sealer(KIND.catalog), catalogSchema, catalog) };
  }

  async #reload(): Promise<void> {
    const root = await readVerifiedRoot(this.store, this.keyring);
    const catalog = await readCatalog(this.keyring, this.store, root);
    const earlier = await readEarlierRoots(this.keyring, this.store, catalog);
    if (!isDescendant(root, earlier, this.#root.hash)) {
      throw new BackupError(
        'store-forked',
        'the store now serves a root that does not descend from the one this run started from',
      );
    }
    this.#pin.write(root);
    this.#root = root;
    this.#catalog = catalog;
  }

  #nameOf(record: VmRecord) {
    const name = record.names.at(-1);
    if (name === undefined) throw new BackupError('internal', 'a VM record without a name');
    return name;
  }

  #sealer(kind: Kind, vm?: VmId, number = 0): Sealer {
    return recordSealer(this.keyring, kind, vm, number);
  }
}

/** Lost races before publish() gives up. */
const MAX_ATTEMPTS = 5;

function recordSealer(keyring: Keyring, kind: Kind, vm?: VmId, number = 0): Sealer {
  return { key: keyring.catalogKey, place: { kind, repository: keyring.repository, vm, number, epoch: 0 } };
}

async function readCatalog(keyring: Keyring, store: ObjectStore, root: Root): Promise<Catalog> {
  return store.getRecord(
    recordSealer(keyring, KIND.catalog),
    catalogSchema,
    root.body.catalog,
    'the catalog',
  );
}

async function readEarlierRoots(
  keyring: Keyring,
  store: ObjectStore,
  catalog: Catalog,
): Promise<RootReference[]> {
  const segments = await Promise.all(
    catalog.rootSegments.map((id, index) =>
      store.getRecord(
        recordSealer(keyring, KIND.rootSegment, undefined, index),
        rootSegmentSchema,
        id,
        'a list of earlier roots',
      ),
    ),
  );
  return [...segments.flatMap((segment) => segment.roots), ...catalog.roots];
}

/** True if `hash` is `root` itself or among its earlier roots. */
export function isDescendant(root: Root, earlier: readonly RootReference[], hash: RootHash): boolean {
  return root.hash === hash || earlier.some((reference) => reference.hash === hash);
}

/** The store's current root, signed by this repository's key. */
async function readVerifiedRoot(store: ObjectStore, keyring: Keyring): Promise<Root> {
  const untrusted = await store.storage.root();
  if (untrusted === undefined)
    throw new BackupError('store-missing', `${store.storage.vm} no longer has a root`);
  const root = decodeRoot(untrusted);
  if (!equalBytes(root.body.publicKey, keyring.publicKey) || root.body.repository !== keyring.repository) {
    throw new BackupError('store-replaced', `${store.storage.vm} now serves another repository`);
  }
  return root;
}
