/**
 * `check`: every record opened, every object present with a possible size, and a chosen share of the data fetched and
 * verified. Damage is reported by VM and snapshot; nothing that is missing is overlooked (R54).
 */

import { randomInt } from 'node:crypto';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_OBJECT } from '../../shared/limits.ts';
import type { NumberSet } from '../../shared/numbers.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount } from '../format.ts';
import type { CatalogEntry, Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { Listing } from '../storage/listing.ts';

/** `share`: percent of the blobs to read, 0 to 100. */
export async function check(app: App, share: number): Promise<void> {
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const present = await Listing.of(app.storage);
  const checker = new Checker(app, repository, present, share);
  for (const id of repository.catalogObjects()) checker.presence(id, 'the catalog');
  for (const entry of repository.vms) await checker.checkVm(entry);
  await app.closeStorage();
  const { objects, read, readBytes, faults } = checker;
  const text = `${formatCount(objects)} objects expected, ${formatCount(read)} read and verified (${formatBytes(readBytes)})`;
  app.output.event('checked', { objects, read, readBytes, faults, present: present.size });
  if (faults > 0) throw new BackupError('store-damaged', `${formatCount(faults)} faults found; ${text}`);
  app.output.line(`No fault found: ${text}.`);
}

class Checker {
  objects = 0;
  read = 0;
  readBytes = 0;
  faults = 0;
  readonly #app: App;
  readonly #repository: Repository;
  readonly #present: Listing;
  readonly #share: number;

  constructor(app: App, repository: Repository, present: Listing, share: number) {
    this.#app = app;
    this.#repository = repository;
    this.#present = present;
    this.#share = share;
  }

  /** True if the store claims to have `id` with a possible size; else a fault is reported. */
  presence(id: ObjectId, what: string): boolean {
    this.objects += 1;
    const size = this.#present.sizeOf(id);
    if (size === undefined) this.#fault(`object ${id.slice(0, 16)}… is missing: ${what}`);
    else if (size < MIN_OBJECT || size > MAX_OBJECT)
      this.#fault(`object ${id.slice(0, 16)}… has an impossible size: ${what}`);
    else return true;
    return false;
  }

  async checkVm(entry: CatalogEntry): Promise<void> {
    this.presence(entry.record, `the record of ${entry.name}`);
    await this.#guard(async () => {
      const history = await VmHistory.read(this.#repository, entry);
      for await (const { id, what } of history.recordObjects()) this.presence(id, what);
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
    let done = 0;
    for (const number of needed ?? []) {
      const hit = () =>
        snapshots
          .filter(({ live }) => live.has(number))
          .map(({ snapshot }) => snapshot.number)
          .reverse();
      await this.#guard(() => this.#checkBlob(history, number, hit));
      done += 1;
      this.#app.output.progress(`check ${history.name}`, {
        files: done,
        bytes: done,
        totalFiles: needed?.size ?? 0,
        totalBytes: needed?.size ?? 0,
      });
    }
    this.#app.output.endProgress();
  }

  async #checkBlob(history: VmHistory, number: number, hit: () => number[]): Promise<void> {
    const where = () => `blob ${number} of ${history.name}, needed by snapshot ${hit().join(', ')}`;
    const row = await history.table.row(number);
    if (row === undefined) {
      this.#fault(`the table has no row for ${where()}`);
      return;
    }
    if (!this.presence(row.id, where())) return;
    if (randomInt(100_000) >= this.#share * 1000) return;
    const sealer = history.sealer(row.kind, number, row.epoch);
    const blob = await this.#repository.store.getFromStorage(sealer, row.id, where());
    this.read += 1;
    this.readBytes += blob.length;
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
    this.#app.output.error(text);
    this.#app.output.event('fault', { text });
  }
}
