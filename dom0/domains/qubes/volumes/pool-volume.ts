/** A VM's volume and its pool, as qubesd describes them. */

import { BackupError } from '../../../../shared/errors.ts';
import type { VmName } from '../../../../shared/ids.ts';
import type { VolumeName } from '../../domains.ts';
import type { Admin } from '../admin/admin.ts';

/** What a pool driver needs to know of a volume. */
export interface PoolVolume {
  readonly vm: VmName;
  readonly name: VolumeName;
  /** The volume's id in its pool (admin.vm.volume.Info). */
  readonly vid: string;
  /** Bytes. */
  readonly size: number;
  /** -1 (from Qubes 4.3): no revisions, and the running VM works on the committed volume itself. */
  readonly revisionsToKeep: number;
  /** Whether the VM is anything but halted. */
  readonly running: boolean;
  readonly pool: Pool;
}

/** A pool as admin.pool.Info describes it. */
export interface Pool {
  readonly name: string;
  /** `lvm_thin`, `file-reflink`, `zfs`, `file`, … */
  readonly driver: string;
  /** Its other lines: `volume_group`, `dir_path`, `container`, … */
  readonly settings: Readonly<Record<string, string>>;
}

/** Asks for a volume that the VM keeps. Throws `unknown-volume` for one that it has from its template. */
export async function describeVolume(admin: Admin, vm: VmName, name: VolumeName): Promise<PoolVolume> {
  const [info, state] = await Promise.all([admin.volume(vm, name), admin.state(vm)]);
  if (!info.save_on_stop)
    throw new BackupError(
      'unknown-volume',
      `VM ${vm}: its ${name} volume is not its own: it is made anew from that of its template at each start`,
    );
  return {
    vm,
    name,
    vid: info.vid,
    size: info.size,
    revisionsToKeep: info.revisions_to_keep,
    running: state !== 'Halted',
    pool: await describePool(admin, info.pool),
  };
}

export async function describePool(admin: Admin, name: string): Promise<Pool> {
  const { driver, ...settings } = await admin.pool(name);
  return { name, driver, settings };
}
