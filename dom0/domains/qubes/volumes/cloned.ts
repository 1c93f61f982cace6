/**
 * Volumes in pools of which this program knows nothing: qubesd copies the volume into a pool that is known, as that of a temporary
 * VM, and this copy is read. Of a running VM qubesd clones the state of its last shutdown; there is no way to a newer one.
 */

import * as z from 'zod';
import { BackupError, isBackupError } from '../../../../shared/errors.ts';
import type { VmName } from '../../../../shared/ids.ts';
import { TEMPORARY_TAG } from '../../domains.ts';
import type { VolumeName } from '../../domains.ts';
import type { Admin } from '../admin/admin.ts';
import type { Journal, StepKind, Transaction, Undone } from '../journal.ts';
import { OWN_TAGS } from '../new-vm.ts';
import { OWN_NAME, newName, refuseUncommitted } from './pool-driver.ts';
import { describePool, describeVolume } from './pool-volume.ts';
import type { PoolDriver, Snapshot, Source, VolumeState } from './pool-driver.ts';
import type { Pool, PoolVolume } from './pool-volume.ts';

const cloneData = z.strictObject({
  vm: z.string(),
  clone: z.custom<VmName>((value) => typeof value === 'string' && OWN_NAME.test(value)),
  /** Set once it has the tag. */
  tagged: z.boolean(),
});
type CloneData = z.output<typeof cloneData>;

export class Cloned implements PoolDriver {
  readonly #admin: Admin;
  readonly #driverOf: (pool: Pool) => PoolDriver | undefined;
  readonly #clones: StepKind<CloneData>;

  /** `driverOf`: the driver of a pool that is known. */
  constructor(admin: Admin, journal: Journal, driverOf: (pool: Pool) => PoolDriver | undefined) {
    this.#admin = admin;
    this.#driverOf = driverOf;
    this.#clones = journal.register({
      name: 'cloned-volume',
      schema: cloneData,
      survivesReboot: true,
      undo: (data) => this.#remove(data),
    });
  }

  async snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot> {
    const { vm, name } = volume;
    if (volume.running) refuseUncommitted(volume);
    const pool = await this.#defaultPool(name);
    const driver = this.#driverOf(pool);
    if (driver === undefined) throw noKnownPool(volume, pool);
    const clone = await this.#freeName();
    const change = await transaction.write(this.#clones, { vm, clone, tagged: false });
    // One that needs no template. It is never started.
    await this.#admin.create({
      klass: 'StandaloneVM',
      name: clone,
      label: 'gray',
      pools: { [name]: pool.name },
    });
    await this.#admin.setTag(clone, TEMPORARY_TAG);
    await change({ vm, clone, tagged: true });
    await this.#admin.setProperty(clone, 'netvm', '');
    await this.#admin.setProperty(clone, 'include_in_backups', 'False');
    await this.#admin.cloneVolume(vm, clone, name);
    const copy = await describeVolume(this.#admin, clone, name);
    const fork = (into: Transaction) => driver.snapshot(copy, 'current', into);
    return { ...(await driver.own(copy, transaction)), state: volume.running ? 'committed' : state, fork };
  }

  own({ vm, name, pool }: PoolVolume): Promise<Source> {
    return Promise.reject(
      new BackupError(
        'refused',
        `VM ${vm}: its ${name} volume is in the pool ${pool.name}, whose driver ${pool.driver} is not known here: ` +
          'choose another pool for what is restored',
      ),
    );
  }

  async #freeName(): Promise<VmName> {
    for (;;) {
      const name = newName() as string as VmName;
      if ((await this.#tags(name)) === undefined) return name;
    }
  }

  /** Undefined if there is no VM of this name. */
  async #tags(name: VmName): Promise<readonly string[] | undefined> {
    try {
      return await this.#admin.tags(name);
    } catch (error) {
      if (isBackupError(error, 'unknown-vm')) return undefined;
      throw error;
    }
  }

  async #defaultPool(name: VolumeName): Promise<Pool> {
    const { value = '' } = (await this.#admin.globals()).get(`default_pool_${name}`) ?? {};
    return describePool(this.#admin, value);
  }

  async #remove({ vm, clone, tagged }: CloneData): Promise<Undone> {
    const tags = await this.#tags(clone);
    if (tags === undefined) return { outcome: 'nothing', line: `VM ${clone} is gone` };
    // It got its tag after it was made: between these it has none but those that every new VM has.
    const untouched = !tagged && tags.every((tag) => OWN_TAGS.test(tag));
    if (!tags.includes(TEMPORARY_TAG) && !untouched)
      return {
        outcome: 'left',
        line: `left VM ${clone} alone: it lacks the tag ${TEMPORARY_TAG}, so it is not ours`,
      };
    await this.#admin.remove(clone);
    return { outcome: 'undone', line: `removed VM ${clone}, which held a copy of a volume of VM ${vm}` };
  }
}

function noKnownPool({ vm, name, pool }: PoolVolume, other: Pool): BackupError {
  return new BackupError(
    'refused',
    `VM ${vm}: its ${name} volume is in the pool ${pool.name}, whose driver ${pool.driver} is not known here, and the default ` +
      `pool ${other.name}, to which it would be copied, is of the driver ${other.driver}: set one of lvm_thin, ` +
      'file-reflink or zfs as the default (`qubes-prefs default_pool_private`)',
  );
}
