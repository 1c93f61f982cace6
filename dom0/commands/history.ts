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
import type { VmHistory } from '../repository/vm-history.ts';
import { runHistory } from '../session/query-sessions.ts';
import type { BlobAccess } from '../session/read-sessions.ts';
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
  const { snapshots, tops, access } = await wholePast(app, past, volumeName);
  const question = { kind: 'history', tops, path: bytes } as const;
  const rows = new VersionRows(snapshots);
  const show = (versions: readonly ToldVersion[]) => app.output.rows(versions.map(rowOf));
  const found = await app.withDisposable(name, { kind: 'nothing' }, browse.service, (call) =>
    runHistory(call, access, question, (versions) => show(rows.take(versions))),
  );
  await show(rows.end());
  if (!found) throw new BackupError('unknown-path', `${path} is in no snapshot of ${name}`);
  await app.closeStorage();
}

/** All snapshots of a volume that one question may be about, newest first. */
export interface WholePast {
  readonly snapshots: readonly Snapshot[];
  /** The tops of their trees. */
  readonly tops: number[];
  /** Their trees. */
  readonly access: BlobAccess;
}

/** Throws `unknown-snapshot` if there is none. */
export async function wholePast(app: App, past: VmHistory, volumeName: VolumeName): Promise<WholePast> {
  const { name } = past;
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
  return {
    snapshots,
    tops,
    access: { history: past, grant: { numbers, treesOnly: true } },
  };
}

/** A version with its snapshots. */
export interface ToldVersion {
  readonly newest: Snapshot;
  readonly oldest: Snapshot;
  readonly entry: Version['entry'];
  /** What became of the path at its start: empty if nothing is known. */
  readonly change: string;
  /** In what, as fields. */
  readonly changed: Version['changed'];
}

/** Versions, which come newest first: what became of one is known once the one before it in time is. */
export class VersionRows {
  readonly #snapshots: readonly Snapshot[];
  #pending: Version | undefined;

  constructor(snapshots: readonly Snapshot[]) {
    this.#snapshots = snapshots;
  }

  take(versions: readonly Version[]): ToldVersion[] {
    return versions.flatMap((version) => {
      const pending = this.#pending;
      this.#pending = version;
      return pending === undefined ? [] : this.#tell(pending, version);
    });
  }

  /** The last one. */
  end(): ToldVersion[] {
    return this.#pending === undefined ? [] : this.#tell(this.#pending, undefined);
  }

  #tell(version: Version, before: Version | undefined): ToldVersion[] {
    const newest = this.#snapshots[version.newest];
    const oldest = this.#snapshots[version.oldest];
    if (newest === undefined || oldest === undefined) return [];
    const { entry, changed } = version;
    return [{ newest, oldest, entry, change: changeOf(version, before), changed }];
  }
}

/** The numbers of its snapshots: `3`, or `1-3`. */
export function rangeOf({ newest, oldest }: ToldVersion): string {
  return oldest === newest ? `${oldest.number}` : `${oldest.number}-${newest.number}`;
}

/** What became of the path: of a changed one in what. */
export function detailOf({ changed, change }: ToldVersion): string {
  return changed.length > 0 ? changed.join(', ') : change;
}

function rowOf(version: ToldVersion): Row {
  const { newest, oldest, entry, change, changed } = version;
  const times = `${formatTime(oldest.takenAt)} to ${formatTime(newest.takenAt)}`;
  const state = entry === null ? 'absent' : describe(entry);
  return {
    line: `${rangeOf(version).padEnd(9)}  ${times}  ${state}  ${detailOf(version)}`.trimEnd(),
    event: 'version',
    fields: {
      from: { snapshot: oldest.number, takenAt: new Date(oldest.takenAt).toISOString() },
      to: { snapshot: newest.number, takenAt: new Date(newest.takenAt).toISOString() },
      change,
      changed,
      entry: entry === null ? null : fieldsOf(entry),
    },
  };
}

/** What happened at the start of a version; nothing is known of the oldest. */
function changeOf(version: Version, before: Version | undefined): string {
  if (before === undefined) return version.entry === null ? '' : 'oldest';
  if (version.entry === null) return 'removed';
  return before.entry === null ? 'created' : 'changed';
}
