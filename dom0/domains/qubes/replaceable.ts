/** Whether a VM can make room for a restored one: what Qubes would refuse is better known before anything is restored. */

import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { Replaced } from '../domains.ts';
import { keptName } from '../restore-names.ts';
import type { Admin } from './admin/admin.ts';
import { describeReference, findReferences } from './dependents.ts';
import { uuidOf } from './vm-uuid.ts';

/** What Qubes lets nobody change of a VM that runs, if it is to name one that does not. */
const FIXED_WHILE_RUNNING = ['netvm', 'template'];

/** See Domains.replaceable. */
export async function replaceable(admin: Admin, vm: VmName, now: number): Promise<Replaced> {
  const vms = await admin.list();
  const found = vms.find(({ name }) => name === vm);
  const uuid = await uuidOf(admin, vm);
  if (found === undefined || uuid === undefined)
    throw new BackupError('unknown-vm', `there is no VM ${vm} to be replaced: restore without --replace`);
  const refused = (why: string) => new BackupError('refused', `VM ${vm} cannot be replaced: ${why}`);
  if (found.class === 'AdminVM') throw refused('it is dom0');
  if (found.state !== 'Halted')
    throw refused(`it is ${found.state}; shut it down first: qvm-shutdown --wait ${vm}`);
  if ((await admin.property(vm, 'installed_by_rpm')).value === 'True')
    throw refused("dom0's package manager installed it and alone can remove it; restore beside it with --as");
  const references = await findReferences(admin, vm);
  const inUse = new Set(
    references.filter(({ property }) => FIXED_WHILE_RUNNING.includes(property)).map(({ owner }) => owner),
  );
  const running = vms.filter(({ name, state }) => inUse.has(name) && state !== 'Halted');
  if (running.length > 0) {
    const names = running.map(({ name }) => name).join(' ');
    throw refused(`VMs that use it run; shut them down first: qvm-shutdown --wait ${names}`);
  }
  const taken = vms.map(({ name }) => name);
  return { name: vm, uuid, keptAs: keptName(vm, taken, now), references: references.map(describeReference) };
}
