/** `history`: the versions of one path in all snapshots of a VM. */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { MAX_SNAPSHOTS } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { browse } from '../../shared/protocol/browse.ts';
import type { Version } from '../../shared/protocol/browse.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import { formatTime } from '../../shared/format.ts';
import type { Row } from '../output.ts';
import { historyNamed } from '../repository/find-vm.ts';
import type { Snapshot } from '../repository/records.ts';
import { runHistory } from '../session/query-sessions.ts';
import { describe, fieldsOf } from './entry-row.ts';
import { pathBytes } from './paths.ts';

export async function history(
  app: App,
  vm: string,
  path: string,
  volumeName: VolumeName = 'private',
): Promise<void> {
  const bytes = pathBytes(path);
  const name = parseVmName(vm);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const past = await historyNamed(repository, app.domains, name);
  const snapshots: Snapshot[] = [];
  const tops: number[] = [];
  let numbers = NumberSet.empty;
  for await (const { snapshot, live } of past.snapshotsWithLive()) {
    const volume = snapshot.volumes.find((candidate) => candidate.name === volumeName);
    if (snapshot.partial || volume === undefined) continue;
    snapshots.push(snapshot);
    tops.push(volume.top);
    numbers = numbers.union(live);
    if (snapshots.length < MAX_SNAPSHOTS) continue;
    app.warn(`${name} has more snapshots than one question may be about: the oldest are left out`);
    break;
  }
  if (snapshots.length === 0)
    throw new BackupError(
      'unknown-snapshot',
      `${name} has no complete snapshot of its ${volumeName} volume yet`,
    );
  const access = { store: repository.store, history: past, grant: { numbers, treesOnly: true } };
  const question = { kind: 'history', tops, path: bytes } as const;
  const rows = new VersionRows(snapshots);
  const found = await app.withDisposable(name, { kind: 'nothing' }, browse.service, (call) =>
    runHistory(call, access, question, (versions) => app.output.rows(rows.take(versions))),
  );
  await app.output.rows(rows.end());
  if (!found) throw new BackupError('unknown-path', `${path} is in no snapshot of ${name}`);
  await app.closeStorage();
}

/** Rows of versions, which come newest first: what became of one is known once the one before it in time is. */
class VersionRows {
  readonly #snapshots: readonly Snapshot[];
  #pending: Version | undefined;

  constructor(snapshots: readonly Snapshot[]) {
    this.#snapshots = snapshots;
  }

  take(versions: readonly Version[]): Row[] {
    return versions.flatMap((version) => {
      const pending = this.#pending;
      this.#pending = version;
      return pending === undefined ? [] : this.#row(pending, version);
    });
  }

  /** The last row. */
  end(): Row[] {
    return this.#pending === undefined ? [] : this.#row(this.#pending, undefined);
  }

  #row(version: Version, before: Version | undefined): Row[] {
    const newest = this.#snapshots[version.newest];
    const oldest = this.#snapshots[version.oldest];
    if (newest === undefined || oldest === undefined) return [];
    const { entry } = version;
    const what = changeOf(version, before);
    const range = oldest === newest ? `${oldest.number}` : `${oldest.number}-${newest.number}`;
    const times = `${formatTime(oldest.takenAt)} to ${formatTime(newest.takenAt)}`;
    const state = entry === null ? 'absent' : describe(entry);
    const detail = version.changed.length > 0 ? version.changed.join(', ') : what;
    return [
      {
        line: `${range.padEnd(9)}  ${times}  ${state}  ${detail}`.trimEnd(),
        event: 'version',
        fields: {
          from: { snapshot: oldest.number, takenAt: new Date(oldest.takenAt).toISOString() },
          to: { snapshot: newest.number, takenAt: new Date(newest.takenAt).toISOString() },
          change: what,
          changed: version.changed,
          entry: entry === null ? null : fieldsOf(entry),
        },
      },
    ];
  }
}

/** What happened at the start of a version; nothing is known of the oldest. */
function changeOf(version: Version, before: Version | undefined): string {
  if (before === undefined) return version.entry === null ? '' : 'oldest';
  if (version.entry === null) return 'removed';
  return before.entry === null ? 'created' : 'changed';
}
