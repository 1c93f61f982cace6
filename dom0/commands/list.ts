/** `list`: the snapshots of one VM or of all. */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount, formatTable, formatTime } from '../../shared/format.ts';
import { nearest } from '../nearest.ts';
import { totalsOf, volumeEvents } from '../repository/records.ts';
import type { SnapshotEntry } from '../repository/records.ts';
import { VmHistory } from '../repository/vm-history.ts';

export async function list(app: App, name: string | undefined): Promise<void> {
  if (name !== undefined) parseVmName(name);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const entries = repository.vms.filter((entry) => name === undefined || entry.name === name);
  if (name !== undefined && entries.length === 0) {
    const known = repository.vms.map((entry) => entry.name);
    throw new BackupError(
      'unknown-vm',
      `no backup of a VM named ${name} is in the store${nearest(name, known)}`,
    );
  }
  const rows = [['VM', 'SNAPSHOT', 'TAKEN', 'FILES', 'SIZE', 'STORED', '']];
  for (const entry of [...entries].sort((a, b) => a.name.localeCompare(b.name))) {
    const history = await VmHistory.read(repository, entry);
    const snapshots = await Promise.all(
      (await history.entries()).map(async (marks) => ({ marks, snapshot: await history.snapshot(marks) })),
    );
    for (const { snapshot, marks } of snapshots) {
      const { number, takenAt, partial } = snapshot;
      const { counts, warnings } = totalsOf(snapshot);
      const remark = partial
        ? 'partial (an interrupted run)'
        : [
            ...describeMarks(marks),
            ...(counts.skipped > 0 ? [`${formatCount(counts.skipped)} paths excluded`] : []),
            ...(warnings > 0 ? [`${formatCount(warnings)} warnings`] : []),
          ].join(', ');
      const sizes = partial ? ['', ''] : [formatCount(counts.files), formatBytes(counts.bytes)];
      rows.push([
        entry.name,
        String(number),
        formatTime(takenAt),
        ...sizes,
        formatBytes(counts.storedBytes),
        remark,
      ]);
      app.output.event('snapshot', {
        vm: entry.name,
        snapshot: number,
        takenAt: new Date(takenAt).toISOString(),
        partial,
        warnings,
        requested: marks.requested,
        tags: marks.tags,
        note: marks.note,
        anomaly: marks.anomaly,
        volumes: volumeEvents(snapshot),
        ...counts,
      });
    }
  }
  await app.closeStorage();
  if (rows.length === 1) app.output.line('No snapshots yet: run "qubes-backup backup --all".');
  else for (const line of formatTable(rows, [1, 3, 4, 5])) app.output.line(line);
}

/** What a person, or a run, said of a snapshot. */
function describeMarks({ requested, tags, note, anomaly }: SnapshotEntry): string[] {
  return [
    ...(anomaly?.acknowledged === false ? ['MUCH DELETED OR REWRITTEN'] : []),
    ...(tags.length > 0 ? [`tags ${tags.join(' ')}`] : []),
    ...(note === '' ? [] : [`"${note}"`]),
    ...(requested ? ['asked for by a VM'] : []),
  ];
}
