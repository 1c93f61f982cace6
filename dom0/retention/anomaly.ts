/**
 * Much deleted or rewritten at once: a mistake, or somebody who encrypts what he finds. The backups of before are then worth the
 * most, so nothing of the VM is forgotten until a person has seen it. Volumes that are backed up as a whole are one file, and
 * not judged.
 */

import { formatCount } from '../../shared/format.ts';
import type { VmName } from '../../shared/ids.ts';
import type { Anomaly, Snapshot, SnapshotEntry, SnapshotVolume } from '../repository/records.ts';

/** From when on it is one: both must be exceeded. */
export interface AnomalyLimit {
  /** Share of the files of the snapshot before, 0 to 100. Of 100 nothing is one. */
  readonly percent: number;
  /** So many files at least: in a small volume a share of them is soon changed. */
  readonly files: number;
}

/** What is unusual of `volumes`, which follow those of the last complete snapshot; null if nothing is. */
export function anomalyOf(
  before: Pick<Snapshot, 'volumes'> | undefined,
  volumes: readonly SnapshotVolume[],
  limit: AnomalyLimit,
): Anomaly | null {
  let [files, deleted, rewritten] = [0, 0, 0];
  for (const { name, mode, counts } of volumes) {
    const earlier = before?.volumes.find((volume) => volume.name === name && volume.mode === mode);
    if (mode !== 'files' || earlier === undefined) continue;
    files += earlier.counts.files;
    // A run that goes on from another one's checkpoint may count a file twice.
    deleted += Math.min(counts.deletedFiles, earlier.counts.files);
    rewritten += Math.min(counts.rewrittenFiles, earlier.counts.files);
  }
  const hit = Math.min(deleted + rewritten, files);
  const unusual = hit >= limit.files && hit * 100 > files * limit.percent;
  return unusual ? { files, deleted, rewritten, acknowledged: false } : null;
}

/** The snapshots whose warnings nobody has acknowledged. */
export function alarming(entries: readonly SnapshotEntry[]): SnapshotEntry[] {
  return entries.filter(({ anomaly }) => anomaly?.acknowledged === false);
}

/** What happened, and what a person does about it. */
export function describeAlarm(
  vm: VmName,
  { number, anomaly }: Pick<SnapshotEntry, 'number' | 'anomaly'>,
): string {
  const { files, deleted, rewritten } = anomaly ?? { files: 0, deleted: 0, rewritten: 0 };
  return (
    `of ${formatCount(files)} files, snapshot ${number} has ${formatCount(deleted)} no more and ${formatCount(rewritten)} with other content; ` +
    `look at "qubes-backup diff ${vm}@NUMBER @${number}" with the snapshot before, then run "qubes-backup acknowledge ${vm}"`
  );
}
