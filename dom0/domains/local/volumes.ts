/**
 * Volumes of local VMs as disposables get them. A folder is handed over as it is, read-only: a folder has no
 * copy-on-write, so its snapshot is the live state. An image is copied first (sparse, by reflink where the file
 * system can), the copy's journal is replayed and mounted; the image itself is neither written nor mounted.
 */

import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { VolumeSnapshot } from '../domains.ts';
import { removeTree, runTool, statOf } from './files.ts';
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
  return { source: mountPoint, image: { file: volume.path, mountPoint, writable } };
}

/** See Domains.snapshotVolume. `volatile`: a folder that does not outlive the run; `id` names what is made in it. */
export async function snapshotVolume(vm: LocalVm, volatile: string, id: string): Promise<LocalSnapshot> {
  const volume = await volumeOf(vm);
  if (volume.kind === 'folder') {
    const { blocks, bsize } = await statfs(volume.path);
    return new LocalSnapshot(vm.name, blocks * bsize, volume, '', undefined);
  }
  if (process.getuid?.() !== 0) {
    throw new BackupError(
      'io',
      `VM ${vm.name} has an image as its volume: only root can mount one, run the backup as root`,
    );
  }
  const folder = join(volatile, id);
  const copy = join(folder, 'volume.img');
  await mkdir(join(folder, 'mount'), { recursive: true, mode: 0o700 });
  try {
    await checkRoom(vm.name, volume.path, folder);
    await runTool('cp', ['--reflink=auto', '--sparse=always', '--', volume.path, copy]);
  } catch (error) {
    await removeTree(folder);
    throw error;
  }
  return new LocalSnapshot(vm.name, volume.size, { ...volume, path: copy }, join(folder, 'mount'), () =>
    removeTree(folder),
  );
}

/** A copy takes at most what the image occupies. Throws `store-full`. */
async function checkRoom(name: VmName, image: string, folder: string): Promise<void> {
  const needed = Number((await statOf(image))?.blocks ?? 0n) * 512;
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  throw new BackupError(
    'store-full',
    `VM ${name}: a snapshot of its image may take ${needed} bytes, and ${folder} has ${bavail * bsize} left`,
  );
}
