/** A VM's list of snapshots as its record holds it: full groups as objects of their own, the rest in the record. */

import { KIND } from '../seal/object.ts';
import type { ObjectStore } from './object-store.ts';
import { snapshotSegmentSchema } from './records.ts';
import type { Reference, SnapshotEntry } from './records.ts';
import { splitSegments } from './vm-history.ts';
import type { VmHistory } from './vm-history.ts';

/** Puts the full groups of `entries`, which follow `previous`. A partial snapshot stays in the head: it will be replaced. */
export async function closeSegments(
  store: ObjectStore,
  history: VmHistory,
  entries: readonly SnapshotEntry[],
  previous: readonly Reference[],
): Promise<{ head: SnapshotEntry[]; segments: Reference[] }> {
  const { full, rest } = splitSegments(entries);
  const segments = [...previous];
  const { epoch } = history;
  for (const group of full) {
    const sealer = history.sealer(KIND.snapshotSegment, segments.length, epoch);
    segments.push({
      object: await store.putRecord(sealer, snapshotSegmentSchema, { entries: group }),
      epoch,
    });
  }
  return { head: rest, segments };
}
