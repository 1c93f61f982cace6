/**
 * One snapshot into one VM: written under a temporary name; for each volume, a second disposable that is given nothing but the volume
 * must arrive at its content digest; only then does the VM get its name (R30, R31).
 */

import { BackupError, messageOf } from '../../shared/errors.ts';
import { formatBytes, formatCount, formatTime } from '../../shared/format.ts';
import type { VmName } from '../../shared/ids.ts';
import { restore as restoreProtocol, verify } from '../../shared/protocol/disposable.ts';
import type { App } from '../app.ts';
import type { Replaced, Substitutes } from '../domains/domains.ts';
import { describeNotApplied } from '../domains/not-applied.ts';
import type { NotApplied } from '../domains/not-applied.ts';
import { totalsOf } from '../repository/records.ts';
import type { SnapshotVolume } from '../repository/records.ts';
import { encodeNote, endRestore } from '../restored.ts';
import { runRestore, runVerify } from '../session/read-sessions.ts';
import type { Restored } from '../session/read-sessions.ts';
import type { Chosen } from './chosen.ts';

export interface RestoreJob {
  readonly chosen: Chosen;
  /** The name that it gets. */
  readonly name: VmName;
  readonly substitutes?: Substitutes;
  /** The VM whose place it takes. */
  readonly replaced?: Replaced | undefined;
  /** VMs that this run is to restore after it. */
  readonly awaited?: readonly VmName[];
}

/**
 * Of a complete snapshot. Answers what of its configuration the VM does not have, which is not told yet; but what waits for VMs that
 * are to be restored after it is kept, for endWaiting().
 */
export async function restoreVm(app: App, job: RestoreJob): Promise<readonly NotApplied[]> {
  const { chosen, name, substitutes } = job;
  const { snapshot, history } = chosen;
  const { warnings } = totalsOf(snapshot);
  if (warnings > 0)
    app.warnOnly(
      `snapshot ${snapshot.number} was taken with ${formatCount(warnings)} warnings: what they named may be missing`,
    );
  const config = await history.config(snapshot);
  const temporary = await app.domains.createTemporary(name, config, snapshot.volumes, substitutes);
  app.output.line(
    `Restoring snapshot ${snapshot.number} of ${history.name} (${formatTime(snapshot.takenAt)}) into the temporary VM ${temporary}.`,
  );
  const { notApplied, restored } = await fillAndPromote(app, job, temporary);
  report(app, job, restored);
  const promoted = (await app.domains.promoted()).find((one) => one.temporary === temporary);
  return promoted === undefined ? notApplied : (await endRestore(app, chosen.repository, promoted)).left;
}

/** Fills and proves the temporary VM, and gives it its name; or removes it. */
async function fillAndPromote(app: App, job: RestoreJob, temporary: VmName) {
  const { chosen, name, replaced, awaited = [] } = job;
  const note = encodeNote({ vm: chosen.history.record.id, replaced: replaced?.uuid ?? null, awaited });
  try {
    const restored = await fillAndProve(app, chosen, temporary);
    return { notApplied: await app.domains.promote(temporary, name, replaced, note), restored };
  } catch (error) {
    await app.domains.removeTemporary(temporary).catch((left: unknown) => app.warn(messageOf(left)));
    throw error;
  }
}

/** Writes all volumes of a temporary VM, and has each proven. Throws `verify-failed`. */
export async function fillAndProve(
  app: App,
  chosen: Chosen,
  temporary: VmName,
): Promise<readonly Restored[]> {
  const restored: Restored[] = [];
  for (const volume of chosen.snapshot.volumes) {
    restored.push(await fill(app, chosen, volume, temporary));
    await prove(app, chosen, volume, temporary);
  }
  return restored;
}

async function fill(
  app: App,
  { access, history }: Chosen,
  { name: volume, mode, top }: SnapshotVolume,
  vm: VmName,
): Promise<Restored> {
  const granted = await access(false);
  const attachment = { kind: 'volume', vm, volume, mode, writable: true } as const;
  return app.withVolume(vm, attachment, restoreProtocol.service, (call, attached) =>
    runRestore(call, granted, { volume: attached, top }, app.listener(history.name, `writing ${volume}`)),
  );
}

async function prove(
  app: App,
  { snapshot, history }: Chosen,
  { name: volume, mode, size, ownersKnown, digest: wanted }: SnapshotVolume,
  vm: VmName,
): Promise<void> {
  const attachment = { kind: 'volume', vm, volume, mode, writable: false } as const;
  const digest = await app.withVolume(vm, attachment, verify.service, (call, attached) =>
    runVerify(
      call,
      {
        ...{ volume: attached, owners: ownersKnown, excludes: null },
        deviceSize: mode === 'blocks' ? size : null,
      },
      app.listener(history.name, `verifying ${volume}`),
    ),
  );
  if (digest === wanted) return;
  throw new BackupError(
    'verify-failed',
    `the ${volume} volume that was restored is not that of snapshot ${snapshot.number} of ${history.name}: the temporary VM is removed; run "qubes-backup check --read-data 100"`,
  );
}

function report(app: App, { chosen, name, replaced }: RestoreJob, restored: readonly Restored[]): void {
  const { snapshot, history } = chosen;
  const sum = (pick: (volume: Restored) => number) => restored.reduce((total, one) => total + pick(one), 0);
  const files = sum((volume) => volume.files);
  const bytes = sum((volume) => volume.bytes);
  app.output.line(
    `A second disposable read ${formatCount(files)} files, ${formatBytes(bytes)}, and arrived at the same content digest.`,
  );
  if (snapshot.volumes.some(({ ownersKnown }) => !ownersKnown))
    app.warn(
      `${name}: owners and groups were unknown when the backup was made, and are those of the restoring user`,
    );
  const kept = replaced === undefined ? '' : ` The one that had the name is ${replaced.keptAs} now.`;
  app.output.line(`${name} is restored.${kept}`);
  app.output.event('restored', {
    vm: history.name,
    snapshot: snapshot.number,
    as: name,
    ...(replaced === undefined ? {} : { keptAs: replaced.keptAs }),
    volumes: snapshot.volumes.map((volume) => volume.name),
    files,
    bytes,
    warnings: sum((volume) => volume.warnings),
  });
}

/** Names what a restored VM does not have as it was: each is something for a person to look at. */
export function tellNotApplied(app: App, vm: VmName, notApplied: readonly NotApplied[]): void {
  for (const one of notApplied) {
    app.output.event('not-applied', { vm, ...one });
    app.warn(`VM ${vm}: ${describeNotApplied(one)}`);
  }
}
