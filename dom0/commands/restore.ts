/**
 * `restore`: a snapshot into a new VM under a temporary name; for each volume, a second disposable that is given nothing
 * but the volume must arrive at its content digest; only then does the VM get its name (R30, R31).
 */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { restore as restoreProtocol, verify } from '../../shared/protocol/disposable.ts';
import type { App } from '../app.ts';
import { formatBytes, formatCount, formatTime } from '../../shared/format.ts';
import { totalsOf } from '../repository/records.ts';
import type { SnapshotVolume } from '../repository/records.ts';
import { runRestore, runVerify } from '../session/read-sessions.ts';
import type { Restored } from '../session/read-sessions.ts';
import { choose, requireComplete } from './chosen.ts';
import type { Chosen } from './chosen.ts';

export async function restore(app: App, target: string, as: string | undefined): Promise<void> {
  await app.lock();
  const wanted = as === undefined ? undefined : parseVmName(as);
  const chosen = await choose(app, target);
  const { snapshot, history } = chosen;
  const name = wanted ?? history.name;
  if ((await app.domains.list()).some((vm) => vm.name === name)) {
    throw new BackupError(
      'vm-exists',
      `a VM named ${name} exists and is not touched: restore beside it with --as NAME`,
    );
  }
  requireComplete(chosen);
  const { warnings } = totalsOf(snapshot);
  if (warnings > 0)
    app.warnOnly(
      `snapshot ${snapshot.number} was taken with ${formatCount(warnings)} warnings: what they named may be missing`,
    );
  const config = await history.config(snapshot);
  const temporary = await app.domains.createTemporary(name, config, snapshot.volumes);
  app.output.line(
    `Restoring snapshot ${snapshot.number} of ${history.name} (${formatTime(snapshot.takenAt)}) into the temporary VM ${temporary}.`,
  );
  let promoted = false;
  try {
    const restored: Restored[] = [];
    for (const volume of snapshot.volumes) {
      restored.push(await fill(app, chosen, volume, temporary));
      await prove(app, chosen, volume, temporary);
    }
    await app.domains.promote(temporary, name);
    promoted = true;
    report(app, chosen, name, restored);
  } finally {
    if (!promoted) await app.domains.removeTemporary(temporary);
  }
  await linkHistory(app, chosen, name);
  await app.closeStorage();
}

async function fill(
  app: App,
  { access }: Chosen,
  { name: volume, mode, top }: SnapshotVolume,
  vm: VmName,
): Promise<Restored> {
  const granted = await access(false);
  const attachment = { kind: 'volume', vm, volume, mode, writable: true } as const;
  return app.withVolume(vm, attachment, restoreProtocol.service, (call, attached) =>
    runRestore(call, granted, { volume: attached, top }, app.listener('restore')),
  );
}

async function prove(
  app: App,
  { snapshot, history }: Chosen,
  { name: volume, mode, ownersKnown, digest: wanted }: SnapshotVolume,
  vm: VmName,
): Promise<void> {
  const attachment = { kind: 'volume', vm, volume, mode, writable: false } as const;
  const digest = await app.withVolume(vm, attachment, verify.service, (call, attached) =>
    runVerify(call, { volume: attached, owners: ownersKnown, excludes: null }, app.listener('verify')),
  );
  if (digest === wanted) return;
  throw new BackupError(
    'verify-failed',
    `the ${volume} volume that was restored is not that of snapshot ${snapshot.number} of ${history.name}: the temporary VM is removed; run "qubes-backup check --read-data 100"`,
  );
}

function report(app: App, { snapshot, history }: Chosen, name: VmName, restored: readonly Restored[]): void {
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
  app.output.line(`${name} is restored.`);
  app.output.event('restored', {
    vm: history.name,
    snapshot: snapshot.number,
    as: name,
    volumes: snapshot.volumes.map((volume) => volume.name),
    files,
    bytes,
    warnings: sum((volume) => volume.warnings),
  });
}

/**
 * If none of the VMs that this history belongs to exists any more, the restored one continues it: an explicit link by
 * its new UUID, never by its name (R11).
 */
async function linkHistory(app: App, { repository, history }: Chosen, name: VmName): Promise<void> {
  const { record, recordId } = history;
  const vms = await app.domains.list();
  const restored = vms.find((vm) => vm.name === name);
  if (restored === undefined || vms.some((vm) => record.uuids.includes(vm.uuid))) return;
  const names = record.names.at(-1) === name ? record.names : [...record.names, name];
  await repository.publish({ ...record, names, uuids: [...record.uuids, restored.uuid] }, recordId, Date.now);
}
