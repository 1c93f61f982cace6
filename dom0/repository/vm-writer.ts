/**
 * Adds a snapshot to one VM: rows for new blobs, then in this order table leaves, live set, configuration, snapshot,
 * record, catalog, root. Volumes are read one after the other and share blob numbers, chunks and the one commit at the
 * end, so a snapshot is a consistent set of them. A snapshot that follows a partial one (a checkpoint of the same or a
 * dead run) takes its place.
 */

import { randomBytes } from 'node:crypto';
import { equalBytes } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { newVmId } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { MAX_NUMBER_SET } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import type { Changes } from '../../shared/protocol/disposable.ts';
import { anomalyOf } from '../retention/anomaly.ts';
import type { AnomalyLimit } from '../retention/anomaly.ts';
import { KIND } from '../seal/object.ts';
import type { BlobKind } from '../seal/object.ts';
import { snapshotSchema } from './records.ts';
import type { Anomaly, Snapshot, SnapshotEntry, SnapshotVolume, VmRecord } from './records.ts';
import type { Repository } from './repository.ts';
import { closeSegments } from './snapshot-segments.ts';
import { VmHistory, liveBefore } from './vm-history.ts';

/** What the new snapshot is to be. */
export interface Plan {
  /** Stored with the snapshot. */
  readonly config: Uint8Array;
  /** When its volumes were frozen, milliseconds since 1970. */
  readonly takenAt: number;
  /** Its volumes, in the order they are read. */
  readonly volumes: readonly Pick<SnapshotVolume, 'name' | 'mode'>[];
  /** What is said of the snapshot. */
  readonly marks: Pick<SnapshotEntry, 'requested' | 'tags'>;
  /** From when on so much has changed that nothing is forgotten. */
  readonly anomalyLimit: AnomalyLimit;
  /** dom0's clock, milliseconds since 1970. */
  readonly now: () => number;
}

interface Base {
  readonly snapshot: Snapshot | undefined;
  readonly live: NumberSet;
  readonly complete: Snapshot | undefined;
}

/** A record for a VM that was never backed up: a fresh id and a fresh data key, whatever its name was used for before (R11). */
export function newVmRecord(repository: Repository, name: VmName, uuid: string): VmRecord {
  const id = newVmId();
  const epoch = 1;
  const key = randomBytes(32);
  const wrapped = repository.keyring.wrapVmKey(id, epoch, key);
  key.fill(0);
  return {
    id,
    names: [name],
    uuids: [uuid],
    keys: [{ epoch, wrapped }],
    nextNumber: 0,
    leaves: [],
    live: null,
    nextSnapshot: 1,
    segments: [],
    head: [],
  };
}

const NO_CHANGES: Changes = { changedFiles: 0, newFiles: 0, rewrittenFiles: 0, deletedFiles: 0 };

export class VmWriter {
  /** The newest snapshot when the run began: what the readers compare with. */
  readonly base: Snapshot | undefined;
  /** Blob numbers of the base. */
  readonly baseLive: NumberSet;
  /** The newest complete one: the base, or the one before a partial base. */
  readonly #complete: Snapshot | undefined;
  readonly #repository: Repository;
  readonly #plan: Plan;
  /** Live set of the snapshot that the new one will follow: the base, or the one before a partial base. */
  readonly #before: NumberSet;
  /** First number of this run, and of what the new snapshot is to account for. */
  readonly #firstOfRun: number;
  readonly #firstNumber: number;
  #history: VmHistory;
  /** Live set of the newest snapshot. */
  #live: NumberSet;
  /** Volumes that were read to their end, and the blobs they refer to. */
  readonly #finished: SnapshotVolume[] = [];
  #used = NumberSet.empty;
  #anomaly: Anomaly | null = null;

  private constructor(repository: Repository, history: VmHistory, plan: Plan, base: Base) {
    this.#repository = repository;
    this.#history = history;
    this.#plan = plan;
    this.base = base.snapshot;
    this.baseLive = base.live;
    this.#complete = base.complete;
    this.#live = base.live;
    this.#firstOfRun = history.record.nextNumber;
    const { snapshot, live } = base;
    this.#firstNumber = snapshot?.partial === true ? snapshot.firstNumber : this.#firstOfRun;
    this.#before = snapshot?.partial === true ? liveBefore(snapshot, live) : live;
  }

  static async open(repository: Repository, history: VmHistory, plan: Plan): Promise<VmWriter> {
    const [live, snapshot] = await Promise.all([history.newestLive(), history.newest()]);
    const complete = snapshot?.partial === true ? await history.newestComplete() : snapshot;
    return new VmWriter(repository, history, plan, { live, snapshot, complete });
  }

  /** The base's volume of this name, if it was read in the same mode. */
  baseOf({ name, mode }: Pick<SnapshotVolume, 'name' | 'mode'>): SnapshotVolume | undefined {
    return this.base?.volumes.find((volume) => volume.name === name && volume.mode === mode);
  }

  /** What had changed in a volume since the last complete snapshot when the base was taken. */
  changesOfBase(volume: Pick<SnapshotVolume, 'name' | 'mode'>): Changes {
    const counts = this.base?.partial === true ? this.baseOf(volume)?.counts : undefined;
    const { changedFiles, newFiles, rewrittenFiles, deletedFiles } = counts ?? NO_CHANGES;
    return { changedFiles, newFiles, rewrittenFiles, deletedFiles };
  }

  get history(): VmHistory {
    return this.#history;
  }

  /** True once all volumes but one are finished. */
  get isAtLastVolume(): boolean {
    return this.#finished.length === this.#plan.volumes.length - 1;
  }

  /** What is unusual of the snapshot that was committed. */
  get anomaly(): Anomaly | null {
    return this.#anomaly;
  }

  /** Seals a blob under the next number. `durable` resolves when the storage VM has it; nothing refers to it before commit(). */
  async append(kind: BlobKind, payload: Uint8Array): Promise<{ number: number; durable: Promise<void> }> {
    const { table, epoch } = this.#history;
    const number = table.next;
    const { object, durable } = this.#repository.store.put(
      this.#history.sealer(kind, number, epoch),
      payload,
    );
    durable.catch(() => undefined); // The caller awaits it; a later row may fail first.
    await table.append({ id: object.id, kind, epoch });
    return { number, durable };
  }

  /**
   * Publishes a partial snapshot of all blobs below `end`, which are durable: `volume` as far as it was read, those
   * before it, and the base's of those to come. It keeps all that the run may yet use. Throws `refused` if the volume's
   * top is not a tree of the base or the run; then nothing changed.
   */
  async checkpoint(volume: SnapshotVolume, end: number): Promise<Snapshot> {
    const live = this.#allowed(end);
    await this.#checkTop(volume.top, live);
    return this.#publish(this.#volumesWith(volume), live, end, true);
  }

  /**
   * Takes over a volume that was read to its end; all it refers to is durable. Throws `refused` if it refers to anything
   * that is not the base's or new, or its top is not a tree; then the run can have no snapshot.
   */
  async finishVolume(volume: SnapshotVolume, live: NumberSet): Promise<void> {
    await this.checkVolume(volume, live);
    const end = this.#history.table.next;
    const isLast = this.isAtLastVolume;
    this.#finished.push(volume);
    this.#used = this.#used.union(live);
    // What was read so far must survive a failure in the next volume.
    if (!isLast && end > this.#history.record.nextNumber)
      await this.#publish(this.#volumesWith(), this.#allowed(end), end, true);
  }

  /** Throws `refused` as {@link finishVolume}. */
  async checkVolume({ top }: Pick<SnapshotVolume, 'top'>, live: NumberSet): Promise<void> {
    if (!live.isSubsetOf(this.#allowed(this.#history.table.next)))
      throw refuse('refers to blobs that are neither its base’s nor its own');
    await this.#checkTop(top, live);
  }

  /** Publishes the snapshot of all volumes, once each is finished. */
  async commit(): Promise<Snapshot> {
    if (this.#finished.length !== this.#plan.volumes.length)
      throw new BackupError('internal', 'a snapshot without all of its volumes');
    this.#repository.store.storage.warmUpPublishing();
    return this.#publish(this.#finished, this.#used, this.#history.table.next, false);
  }

  /** All that the run may refer to: the base's blobs, and its own below `end`. */
  #allowed(end: number): NumberSet {
    return this.baseLive.union(NumberSet.range(this.#firstOfRun, end));
  }

  /** The volumes of a checkpoint during `current`; those of which nothing is known yet are left out. */
  #volumesWith(current?: SnapshotVolume): SnapshotVolume[] {
    const known = current === undefined ? this.#finished : [...this.#finished, current];
    return this.#plan.volumes.flatMap((planned) => {
      const read = known.find(({ name }) => name === planned.name);
      if (read !== undefined) return [read];
      const base = this.baseOf(planned);
      return base === undefined
        ? []
        : [{ ...base, counts: { ...base.counts, ...this.changesOfBase(planned) } }];
    });
  }

  async #publish(
    volumes: readonly SnapshotVolume[],
    live: NumberSet,
    end: number,
    partial: boolean,
  ): Promise<Snapshot> {
    const { record, recordId, table, epoch, name } = this.#history;
    const { takenAt, now, marks, anomalyLimit } = this.#plan;
    const kept = record.head.filter((earlier) => !earlier.partial);
    const replaced = record.head.find((earlier) => earlier.partial);
    const number = replaced?.number ?? record.nextSnapshot;
    const born = NumberSet.range(this.#firstNumber, end);
    const touched = await table.drop(born.minus(live));
    const leaves = await table.write(record.nextNumber, end, touched, record.leaves, epoch);
    const liveReference = await this.#putLive(live, number);
    const snapshot: Snapshot = {
      number,
      takenAt,
      finishedAt: now(),
      partial,
      volumes: [...volumes],
      firstNumber: this.#firstNumber,
      endNumber: end,
      died: this.#before.minus(live),
      config: await this.#putConfig(number),
    };
    const sealer = this.#history.sealer(KIND.snapshot, number, epoch);
    const object = await this.#repository.store.putRecord(sealer, snapshotSchema, snapshot);
    const anomaly = partial ? null : anomalyOf(this.#complete, volumes, anomalyLimit);
    const entry: SnapshotEntry = { number, object, epoch, takenAt, partial, ...marks, note: '', anomaly };
    const { head, segments } = await closeSegments(
      this.#repository.store,
      this.#history,
      [...kept, entry],
      record.segments,
    );
    const next: VmRecord = {
      ...record,
      nextNumber: end,
      leaves,
      live: liveReference,
      nextSnapshot: number + 1,
      head,
      segments,
    };
    const id = await this.#repository.publish(next, recordId, now);
    this.#history = new VmHistory(this.#repository, name, next, id, table);
    this.#live = live;
    this.#anomaly = anomaly;
    return snapshot;
  }

  /** Throws `refused` unless `top` is a tree among `live`. */
  async #checkTop(top: number, live: NumberSet): Promise<void> {
    if (!live.has(top)) throw refuse('names a tree that it does not keep');
    const row = await this.#history.table.row(top);
    if (row?.kind !== KIND.tree) throw refuse('names a tree that is none');
  }

  async #putLive(live: NumberSet, snapshot: number): Promise<VmRecord['live']> {
    const { record, epoch } = this.#history;
    if (record.live !== null && live.equals(this.#live)) return record.live;
    const bytes = live.encode();
    if (bytes.length > MAX_NUMBER_SET)
      throw new BackupError('limit', `${this.#history.name} has too many scattered blobs`);
    const { object, durable } = this.#repository.store.put(
      this.#history.sealer(KIND.liveSet, snapshot, epoch),
      bytes,
    );
    await durable;
    return { object: object.id, epoch, snapshot };
  }

  /** The base's configuration object if it is the same, else a new one. */
  async #putConfig(snapshot: number): Promise<Snapshot['config']> {
    const { base } = this;
    const { config } = this.#plan;
    if (base !== undefined && equalBytes(await this.#history.config(base), config)) return base.config;
    const { epoch } = this.#history;
    const { object, durable } = this.#repository.store.put(
      this.#history.sealer(KIND.config, snapshot, epoch),
      config,
    );
    await durable;
    return { object: object.id, epoch, snapshot };
  }
}

function refuse(what: string): BackupError {
  return new BackupError('refused', `${what}: its snapshot is not stored`);
}
