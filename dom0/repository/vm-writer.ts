/**
 * Adds snapshots to one VM: rows for new blobs, then in this order table leaves, live set, configuration, snapshot,
 * record, catalog, root. A snapshot that follows a partial one (a checkpoint of the same or a dead run) takes its place.
 */

import { randomBytes } from 'node:crypto';
import { equalBytes } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { newVmId } from '../../shared/ids.ts';
import type { ContentDigest, VmName } from '../../shared/ids.ts';
import { MAX_NUMBER_SET } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { KIND } from '../seal/object.ts';
import type { BlobKind } from '../seal/object.ts';
import { snapshotSchema, snapshotSegmentSchema } from './records.ts';
import type { Reference, Snapshot, SnapshotEntry, VmRecord } from './records.ts';
import type { Repository } from './repository.ts';
import { VmHistory, liveBefore, splitSegments } from './vm-history.ts';

/** What a session says of the snapshot it made; dom0 adds the rest. */
export interface NewSnapshot {
  readonly takenAt: number;
  readonly partial: boolean;
  readonly top: number;
  readonly live: NumberSet;
  readonly digest: ContentDigest | null;
  readonly ownersKnown: boolean;
  readonly warnings: number;
  readonly counts: Snapshot['counts'];
}

interface Base {
  readonly snapshot: Snapshot | undefined;
  readonly live: NumberSet;
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

export class VmWriter {
  /** The newest snapshot when the run began: what the reader compares with. */
  readonly base: Snapshot | undefined;
  /** Blob numbers of the base. */
  readonly baseLive: NumberSet;
  readonly #repository: Repository;
  readonly #config: Uint8Array;
  readonly #now: () => number;
  /** Live set of the snapshot that the new one will follow: the base, or the one before a partial base. */
  readonly #before: NumberSet;
  /** First number of this run, and of what the new snapshot is to account for. */
  readonly #firstOfRun: number;
  readonly #firstNumber: number;
  #history: VmHistory;
  #live: NumberSet;

  private constructor(
    repository: Repository,
    history: VmHistory,
    config: Uint8Array,
    now: () => number,
    base: Base,
  ) {
    this.#repository = repository;
    this.#history = history;
    this.#config = config;
    this.#now = now;
    this.base = base.snapshot;
    this.baseLive = base.live;
    this.#live = base.live;
    this.#firstOfRun = history.record.nextNumber;
    const { snapshot, live } = base;
    this.#firstNumber = snapshot?.partial === true ? snapshot.firstNumber : this.#firstOfRun;
    this.#before = snapshot?.partial === true ? liveBefore(snapshot, live) : live;
  }

  /** `config` is stored with every snapshot; `now` is dom0's clock in milliseconds. */
  static async open(
    repository: Repository,
    history: VmHistory,
    config: Uint8Array,
    now: () => number,
  ): Promise<VmWriter> {
    const [live, snapshot] = await Promise.all([history.newestLive(), history.newest()]);
    return new VmWriter(repository, history, config, now, { live, snapshot });
  }

  get history(): VmHistory {
    return this.#history;
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
   * Publishes a snapshot of the blobs below `end`, all durable. Throws `refused` if it refers to anything that is not
   * the base's or new, or its top is not a tree; then nothing changed.
   */
  async commit(made: NewSnapshot, end: number): Promise<Snapshot> {
    const { record, recordId, table, epoch, name } = this.#history;
    await this.#check(made, this.baseLive.union(NumberSet.range(this.#firstOfRun, end)));
    const kept = record.head.filter((earlier) => !earlier.partial);
    const replaced = record.head.find((earlier) => earlier.partial);
    const number = replaced?.number ?? record.nextSnapshot;
    const born = NumberSet.range(this.#firstNumber, end);
    // A checkpoint keeps what the run put but does not use yet; the final snapshot keeps what it uses.
    const unused = made.partial ? NumberSet.empty : born.minus(made.live);
    const touched = await table.drop(unused);
    const leaves = await table.write(record.nextNumber, end, touched, record.leaves, epoch);
    const live = await this.#putLive(made.live, number);
    const snapshot: Snapshot = {
      number,
      takenAt: made.takenAt,
      finishedAt: this.#now(),
      partial: made.partial,
      top: made.top,
      firstNumber: this.#firstNumber,
      endNumber: end,
      died: this.#before.minus(made.live),
      digest: made.digest,
      ownersKnown: made.ownersKnown,
      config: await this.#putConfig(number),
      warnings: made.warnings,
      counts: made.counts,
    };
    const sealer = this.#history.sealer(KIND.snapshot, number, epoch);
    const object = await this.#repository.store.putRecord(sealer, snapshotSchema, snapshot);
    const entry: SnapshotEntry = { number, object, epoch, takenAt: made.takenAt, partial: made.partial };
    const { head, segments } = await this.#closeSegments([...kept, entry], record.segments);
    const next: VmRecord = {
      ...record,
      nextNumber: end,
      leaves,
      live,
      nextSnapshot: number + 1,
      head,
      segments,
    };
    const id = await this.#repository.publish(next, recordId, this.#now);
    this.#history = new VmHistory(this.#repository, name, next, id, table);
    this.#live = made.live;
    return snapshot;
  }

  async #check(made: NewSnapshot, allowed: NumberSet): Promise<void> {
    const refuse = (what: string) => new BackupError('refused', `${what}: its snapshot is not stored`);
    if (!made.live.isSubsetOf(allowed))
      throw refuse('refers to blobs that are neither its base’s nor its own');
    if (!made.live.has(made.top)) throw refuse('names a tree that it does not keep');
    const row = await this.#history.table.row(made.top);
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
    if (base !== undefined && equalBytes(await this.#history.config(base), this.#config)) return base.config;
    const { epoch } = this.#history;
    const { object, durable } = this.#repository.store.put(
      this.#history.sealer(KIND.config, snapshot, epoch),
      this.#config,
    );
    await durable;
    return { object: object.id, epoch, snapshot };
  }

  /** Moves full groups of 64 from the head to segments. A partial snapshot stays in the head: it will be replaced. */
  async #closeSegments(
    entries: SnapshotEntry[],
    previous: readonly Reference[],
  ): Promise<{ head: SnapshotEntry[]; segments: Reference[] }> {
    const { full, rest } = splitSegments(entries);
    const segments = [...previous];
    const { epoch } = this.#history;
    for (const group of full) {
      const sealer = this.#history.sealer(KIND.snapshotSegment, segments.length, epoch);
      segments.push({
        object: await this.#repository.store.putRecord(sealer, snapshotSegmentSchema, { entries: group }),
        epoch,
      });
    }
    return { head: rest, segments };
  }
}
