/**
 * Volumes of local VMs as disposables get them. A folder is handed over as it is, read-only: a folder has no
 * copy-on-write, so its snapshot is the live state. An image is copied first (image-copy.ts), the copy's journal is
 * replayed and mounted; the image itself is neither written nor mounted.
 */

import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { VolumeSnapshot } from '../domains.ts';
import { removeTree } from './files.ts';
import { copyImage } from './image-copy.ts';
import type { SandboxSpec } from './sandbox-spec.ts';
import { volumeOf } from './vms.ts';
import type { LocalVm, Volume } from './vms.ts';

/** A folder of the machine with a volume's files, or where they appear once `image` is mounted. */
export interface MountedVolume {
  readonly source: string;
  readonly image: SandboxSpec['image'];
}

export class LocalSnapshot implements VolumeSnapshot {
  readonly vm: VmName;
  readonly takenAt: number;
  readonly capacity: number;
  readonly #volume: Volume;
  readonly #mountPoint: string;
  readonly #remove: (() => Promise<void>) | undefined;

  constructor(
    vm: VmName,
    capacity: number,
    volume: Volume,
    mountPoint: string,
    remove: (() => Promise<void>) | undefined,
  ) {
    this.vm = vm;
    this.takenAt = Date.now();
    this.capacity = capacity;
    this.#volume = volume;
    this.#mountPoint = mountPoint;
    this.#remove = remove;
  }

  mounted(): MountedVolume {
    return mountedVolume(this.#volume, this.#mountPoint, false);
  }

  async release(): Promise<void> {
    await this.#remove?.();
  }
}

/** How a volume is mounted: an image on `mountPoint`, a folder not at all. */
export function mountedVolume(volume: Volume, mountPoint: string, writable: boolean): MountedVolume {
  if (volume.kind === 'folder') return { source: volume.path, image: undefined };
  if (volume.fileSystem === undefined) {
    throw new BackupError(
      'io',
      `${volume.path} cannot be mounted: it holds no ext4, xfs or btrfs file system (partitions are not looked into)`,
    );
  }
  const { path, fileSystem } = volume;
  return { source: mountPoint, image: { file: path, fileSystem, mountPoint, writable } };
}

/** Throws `io` if this user cannot mount the volume. */
export function requireMountable(name: VmName, volume: Volume): void {
  if (volume.kind === 'folder' || process.getuid?.() === 0) return;
  throw new BackupError(
    'io',
    `VM ${name} has an image as its volume: only root can mount one, run this as root`,
  );
}

/** See Domains.snapshotVolume. `volatile`: a folder that does not outlive the run; `id` names what is made in it. */
export async function snapshotVolume(vm: LocalVm, volatile: string, id: string): Promise<LocalSnapshot> {
  const volume = await volumeOf(vm);
  if (volume.kind === 'folder') {
    const { blocks, bsize } = await statfs(volume.path);
    return new LocalSnapshot(vm.name, blocks * bsize, volume, '', undefined);
  }
  requireMountable(vm.name, volume);
  const folder = join(volatile, id);
  const copy = join(folder, 'volume.img');
  await mkdir(join(folder, 'mount'), { recursive: true, mode: 0o700 });
  try {
    await copyImage(vm.name, volume.path, copy);
  } catch (error) {
    await removeTree(folder);
    throw error;
  }
  return new LocalSnapshot(vm.name, volume.size, { ...volume, path: copy }, join(folder, 'mount'), () =>
    removeTree(folder),
  );
}
