/**
 * What becomes of one VM's backups without certain objects, as far as dom0's own records tell: which snapshots are gone as a
 * whole, and which blobs of the others. What files those blobs are of only a disposable can say.
 */

import { isBackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { TABLE_LEAF_ROWS } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { KIND } from '../seal/object.ts';
import type { VolumeName } from '../domains/domains.ts';
import type { CatalogEntry, Snapshot, SnapshotEntry, SnapshotVolume } from './records.ts';
import type { Repository } from './repository.ts';
import { VmHistory, liveBefore } from './vm-history.ts';

/** A part of a VM's backups that cannot be had, all of it. */
export interface LostPart {
  /** Newest first; undefined if nobody can tell which there are. */
  readonly snapshots: readonly number[] | undefined;
  /** Undefined: all volumes. */
  readonly volume: VolumeName | undefined;
  /** Of `settings` the volumes are whole: only the VM cannot be made anew. */
  readonly what: 'all' | 'settings';
  /** What is missing, for people. */
  readonly reason: string;
}

/** A tree that can be read at least in part, and the snapshots that have it. */
export interface HitTree {
  readonly snapshots: readonly number[];
  readonly volume: SnapshotVolume;
}

export interface VmDamage {
  readonly parts: readonly LostPart[];
  /** Trees that may need some of `blobs`. */
  readonly trees: readonly HitTree[];
  /** Blobs that are lost. */
  readonly blobs: NumberSet;
  /** Blobs of the snapshots of `trees`, less the lost ones. */
  readonly readable: NumberSet;
  /** All snapshots that are known of, newest first. */
  readonly snapshots: readonly number[];
  /** Undefined if the VM's record cannot be read. */
  readonly history: VmHistory | undefined;
}

export interface Loss {
  /** True for the objects that count as lost. */
  readonly isLost: (id: ObjectId) => boolean;
  /** What cannot be read in any case counts as well; else nothing is said of what hangs on it. */
  readonly withUnreadable: boolean;
}

/** One snapshot that can be read, and its blobs. */
interface Readable {
  readonly snapshot: Snapshot;
  readonly live: NumberSet;
}

/** What `entry`'s VM loses with certain objects. */
export async function damageOf(repository: Repository, entry: CatalogEntry, loss: Loss): Promise<VmDamage> {
  const { name } = entry;
  const history = await unlessLost(loss, [entry.record], () => VmHistory.read(repository, entry));
  if (history === LOST || history === UNREADABLE)
    return allOf(history, undefined, undefined, `the record of ${name}`);
  const { segments, live } = history.record;
  const entries = await unlessLost(
    loss,
    segments.map(({ object }) => object),
    () => history.entries(),
  );
  if (entries === LOST || entries === UNREADABLE)
    return allOf(entries, history, undefined, `the list of snapshots of ${name}`);
  const numbers = entries.map(({ number }) => number).reverse();
  const newest = await unlessLost(loss, live === null ? [] : [live.object], () => history.newestLive());
  if (newest === LOST || newest === UNREADABLE)
    return allOf(newest, history, numbers, `the list of blobs of ${name}`);
  const { snapshots, parts } = await readableOf(history, entries, newest, loss);
  const blobs = await lostBlobs(history, snapshots, loss);
  return { ...treesOf(snapshots, parts, blobs), blobs: blobs.lost, snapshots: numbers, history };
}

/** The same of a VM of which no object is wrong. */
export async function undamaged(repository: Repository, entry: CatalogEntry): Promise<VmDamage> {
  const history = await VmHistory.read(repository, entry);
  const snapshots = (await history.entries()).map(({ number }) => number).reverse();
  return { ...NOTHING, snapshots, history };
}

const NOTHING = { parts: [], trees: [], blobs: NumberSet.empty, readable: NumberSet.empty };

function allOf(
  how: typeof LOST | typeof UNREADABLE,
  history: VmHistory | undefined,
  snapshots: readonly number[] | undefined,
  what: string,
): VmDamage {
  const reason = `${what} is lost, and all of its backups with it`;
  const parts: LostPart[] = [{ snapshots, volume: undefined, what: 'all', reason }];
  return { ...NOTHING, parts: how === LOST ? parts : [], snapshots: snapshots ?? [], history };
}

/** The snapshots from the newest to the first that is lost: which blobs one has is known from those after it. */
async function readableOf(
  history: VmHistory,
  entries: readonly SnapshotEntry[],
  newest: NumberSet,
  loss: Loss,
): Promise<{ readonly snapshots: readonly Readable[]; readonly parts: LostPart[] }> {
  const snapshots: Readable[] = [];
  const parts: LostPart[] = [];
  const all = { volume: undefined, what: 'all' } as const;
  let live = newest;
  for (const [index, entry] of [...entries].reverse().entries()) {
    const snapshot = await unlessLost(loss, [entry.object], () => history.snapshot(entry));
    if (snapshot === LOST || snapshot === UNREADABLE) {
      const left = entries.slice(0, entries.length - index).map(({ number }) => number);
      const reason = `the record of snapshot ${entry.number} is lost, from which it is known what those before it hold`;
      if (snapshot === LOST) parts.push({ ...all, snapshots: left.reverse(), reason });
      break;
    }
    snapshots.push({ snapshot, live });
    const config = await unlessLost(loss, [snapshot.config.object], () => history.config(snapshot));
    if (config === LOST) {
      const reason = 'the settings of the VM are lost: its files can be extracted, but it cannot be restored';
      parts.push({ snapshots: [entry.number], volume: undefined, what: 'settings', reason });
    }
    live = liveBefore(snapshot, live);
  }
  return { snapshots, parts };
}

interface LostBlobs {
  readonly lost: NumberSet;
  /** Of which nothing is to be said. */
  readonly unreadable: NumberSet;
}

/**
 * Of the blobs of `snapshots`, those that are lost, be it with the table that names them. Trees are few and small, and the files
 * that are hit are named by them: each is read before it is relied on.
 */
async function lostBlobs(history: VmHistory, snapshots: readonly Readable[], loss: Loss): Promise<LostBlobs> {
  const needed = snapshots.reduce((all, { live }) => all.union(live), NumberSet.empty);
  const lost: number[] = [];
  const unreadable: number[] = [];
  for (const number of needed) {
    const table = history.record.leaves[Math.floor(number / TABLE_LEAF_ROWS)];
    const row = await unlessLost(loss, table === undefined ? [] : [table.object], () =>
      history.rowOf(number),
    );
    const isRow = row !== LOST && row !== UNREADABLE;
    const state = isRow
      ? await unlessLost(loss, [row.id], () =>
          row.kind === KIND.tree ? history.blob(number) : Promise.resolve(undefined),
        )
      : row;
    if (state === LOST) lost.push(number);
    if (state === UNREADABLE) unreadable.push(number);
  }
  return { lost: NumberSet.of(lost), unreadable: NumberSet.of(unreadable) };
}

function treesOf(snapshots: readonly Readable[], found: readonly LostPart[], blobs: LostBlobs) {
  const { lost, unreadable } = blobs;
  const parts = [...found];
  const trees = new Map<number, { snapshots: number[]; volume: SnapshotVolume }>();
  let readable = NumberSet.empty;
  for (const { snapshot, live } of snapshots) {
    const left = live.minus(lost);
    if (left.equals(live) || !live.minus(unreadable).equals(live)) continue;
    for (const volume of snapshot.volumes) {
      if (lost.has(volume.top)) {
        const reason = `the list of files of the ${volume.name} volume is lost`;
        parts.push({ snapshots: [snapshot.number], volume: volume.name, what: 'all', reason });
        continue;
      }
      const known = trees.get(volume.top);
      if (known === undefined) trees.set(volume.top, { snapshots: [snapshot.number], volume });
      else known.snapshots.push(snapshot.number);
      readable = readable.union(left);
    }
  }
  return { parts, trees: [...trees.values()], readable };
}

const LOST = Symbol('lost');
const UNREADABLE = Symbol('unreadable');

/** What `work` answers, which needs `objects`; or that it cannot be had, and whether anything is to be said of that. */
async function unlessLost<T>(
  { isLost, withUnreadable }: Loss,
  objects: readonly ObjectId[],
  work: () => Promise<T>,
): Promise<T | typeof LOST | typeof UNREADABLE> {
  if (objects.some(isLost)) return LOST;
  try {
    return await work();
  } catch (error) {
    if (isBackupError(error, 'store-damaged', 'store-missing')) return withUnreadable ? LOST : UNREADABLE;
    throw error;
  }
}
