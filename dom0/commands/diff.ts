/** `diff` and `verify`: a snapshot against another, or against the volume as it is now. */

import { BackupError } from '../../shared/errors.ts';
import { MAX_ENTRIES } from '../../shared/limits.ts';
import { compare } from '../../shared/protocol/browse.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import type { VolumeName } from '../domains/domains.ts';
import { formatCount, formatTime } from '../../shared/format.ts';
import { findSnapshot, splitTarget } from '../repository/find-snapshot.ts';
import type { Snapshot } from '../repository/records.ts';
import { runCompare } from '../session/query-sessions.ts';
import { choose, requireComplete, volumeOf } from './chosen.ts';
import type { Chosen } from './chosen.ts';
import { DifferenceList } from './differences.ts';
import { entriesIn } from './ls.ts';

/** How a VM's volume as it is now is called on the command line. */
const LIVE = 'live';

/** `content`: read all content of the live volume, also where the metadata says that it is the same. */
export async function diff(
  app: App,
  target: string,
  other: string,
  content: boolean,
  volumeName?: VolumeName,
): Promise<void> {
  const isLive = other === LIVE;
  requireUsage(isLive || !content, `--content is about the live volume: a snapshot's content is known`);
  if (isLive) await app.lock();
  const chosen = await choose(app, target, volumeName);
  const list = new DifferenceList(app, chosen.volume.name);
  const after = isLive ? undefined : await otherSnapshot(chosen, other);
  const leftOut =
    after === undefined
      ? await compareLive(app, chosen, content, list)
      : await compareSnapshots(app, chosen, after, list);
  const { history, snapshot } = chosen;
  list.total(leftOut, { vm: history.name, before: snapshot.number, after: after?.number ?? LIVE });
  await app.closeStorage();
}

/** Reads whole volumes as they are now, all of a snapshot or the named one, and holds them against it. */
export async function verify(app: App, target: string, volumeName?: VolumeName): Promise<void> {
  await app.lock();
  const chosen = await choose(app, target, volumeName);
  requireComplete(chosen);
  const { history, snapshot } = chosen;
  const volumes = volumeName === undefined ? snapshot.volumes : [chosen.volume];
  let leftOut = 0;
  for (const volume of volumes) {
    if (volumes.length > 1) app.output.line(`The ${volume.name} volume:`);
    leftOut += await verifyVolume(app, { ...chosen, volume });
  }
  const of = { vm: history.name, snapshot: snapshot.number, volumes: volumes.map(({ name }) => name) };
  app.output.event('verified', { ...of, equal: !app.differs, leftOut });
  const name = `snapshot ${snapshot.number} (${formatTime(snapshot.takenAt)})`;
  const known = app.warnings > 0 ? ', as far as it could be read' : '';
  const rest = leftOut > 0 ? ` ${formatCount(leftOut)} left out then or now were not compared.` : '';
  app.output.line(
    app.differs
      ? `${history.name} differs from ${name}: it was changed since then, or either is damaged.`
      : `${history.name} is what ${name} holds${known}.${rest}`,
  );
  await app.closeStorage();
}

/** Shows how one volume differs; answers how many entries were not compared. */
async function verifyVolume(app: App, chosen: Chosen): Promise<number> {
  const { history, snapshot, volume } = chosen;
  const list = new DifferenceList(app, volume.name);
  const leftOut = await compareLive(app, chosen, true, list);
  if (list.isEmpty) return leftOut;
  app.differs = true;
  list.total(leftOut, { vm: history.name, before: snapshot.number, after: LIVE });
  return leftOut;
}

/** The second snapshot of `diff`: of the same VM, whose name may be left out before `@`. */
async function otherSnapshot({ history }: Chosen, other: string): Promise<Snapshot> {
  const { vm, snapshot } = splitTarget(other);
  requireUsage(
    vm === '' || vm === history.name,
    `snapshots of ${history.name} and ${vm} have nothing in common: give two of the same VM`,
  );
  return history.snapshot(findSnapshot(history.name, await history.entries(), snapshot));
}

async function compareSnapshots(
  app: App,
  { history, snapshot, volume: before }: Chosen,
  after: Snapshot,
  list: DifferenceList,
): Promise<number> {
  const volume = volumeOf(history.name, after, before.name);
  requireUsage(
    volume.mode === before.mode,
    `the ${before.name} volume was backed up as ${before.mode} and as ${volume.mode}: there is nothing to compare`,
  );
  const numbers = (await history.liveAt(snapshot.number)).union(await history.liveAt(after.number));
  const access = { history, grant: { numbers, treesOnly: true } };
  const job = {
    before: { top: before.top, takenAt: before.takenAt },
    after: { kind: 'tree', top: volume.top },
  } as const;
  const { leftOut } = await app.withDisposable(history.name, { kind: 'nothing' }, compare.service, (call) =>
    runCompare(
      call,
      access,
      job,
      entriesIn(before) + entriesIn(volume),
      (differences) => list.show(differences),
      app.listener(history.name, 'comparing'),
    ),
  );
  return leftOut;
}

async function compareLive(
  app: App,
  { history, volume: before, access }: Chosen,
  content: boolean,
  list: DifferenceList,
): Promise<number> {
  const { name, record } = history;
  const vm = (await app.domains.list()).find((candidate) => candidate.name === name);
  if (vm === undefined || !record.uuids.includes(vm.uuid)) {
    const why = vm === undefined ? 'there is no VM of this name' : 'the VM of this name is another one';
    throw new BackupError('unknown-vm', `${name} is not there to be compared with its backup: ${why}`);
  }
  const { excludes } = app.config.backup(vm);
  const granted = await access(true);
  const snapshot = await app.domains.snapshotVolume(name, before.name, before.mode);
  try {
    const attachment = { kind: 'snapshot', snapshot } as const;
    const { leftOut } = await app.withVolume(name, attachment, compare.service, (call, volume) => {
      const job = {
        before: { top: before.top, takenAt: before.takenAt },
        after: { kind: 'volume', volume, excludes, content },
      } as const;
      const show = list.show.bind(list);
      return runCompare(
        call,
        granted,
        job,
        entriesIn(before) + MAX_ENTRIES,
        show,
        app.listener(name, 'comparing'),
      );
    });
    return leftOut;
  } finally {
    await snapshot.release();
  }
}
