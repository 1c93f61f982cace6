/** A VM's list of snapshots as its record holds it: full groups as objects of their own, the rest in the record. */

import { SNAPSHOT_SEGMENT } from '../../shared/limits.ts';
import { KIND } from '../seal/object.ts';
import type { ObjectStore } from './object-store.ts';
import { snapshotSegmentSchema } from './records.ts';
import type { Reference, SnapshotEntry } from './records.ts';
import type { Repository } from './repository.ts';
import type { VmHistory } from './vm-history.ts';

/** Puts the full groups of `entries`, which follow `previous`. A partial snapshot stays in the head: it will be replaced. */
export async function closeSegments(
  store: ObjectStore,
  history: VmHistory,
  entries: readonly SnapshotEntry[],
  previous: readonly Reference[],
): Promise<{ head: SnapshotEntry[]; segments: Reference[] }> {
  const final = entries.at(-1)?.partial === true ? entries.length - 1 : entries.length;
  const segments = [...previous];
  const { epoch } = history;
  let at = 0;
  for (; final - at >= SNAPSHOT_SEGMENT; at += SNAPSHOT_SEGMENT) {
    const group = entries.slice(at, at + SNAPSHOT_SEGMENT);
    const sealer = history.sealer(KIND.snapshotSegment, segments.length, epoch);
    segments.push({
      object: await store.putRecord(sealer, snapshotSegmentSchema, { entries: group }),
      epoch,
    });
  }
  return { head: entries.slice(at), segments };
}

/**
 * Publishes the VM's record with `after` in the place of all its snapshots, which are `before`. Groups at the beginning that
 * have the very same entries stay as they are stored.
 */
export async function replaceEntries(
  repository: Repository,
  history: VmHistory,
  before: readonly SnapshotEntry[],
  after: readonly SnapshotEntry[],
  now: () => number,
): Promise<void> {
  const { record, recordId } = history;
  const changed = after.findIndex((entry, at) => entry !== before[at]);
  const same = Math.floor((changed === -1 ? after.length : changed) / SNAPSHOT_SEGMENT);
  const kept = record.segments.slice(0, same);
  const rest = after.slice(kept.length * SNAPSHOT_SEGMENT);
  const list = await closeSegments(repository.store, history, rest, kept);
  await repository.publish({ ...record, ...list }, recordId, now);
}
