/** The VMs of a Qubes OS, as the rest of dom0 knows them: a call of qubesd for each. */

import type { VmName } from '../../../shared/ids.ts';
import { isVmName } from '../../../shared/ids.ts';
import type { Vm, VolumeName } from '../domains.ts';
import { isAdminError } from './admin/admin-error.ts';
import type { Admin } from './admin/admin.ts';
import type { ListedVm, Property } from './admin/answers.ts';

/** Volumes that a VM of a class has of its own; what it has from a template is not among them. */
const OWN_VOLUMES: Readonly<Record<Vm['klass'], readonly VolumeName[]>> = {
  AppVM: ['private'],
  StandaloneVM: ['private', 'root'],
  TemplateVM: ['private', 'root'],
  DispVM: [],
  AdminVM: [],
};

/** All VMs of a class that this program knows, sorted by name; those of others are told to `ignored`. */
export async function listVms(admin: Admin, ignored: (vm: ListedVm) => void): Promise<readonly Vm[]> {
  const known: { readonly name: VmName; readonly klass: Vm['klass']; readonly listed: ListedVm }[] = [];
  for (const listed of await admin.list()) {
    const { name, class: klass } = listed;
    if (isVmName(name) && isKnown(klass)) known.push({ name, klass, listed });
    else ignored(listed);
  }
  const vms = await Promise.all(known.map(({ name, klass, listed }) => describe(admin, name, klass, listed)));
  return vms.filter((vm) => vm !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Undefined if it was removed meanwhile. */
async function describe(
  admin: Admin,
  name: VmName,
  klass: Vm['klass'],
  listed: ListedVm,
): Promise<Vm | undefined> {
  try {
    const properties = await admin.properties(name);
    const template = properties.get('template')?.value ?? '';
    const volumes = OWN_VOLUMES[klass];
    const isOpaque = await bootsUnknownSystem(admin, name, properties);
    return {
      name,
      klass,
      uuid: listed.uuid ?? properties.get('uuid')?.value ?? '',
      includeInBackups: properties.get('include_in_backups')?.value === 'True',
      template: template === '' ? null : template,
      volumes,
      asBlocks: isOpaque ? volumes : volumes.filter((volume) => volume === 'root'),
    };
  } catch (error) {
    if (isAdminError(error, 'QubesVMNotFoundError')) return undefined;
    throw error;
  }
}

/** Whether it boots from its own disk what says not to be Linux, or nothing of itself: an HVM without Qubes' agent, or Windows. */
async function bootsUnknownSystem(
  admin: Admin,
  vm: VmName,
  properties: ReadonlyMap<string, Property>,
): Promise<boolean> {
  if (properties.get('virt_mode')?.value !== 'hvm' || properties.get('kernel')?.value !== '') return false;
  return (await admin.featureWithTemplate(vm, 'os')) !== 'Linux';
}

function isKnown(klass: string): klass is Vm['klass'] {
  return Object.hasOwn(OWN_VOLUMES, klass);
}
