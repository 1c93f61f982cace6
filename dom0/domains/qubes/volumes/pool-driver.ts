/**
 * What the driver needs of a pool of volumes, whatever it is made of: a copy-on-write snapshot of a VM's volume, and the way to the
 * volume of a temporary VM. The VM's own volume is never attached and never written.
 */

import { randomBytes } from 'node:crypto';
import { BackupError } from '../../../../shared/errors.ts';
import type { Transaction } from '../journal.ts';
import type { PoolVolume } from './pool-volume.ts';

/** `current` is what the VM sees, or would if it were started; `committed` what it was at its last shutdown. */
export type VolumeState = 'current' | 'committed';

/** Something that holds a volume's bytes. */
export interface Source {
  /** An absolute path of a block device or of an image. */
  readonly path: string;
  /** True of a device that dom0 offers to VMs as it is; what is not one needs a loop device over it. */
  readonly offered: boolean;
}

export interface Snapshot extends Source {
  /** What it is: not always what was asked for (cloned.ts). */
  readonly state: VolumeState;
  /**
   * A copy of it, to be written by one disposable: that replays the journal there, and what it writes no other sees. The copy may be
   * the snapshot itself, for the first. Undefined of what is no snapshot: the volume of a temporary VM.
   */
  readonly fork?: (transaction: Transaction) => Promise<Source>;
}

/** Works on the volumes of one kind of pool. What it makes is in the transaction, and undone with that. */
export interface PoolDriver {
  /** Freezes the volume in the state asked for. Throws `refused` where there is no such state, with what to do. */
  snapshot(volume: PoolVolume, state: VolumeState, transaction: Transaction): Promise<Snapshot>;
  /** The volume of a halted VM itself. For temporary VMs only: see Volumes.open(). */
  own(volume: PoolVolume, transaction: Transaction): Promise<Source>;
}

/** Qubes' own folder, in which its pool of files is. */
export const QUBES = '/var/lib/qubes';

/** Where things are in dom0. */
export class Places {
  readonly #root: string;

  /** `root`: a folder that stands for `/`, in tests. */
  constructor(root = '') {
    this.#root = root;
  }

  /** A device by its name below /dev. */
  device(name: string): string {
    return `${this.#root}/dev/${name}`;
  }

  /** A file of a pool. */
  file(path: string): string {
    return `${this.#root}${path}`;
  }

  /** For images and mount points of ours: where udev hides nothing. */
  get images(): string {
    return this.file('/var/lib/qubes-backup/images');
  }

  /**
   * Whether udev keeps a loop device over this image from all VMs: below the folder of Qubes OS, and wherever the path is like that of a
   * VM's image. Source: udev-block-add-change of qubes-linux-utils, 00-qubes-ignore-devices.rules of qubes-core-admin-linux.
   */
  hides(image: string): boolean {
    return image.startsWith(this.file(`${QUBES}/`)) || /\/(?:appvms|vm-templates)\/.*\/.*\.img/.test(image);
  }
}

/** The name of something of ours: `qib-` and 8 hexadecimal digits. */
export type OwnName = `qib-${string}`;
export const OWN_NAME = /^qib-[0-9a-f]{8}$/;

export function newName(): OwnName {
  return `qib-${randomBytes(4).toString('hex')}`;
}

/** How a message begins. */
export function subjectOf({ vm }: { readonly vm: string }): string {
  return `VM ${vm}`;
}

/** The setting of a pool that its driver must have. Throws `io`. */
export function setting({ vm, name, pool }: PoolVolume, key: string, form: RegExp): string {
  const value = pool.settings[key];
  if (value !== undefined && form.test(value)) return value;
  throw new BackupError(
    'io',
    `VM ${vm}: the pool ${pool.name} of its ${name} volume has no usable ${key} (\`qvm-pool info ${pool.name}\`), ` +
      `which pools of the driver ${pool.driver} have on Qubes OS 4.2 and 4.3`,
  );
}

/** A refusal because the volume is not in a state to be read. */
export function noSuchState({ vm, name }: PoolVolume, why: string): BackupError {
  return new BackupError('refused', `VM ${vm}: its ${name} volume cannot be frozen: ${why}`);
}

/** Throws `refused`: a VM that keeps no committed state while it runs was asked for it. */
export function refuseUncommitted(volume: PoolVolume): void {
  if (volume.running && volume.revisionsToKeep === -1)
    throw noSuchState(
      volume,
      'it keeps no state of its last shutdown (revisions_to_keep is -1). Shut the VM down, or back up its current state',
    );
}

/** For a volume that its pool says is there, and that is not: it started or halted in this instant, or is damaged. */
export function notThere(volume: PoolVolume, what: string): BackupError {
  return noSuchState(
    volume,
    `${what} is not there. If the VM was just started or shut down, try again; else start it once and shut it down`,
  );
}

/** A volume's id as folders and a name. Throws `io` for one that would lead elsewhere. */
export function checkedVid(volume: PoolVolume): string {
  const { vm, name, vid, pool } = volume;
  const parts = vid.split('/');
  if (parts.length >= 2 && parts.every((part) => /^[A-Za-z0-9_.+:-]+$/.test(part) && !/^\.\.?$/.test(part)))
    return vid;
  throw new BackupError(
    'io',
    `VM ${vm}: its ${name} volume has an id that pools of the driver ${pool.driver} do not give`,
  );
}
