/**
 * The catalog: which VMs there are, and the hashes of all earlier roots in closed segments (docs/format.md, section 5). All
 * of it, and the VM records that it names, is sealed under the catalog key of one keyring.
 */

import type { ObjectId, RootHash, VmId } from '../../shared/ids.ts';
import { ROOT_SEGMENT } from '../../shared/limits.ts';
import { FORMAT_VERSION } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import type { Keyring } from '../keys/keyring.ts';
import { KIND } from '../seal/object.ts';
import type { Kind } from '../seal/object.ts';
import type { ObjectStore, Sealer } from './object-store.ts';
import { catalogSchema, rootSegmentSchema, vmRecordSchema } from './records.ts';
import type { Catalog, CatalogEntry, RootReference, VmRecord } from './records.ts';

export const EMPTY_CATALOG: Catalog = {
  version: FORMAT_VERSION,
  forgotten: [],
  vms: [],
  rootSegments: [],
  roots: [],
};

/** What seals and opens the records of the repository under one keyring. */
export class CatalogStore {
  readonly #keyring: Keyring;
  readonly #store: ObjectStore;

  constructor(keyring: Keyring, store: ObjectStore) {
    this.#keyring = keyring;
    this.#store = store;
  }

  read(root: Root): Promise<Catalog> {
    return this.#store.getRecord(this.#sealer(KIND.catalog), catalogSchema, root.body.catalog, 'the catalog');
  }

  put(catalog: Catalog): Promise<ObjectId> {
    return this.#store.putRecord(this.#sealer(KIND.catalog), catalogSchema, catalog);
  }

  readVm(entry: CatalogEntry): Promise<VmRecord> {
    return this.#store.getRecord(
      this.#sealer(KIND.vmRecord, entry.id),
      vmRecordSchema,
      entry.record,
      `the record of ${entry.name}`,
    );
  }

  putVm(record: VmRecord): Promise<ObjectId> {
    return this.#store.putRecord(this.#sealer(KIND.vmRecord, record.id), vmRecordSchema, record);
  }

  /** All roots before the one that names `catalog`, oldest first. */
  async earlierRoots({ rootSegments, roots }: Catalog): Promise<RootReference[]> {
    const segments = await Promise.all(
      rootSegments.map((id, index) =>
        this.#store.getRecord(
          this.#sealer(KIND.rootSegment, undefined, index),
          rootSegmentSchema,
          id,
          'a list of earlier roots',
        ),
      ),
    );
    return [...segments.flatMap((segment) => segment.roots), ...roots];
  }

  /** `roots`, oldest first, as a catalog holds them: full segments are stored; `kept` are segments that are stored already. */
  async putRoots(
    roots: readonly RootReference[],
    kept: readonly ObjectId[] = [],
  ): Promise<Pick<Catalog, 'rootSegments' | 'roots'>> {
    const rootSegments = [...kept];
    let at = 0;
    for (; roots.length - at >= ROOT_SEGMENT; at += ROOT_SEGMENT) {
      const sealer = this.#sealer(KIND.rootSegment, undefined, rootSegments.length);
      const segment = { roots: roots.slice(at, at + ROOT_SEGMENT) };
      rootSegments.push(await this.#store.putRecord(sealer, rootSegmentSchema, segment));
    }
    return { rootSegments, roots: roots.slice(at) };
  }

  #sealer(kind: Kind, vm?: VmId, number = 0): Sealer {
    const { catalogKey, repository } = this.#keyring;
    return { key: catalogKey, place: { kind, repository, vm, number, epoch: 0 } };
  }
}

/** `catalog` with the VM's newest record. */
export function withVm(catalog: Catalog, entry: CatalogEntry): Catalog {
  const vms = [...catalog.vms.filter(({ id }) => id !== entry.id), entry];
  return { ...catalog, vms: vms.sort((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** True if `hash` is `root` itself or among its earlier roots. */
export function isDescendant(root: Root, earlier: readonly RootReference[], hash: RootHash): boolean {
  return root.hash === hash || earlier.some((reference) => reference.hash === hash);
}
