/** One VM's record opened: its keys, its snapshots, its blob table. Read side; vm-writer.ts adds to it. */

import { BackupError } from '../../shared/errors.ts';
import type { ObjectId, VmName } from '../../shared/ids.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { KIND } from '../seal/object.ts';
import type { Kind } from '../seal/object.ts';
import { BlobTable } from './blob-table.ts';
import type { Row } from './blob-table.ts';
import type { ObjectStore, Sealer } from './object-store.ts';
import { snapshotSchema, snapshotSegmentSchema } from './records.ts';
import type { CatalogEntry, Snapshot, SnapshotEntry, VmRecord } from './records.ts';
import type { Repository } from './repository.ts';

export class VmHistory {
  readonly name: VmName;
  readonly record: VmRecord;
  /** The object that holds `record`, undefined while the VM was never backed up. */
  readonly recordId: ObjectId | undefined;
  readonly table: BlobTable;
  readonly #store: ObjectStore;
  readonly #repository: Repository;

  /** `table` carries rows over from an earlier record of the same run. */
  constructor(
    repository: Repository,
    name: VmName,
    record: VmRecord,
    recordId: ObjectId | undefined,
    table?: BlobTable,
  ) {
    this.name = name;
    this.record = record;
    this.recordId = recordId;
    this.#repository = repository;
    this.#store = repository.store;
    this.table =
      table ?? new BlobTable(this.#store, (kind, number, epoch) => this.sealer(kind, number, epoch), record);
  }

  static async read(repository: Repository, entry: CatalogEntry): Promise<VmHistory> {
    return new VmHistory(repository, entry.name, await repository.readVm(entry), entry.record);
  }

  /** The newest epoch: everything new is sealed under it. */
  get epoch(): number {
    const newest = this.record.keys.at(-1);
    if (newest === undefined) throw new BackupError('internal', 'a VM record without a key');
    return newest.epoch;
  }

  /** Key and place of one of this VM's objects; records are sealed under the epoch they were written in. */
  sealer(kind: Kind, number: number, epoch: number): Sealer {
    const { id, keys } = this.record;
    const wrapped = keys.find((key) => key.epoch === epoch)?.wrapped;
    if (wrapped === undefined)
      throw new BackupError('store-damaged', `${this.name} has no key of epoch ${epoch}`);
    const key = this.#repository.keyring.unwrapVmKey(id, epoch, wrapped);
    return { key, place: { kind, repository: this.#repository.keyring.repository, vm: id, number, epoch } };
  }

  /** The row of a blob that a snapshot refers to. Throws `store-damaged` if there is none. */
  async rowOf(number: number): Promise<Row> {
    const row = await this.table.row(number);
    if (row !== undefined) return row;
    throw new BackupError('store-damaged', `the blob table of ${this.name} has no row ${number}`);
  }

  /** A blob that a snapshot refers to. Throws `store-missing` or `store-damaged`. */
  async blob(number: number): Promise<Uint8Array> {
    const { kind, epoch, id } = await this.rowOf(number);
    return this.#store.get(this.sealer(kind, number, epoch), id, `blob ${number} of ${this.name}`);
  }

  /** Takes back the memory of a blob from {@link blob}, at which nobody will look again. */
  giveBack(blob: Uint8Array): void {
    this.#store.giveBack(blob);
  }

  /** All snapshots, oldest first. */
  async entries(): Promise<SnapshotEntry[]> {
    const segments = await Promise.all(
      this.record.segments.map(({ object, epoch }, index) =>
        this.#store.getRecord(
          this.sealer(KIND.snapshotSegment, index, epoch),
          snapshotSegmentSchema,
          object,
          `snapshots of ${this.name}`,
        ),
      ),
    );
    return [...segments.flatMap((segment) => segment.entries), ...this.record.head];
  }

  /** The newest snapshot, partial or not. */
  async newest(): Promise<Snapshot | undefined> {
    let entry = this.record.head.at(-1);
    if (entry === undefined && this.record.segments.length > 0) entry = (await this.entries()).at(-1);
    return entry === undefined ? undefined : this.snapshot(entry);
  }

  /** The newest complete snapshot. */
  async newestComplete(): Promise<Snapshot | undefined> {
    const entry = (await this.entries()).findLast(({ partial }) => !partial);
    return entry === undefined ? undefined : this.snapshot(entry);
  }

  async snapshot(entry: SnapshotEntry): Promise<Snapshot> {
    const what = `snapshot ${entry.number} of ${this.name}`;
    const snapshot = await this.#store.getRecord(
      this.sealer(KIND.snapshot, entry.number, entry.epoch),
      snapshotSchema,
      entry.object,
      what,
    );
    if (snapshot.number === entry.number) return snapshot;
    throw new BackupError('store-damaged', `${what} says it is number ${snapshot.number}`);
  }

  /** Every object of the VM's records: tables, snapshots, configurations; not of its blobs. `what` names it for people. */
  async *recordObjects(): AsyncGenerator<{ readonly id: ObjectId; readonly what: string }> {
    const { leaves, segments, live } = this.record;
    for (const { object } of [...leaves, ...segments, ...(live === null ? [] : [live])])
      yield { id: object, what: `the tables of ${this.name}` };
    for (const entry of (await this.entries()).reverse()) {
      yield { id: entry.object, what: `snapshot ${entry.number} of ${this.name}` };
      const { config } = await this.snapshot(entry);
      yield { id: config.object, what: `the configuration of ${this.name}` };
    }
  }

  /** The configuration that was backed up with `snapshot`. */
  config(snapshot: Snapshot): Promise<Uint8Array> {
    const { object, epoch, snapshot: number } = snapshot.config;
    return this.#store.get(
      this.sealer(KIND.config, number, epoch),
      object,
      `the configuration of ${this.name}`,
    );
  }

  /** Blob numbers of the newest snapshot. */
  async newestLive(): Promise<NumberSet> {
    const { live } = this.record;
    if (live === null) return NumberSet.empty;
    const bytes = await this.#store.get(
      this.sealer(KIND.liveSet, live.snapshot, live.epoch),
      live.object,
      `the live set of ${this.name}`,
    );
    return NumberSet.decode(bytes);
  }

  /** Blob numbers of snapshot `number`. */
  async liveAt(number: number): Promise<NumberSet> {
    for await (const { snapshot, live } of this.snapshotsWithLive())
      if (snapshot.number === number) return live;
    throw new BackupError('unknown-snapshot', `${this.name} has no snapshot ${number}`);
  }

  /** All snapshots, newest first, each with its blob numbers: the newest ones, less what came later, with what died since. */
  async *snapshotsWithLive(): AsyncGenerator<{ readonly snapshot: Snapshot; readonly live: NumberSet }> {
    let live = await this.newestLive();
    for (const entry of (await this.entries()).reverse()) {
      const snapshot = await this.snapshot(entry);
      yield { snapshot, live };
      live = liveBefore(snapshot, live);
    }
  }
}

/** The live set of the snapshot before `snapshot`, whose own is `live`: a blob lives one interval. */
export function liveBefore(snapshot: Snapshot, live: NumberSet): NumberSet {
  return live.minus(NumberSet.range(snapshot.firstNumber, snapshot.endNumber)).union(snapshot.died);
}
