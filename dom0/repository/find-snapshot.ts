/** Which snapshot a person means: `latest`, a number, or the start of a local date and time. */

import { BackupError } from '../../shared/errors.ts';
import { formatTime } from '../../shared/format.ts';
import type { SnapshotEntry } from './records.ts';

/** Throws `unknown-snapshot`, with candidates where there are some. Partial snapshots are found by number only. */
export function findSnapshot(vm: string, entries: readonly SnapshotEntry[], wanted: string): SnapshotEntry {
  const complete = entries.filter((entry) => !entry.partial);
  if (wanted === 'latest') {
    const newest = complete.at(-1);
    if (newest !== undefined) return newest;
    throw new BackupError('unknown-snapshot', `${vm} has no complete snapshot yet`);
  }
  if (/^[1-9][0-9]{0,8}$/.test(wanted)) {
    const numbered = entries.find((entry) => entry.number === Number(wanted));
    if (numbered !== undefined) return numbered;
    const isYear = /^20[0-9]{2}$/.test(wanted);
    if (!isYear)
      throw new BackupError('unknown-snapshot', `${vm} has no snapshot ${wanted}; ${describe(complete)}`);
  }
  const prefix = wanted.replace('T', ' ');
  const matches = complete.filter((entry) => formatTime(entry.takenAt).startsWith(prefix));
  const [only] = matches;
  if (only !== undefined && matches.length === 1) return only;
  const why =
    matches.length === 0 ? `no snapshot from ${wanted}` : `${matches.length} snapshots from ${wanted}`;
  throw new BackupError(
    'unknown-snapshot',
    `${vm} has ${why}; ${describe(matches.length === 0 ? complete : matches)}`,
  );
}

function describe(entries: readonly SnapshotEntry[]): string {
  if (entries.length === 0) return 'there is none';
  const shown = entries.slice(-10).map((entry) => `${entry.number} (${formatTime(entry.takenAt)})`);
  return `there ${entries.length === 1 ? 'is' : 'are'} ${entries.length > shown.length ? '… ' : ''}${shown.join(', ')}`;
}

/** `VM@SNAPSHOT` as its parts; the snapshot is `latest` if left out. */
export function splitTarget(target: string): { vm: string; snapshot: string } {
  const at = target.indexOf('@');
  return at === -1
    ? { vm: target, snapshot: 'latest' }
    : { vm: target.slice(0, at), snapshot: target.slice(at + 1) };
}
