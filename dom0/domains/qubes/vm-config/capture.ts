/** Reads the configuration of a VM: some twenty calls of qubesd, of which Admin makes a few at a time. */

import { BackupError } from '../../../../shared/errors.ts';
import { isAdminError } from '../admin/admin-error.ts';
import type { Admin } from '../admin/admin.ts';
import type { Property, VolumeInfo } from '../admin/answers.ts';
import { KLASSES } from './vm-config.ts';
import type { VmConfig } from './vm-config.ts';

/**
 * What a VM is, not how it is set: it has fields of its own, or another VM cannot have it. What Qubes computes always has
 * its default, and is left out by that.
 */
const IDENTITY = ['name', 'uuid', 'qid', 'dispid', 'klass', 'label', 'template', 'installed_by_rpm'];

/** Qubes' own notes about what is going on, which it lets nobody write. */
const RUNTIME_FEATURES = [
  'deferred-netvm-original',
  'preload-dispvm',
  'preload-dispvm-completed',
  'preload-dispvm-in-progress',
];

/** What is the same for every VM of a system, read once for all of them. */
export interface SystemFacts {
  readonly deviceClasses: readonly string[];
  /** The driver of each pool. */
  readonly drivers: ReadonlyMap<string, string>;
}

export async function readSystemFacts(admin: Admin): Promise<SystemFacts> {
  const [deviceClasses, pools] = await Promise.all([admin.deviceClasses(), admin.pools()]);
  const drivers = await Promise.all(
    pools.map(async (name) => [name, (await admin.pool(name)).driver] as const),
  );
  return { deviceClasses, drivers: new Map(drivers) };
}

/** The configuration of `vm` as it is now. Throws `unknown-vm` if it is gone, and what Admin throws. */
export async function captureVmConfig(admin: Admin, vm: string, facts: SystemFacts): Promise<VmConfig> {
  const [properties, features, tags, firewall, notes, devices, volumes] = await Promise.all([
    admin.properties(vm),
    admin.features(vm),
    admin.tags(vm),
    firewallOf(admin, vm),
    admin.notes(vm),
    admin.devices(vm, facts.deviceClasses),
    volumesOf(admin, vm),
  ]);
  const text = (name: string): string => properties.get(name)?.value ?? '';
  const klass = KLASSES.find((known) => known === text('klass'));
  if (klass === undefined)
    throw new BackupError('refused', `VM ${vm}: it is of a class that this program does not know`);
  const owned = (name: string) => {
    const info = volumes.get(name);
    if (info?.save_on_stop !== true || info.snap_on_start) return {};
    const { pool, size } = info;
    return { [name]: { kind: 'image', size, pool, driver: facts.drivers.get(pool) ?? '' } as const };
  };
  return {
    ...{ qubes_config: 1, name: vm, klass, uuid: text('uuid'), label: text('label') },
    ...{ template: text('template') || null, netvm: text('netvm') || null },
    include_in_backups: text('include_in_backups') === 'True',
    tags: [...tags].sort(),
    features: Object.fromEntries([...features].filter(([name]) => !RUNTIME_FEATURES.includes(name))),
    properties: settings(properties),
    ...{ firewall, notes: notes ?? null },
    volumes: { ...owned('private'), ...owned('root') },
    volatile_size: volumes.get('volatile')?.size ?? null,
    devices: [...devices].sort((a, b) => (order(a) < order(b) ? -1 : 1)),
  };
}

/** Properties that were set. */
function settings(properties: ReadonlyMap<string, Property>): VmConfig['properties'] {
  const set = [...properties].filter(([name, { isDefault }]) => !isDefault && !IDENTITY.includes(name));
  return Object.fromEntries(set.map(([name, { type, value }]) => [name, { type, value }]));
}

/** dom0 has no firewall to be asked for. */
async function firewallOf(admin: Admin, vm: string): Promise<string[] | null> {
  try {
    return [...(await admin.firewall(vm))];
  } catch (error) {
    if (vm === 'dom0' && isAdminError(error, 'ProtocolError')) return null;
    throw error;
  }
}

/** All volumes but the kernel, which belongs to dom0. */
async function volumesOf(admin: Admin, vm: string): Promise<ReadonlyMap<string, VolumeInfo>> {
  const names = (await admin.volumes(vm)).filter((name) => name !== 'kernel');
  const infos = await Promise.all(names.map(async (name) => [name, await admin.volume(vm, name)] as const));
  return new Map(infos);
}

const order = ({ deviceClass, device }: VmConfig['devices'][number]): string => `${deviceClass} ${device}`;
