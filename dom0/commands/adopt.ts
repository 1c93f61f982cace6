/** `adopt`: an existing VM continues the history of one that is gone, as after a rename, which gives a VM another UUID (R11). */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { formatCount } from '../../shared/format.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { nearest } from '../nearest.ts';
import { VmHistory } from '../repository/vm-history.ts';
import { catchUp } from './sync-stores.ts';

/**
 * Links the snapshots of `old` to the VM `name`. What was backed up of that VM under a history of its own stays there, orphaned.
 * `id` tells apart VMs that had the same name.
 */
export async function adopt(app: App, old: string, name: string, id: string | undefined): Promise<void> {
  const [oldName, newName] = [parseVmName(old), parseVmName(name)];
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const vms = await app.domains.list();
  const vm = vms.find((candidate) => candidate.name === newName);
  if (vm === undefined) {
    const names = vms.map((candidate) => candidate.name);
    throw new BackupError('unknown-vm', `there is no VM named ${name}${nearest(name, names)}`);
  }
  const repository = await app.open();
  const histories = await Promise.all(repository.vms.map((entry) => VmHistory.read(repository, entry)));
  const belongsTo = ({ record }: VmHistory) => vms.find(({ uuid }) => record.uuids.includes(uuid));
  const named = histories.filter(({ name: known }) => known === oldName);
  const orphans = named.filter(
    (history) => belongsTo(history) === undefined && (id === undefined || history.record.id === id),
  );
  const [orphan] = orphans;
  if (orphan === undefined) {
    const owner = named.map(belongsTo).find((found) => found !== undefined);
    if (owner !== undefined && id === undefined)
      throw new BackupError(
        'usage',
        `the snapshots of ${old} are those of the VM ${owner.name}, which is here`,
      );
    const names = histories.map(({ name: known }) => known);
    throw new BackupError(
      'unknown-vm',
      `no backup of a VM named ${old} that is gone is in the store${nearest(old, names)}`,
    );
  }
  requireUsage(
    orphans.length === 1,
    `the store has ${orphans.length} VMs that were named ${old} and are gone: choose one with --id ${orphans.map(({ record }) => record.id).join(' or ')}`,
  );
  const { record, recordId } = orphan;
  const names = [...record.names.filter((earlier) => earlier !== newName), newName];
  const own = histories.filter((history) => history.record.uuids.includes(vm.uuid));
  // It lets go first: two histories must never claim one VM.
  for (const history of own) {
    const uuids = history.record.uuids.filter((uuid) => uuid !== vm.uuid);
    await repository.publish({ ...history.record, uuids }, history.recordId, Date.now);
    app.output.note(
      `the ${formatCount((await history.entries()).length)} snapshots that ${name} had itself stay, orphaned, under the id ${history.record.id}`,
    );
  }
  await repository.publish({ ...record, names, uuids: [...record.uuids, vm.uuid] }, recordId, Date.now);
  const count = (await orphan.entries()).length;
  await catchUp(app, repository);
  await app.closeStorage();
  app.output.line(`${name} continues the ${formatCount(count)} snapshots of ${old}.`);
  app.output.event('adopted', { old, vm: name, id: record.id, snapshots: count });
}
