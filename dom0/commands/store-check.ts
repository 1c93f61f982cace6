/** The check of one store: what the current root needs, held against what the store lists, and what it delivers (R54). */

import { isBackupError } from '../../shared/errors.ts';
import type { ObjectId, VmId } from '../../shared/ids.ts';
import { objectIdOf } from '../../shared/ids.ts';
import type { NumberSet } from '../../shared/numbers.ts';
import type { App } from '../app.ts';
import type { Sealer } from '../repository/object-store.ts';
import type { CatalogEntry, Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { open } from '../seal/object.ts';
import type { CheckShare } from '../state/check-position.ts';
import type { Listing } from '../storage/listing.ts';
import type { Store } from '../storage/store.ts';

export interface StoreCheckOptions {
  /** The objects to read. */
  readonly share: Pick<CheckShare, 'has'>;
  /** Put again what another store has whole. */
  readonly repair: boolean;
}

/** What became of an object that was wrong: `everywhere` is what no store can have right. */
export type FoundObject = 'faulty' | 'repaired' | 'everywhere';

export class StoreCheck {
  /** Objects that the store should have. */
  objects = 0;
  read = 0;
  readBytes = 0;
  faults = 0;
  /** Of the faults. */
  repaired = 0;
  /** Faults that remain, by the VM whose backups they are in. */
  readonly faultsOf = new Map<VmId, number>();
  /** Objects that were found wrong. */
  readonly found = new Map<ObjectId, FoundObject>();
  /** VMs that had a fault, repaired or not. */
  readonly hitVms = new Set<VmId>();
  readonly #app: App;
  readonly #repository: Repository;
  readonly #store: Store;
  readonly #present: Listing;
  readonly #options: StoreCheckOptions;

  constructor(app: App, repository: Repository, store: Store, present: Listing, options: StoreCheckOptions) {
    this.#app = app;
    this.#repository = repository;
    this.#store = store;
    this.#present = present;
    this.#options = options;
  }

  async run(): Promise<void> {
    for (const id of this.#repository.catalogObjects()) await this.#checkObject(id, () => 'the catalog');
    for (const id of this.#repository.root.body.live ?? [])
      await this.#checkObject(id, () => 'the live list');
    for (const entry of this.#repository.vms) {
      const { faults, repaired } = this;
      await this.#checkVm(entry);
      if (this.faults > faults) this.hitVms.add(entry.id);
      this.faultsOf.set(entry.id, this.faults - this.repaired - (faults - repaired));
    }
  }

  async #checkVm(entry: CatalogEntry): Promise<void> {
    await this.#checkObject(entry.record, () => `the record of ${entry.name}`);
    await this.#guard(async () => {
      const history = await VmHistory.read(this.#repository, entry);
      for await (const { id, what } of history.recordObjects()) await this.#checkObject(id, () => what);
      const snapshots: { snapshot: Snapshot; live: NumberSet }[] = [];
      for await (const snapshot of history.snapshotsWithLive()) snapshots.push(snapshot);
      await this.#checkBlobs(history, snapshots);
    });
  }

  async #checkBlobs(
    history: VmHistory,
    snapshots: readonly { snapshot: Snapshot; live: NumberSet }[],
  ): Promise<void> {
    const needed = snapshots.reduce<NumberSet | undefined>(
      (all, { live }) => all?.union(live) ?? live,
      undefined,
    );
    const show = this.#app.meter(`${this.#store.name}: ${history.name}`, 'checking');
    let done = 0;
    for (const number of needed ?? []) {
      const hit = () =>
        snapshots
          .filter(({ live }) => live.has(number))
          .map(({ snapshot }) => snapshot.number)
          .reverse();
      await this.#guard(() => this.#checkBlob(history, number, hit));
      done += 1;
      const total = needed?.size ?? 0;
      show({ files: done, bytes: this.readBytes, totalFiles: total, totalBytes: 0 });
    }
    this.#app.output.finishProgress(`${this.#store.name}: ${history.name}`);
  }

  async #checkBlob(history: VmHistory, number: number, hit: () => number[]): Promise<void> {
    const where = () => `blob ${number} of ${history.name}, needed by snapshot ${hit().join(', ')}`;
    const row = await history.table.row(number);
    if (row === undefined) this.#fault(`the table has no row for ${where()}`);
    else await this.#checkObject(row.id, where, history.sealer(row.kind, number, row.epoch));
  }

  /** `what` names it for people; with `sealer` it is opened if it is read, else only its hash is verified. */
  async #checkObject(id: ObjectId, what: () => string, sealer?: Sealer): Promise<void> {
    this.objects += 1;
    try {
      const problem = await this.#problemOf(id, sealer);
      if (problem === undefined) return;
      this.found.set(id, 'faulty');
      this.#fault(`object ${id.slice(0, 16)}… ${problem}: ${what()}`);
      if (this.#options.repair) await this.#repair(id);
    } catch (error) {
      if (!isBackupError(error, 'store-damaged')) throw error;
      this.found.set(id, 'everywhere');
      this.#fault(`${error.message} (${what()})`);
    }
  }

  /** What this store has wrong of an object. Throws `store-damaged` on what no store can have right. */
  async #problemOf(id: ObjectId, sealer: Sealer | undefined): Promise<string | undefined> {
    const problem = this.#present.problemOf(id);
    if (problem !== undefined) return problem;
    if (!this.#options.share.has(id)) return undefined;
    const bytes = await this.#store.client.get(id);
    if (bytes === undefined) return 'is missing, though it is listed';
    this.read += 1;
    this.readBytes += bytes.length;
    if (objectIdOf(bytes) !== id) return 'is damaged: other bytes are there';
    if (sealer !== undefined) open(sealer.key, sealer.place, id, bytes);
    return undefined;
  }

  /** Puts the object again, and reads it back: what this store acknowledged before it did not keep. */
  async #repair(id: ObjectId): Promise<void> {
    const { client, name } = this.#store;
    const bytes = await this.#app.storage.get(id, this.#store);
    if (bytes === undefined || objectIdOf(bytes) !== id) {
      this.#say(id, 'not repaired: no other store has it whole');
      return;
    }
    await client.put({ id, pieces: [bytes], size: bytes.length });
    const again = await client.get(id);
    if (again === undefined || objectIdOf(again) !== id) {
      this.#say(id, `not repaired: ${name} acknowledged it and does not have it`);
      return;
    }
    this.repaired += 1;
    this.found.set(id, 'repaired');
    this.#say(id, 'repaired from another store');
  }

  #say(id: ObjectId, text: string): void {
    this.#app.output.line(`${this.#store.name}: object ${id.slice(0, 16)}… ${text}`);
    this.#app.output.event('repair', { store: this.#store.name, object: id, text });
  }

  /** Damage in one place must not hide damage in others. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isBackupError(error, 'store-damaged', 'store-missing')) throw error;
      this.#fault(error.message);
    }
  }

  #fault(text: string): void {
    this.faults += 1;
    this.#app.output.error(`${this.#store.name}: ${text}`);
    this.#app.output.event('fault', { store: this.#store.name, text });
  }
}
