/** Which VM it is that has a name. */

import type { Admin } from './admin/admin.ts';

/** Undefined if there is no VM of this name. Before 4.3 the list of VMs does not say. */
export async function uuidOf(admin: Admin, name: string): Promise<string | undefined> {
  const vm = (await admin.list()).find((listed) => listed.name === name);
  if (vm === undefined) return undefined;
  return vm.uuid ?? (await admin.property(name, 'uuid')).value;
}
