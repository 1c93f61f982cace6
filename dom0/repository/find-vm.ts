/** Finding a VM's history: by identity for a backup, by name for a person. */

import { BackupError } from '../../shared/errors.ts';
import type { VmName } from '../../shared/ids.ts';
import type { Domains, Vm } from '../domains/domains.ts';
import { nearest } from '../nearest.ts';
import type { CatalogEntry, VmRecord } from './records.ts';
import type { Repository } from './repository.ts';
import { VmHistory } from './vm-history.ts';
import { newVmRecord } from './vm-writer.ts';

/**
 * The history that a backup of `vm` continues: the one that lists its UUID. A VM of the same name but another UUID is
 * another VM, and gets a history and a key of its own (R11).
 */
export async function historyOf(repository: Repository, vm: Vm): Promise<VmHistory> {
  // Most VMs keep their name: those records are asked first, the others only if needed.
  const byName = [...repository.vms].sort((a, b) => Number(b.name === vm.name) - Number(a.name === vm.name));
  for (const entry of byName) {
    const record = await repository.readVm(entry);
    if (record.uuids.includes(vm.uuid))
      return new VmHistory(repository, vm.name, withName(record, vm.name), entry.record);
  }
  return new VmHistory(repository, vm.name, newVmRecord(repository, vm.name, vm.uuid), undefined);
}

/** The history that a person means by `name`: that of the VM of this name, else the one backed up last. */
export async function historyNamed(
  repository: Repository,
  domains: Pick<Domains, 'list'>,
  name: VmName,
): Promise<VmHistory> {
  const candidates = repository.vms.filter((entry) => entry.name === name);
  const [only] = candidates;
  if (only === undefined) {
    const known = repository.vms.map((entry) => entry.name);
    throw new BackupError(
      'unknown-vm',
      `no backup of a VM named ${name} is in the store${nearest(name, known)}`,
    );
  }
  if (candidates.length === 1) return VmHistory.read(repository, only);
  const present = (await domains.list()).find((vm) => vm.name === name);
  const histories = await Promise.all(
    candidates.map((entry: CatalogEntry) => VmHistory.read(repository, entry)),
  );
  const current = histories.find(
    (history) => present !== undefined && history.record.uuids.includes(present.uuid),
  );
  if (current !== undefined) return current;
  const times = await Promise.all(
    histories.map(async (history) => (await history.entries()).at(-1)?.takenAt ?? 0),
  );
  const newest = histories[times.indexOf(Math.max(...times))];
  if (newest === undefined) throw new BackupError('internal', 'no history among the candidates');
  return newest;
}

function withName(record: VmRecord, name: VmName): VmRecord {
  if (record.names.at(-1) === name) return record;
  return { ...record, names: [...record.names.filter((earlier) => earlier !== name), name] };
}
