/**
 * Volumes of local VMs as disposables get them. A folder is handed over as it is, read-only: a folder has no
 * copy-on-write, so its snapshot is the live state. An image is copied first (image-copy.ts): for its files the copy's
 * journal is replayed and mounted, for its blocks the copy is handed over as a file. The image itself is neither
 * written nor mounted.
 */

import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { VolumeMode, VolumeName, VolumeSnapshot } from '../domains.ts';
import { removeTree, statOf } from './files.ts';
import { copyImage } from './image-copy.ts';
import type { SandboxSpec } from './sandbox-spec.ts';
import { volumeOf } from './vms.ts';
import type { LocalVm, LocalVolume } from './vms.ts';

/** What a disposable is given of this machine. */
export interface Source {
  /** The volume as the disposable has it: a folder with its files, or a file with its blocks. */
  readonly kind: 'folder' | 'blocks';
  /** A folder or file; where `image` is to be mounted, its mount point. */
  readonly path: string;
  readonly image: SandboxSpec['image'];
}

export class LocalSnapshot implements VolumeSnapshot {
  readonly vm: VmName;
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  readonly size: number;
  readonly takenAt = Date.now();
  readonly capacity: number;
  readonly source: Source;
  readonly #remove: (() => Promise<void>) | undefined;

  /** `capacity`: bytes. `remove` removes what was made for it. */
  constructor(
    of: Pick<VolumeSnapshot, 'vm' | 'name' | 'mode' | 'size' | 'capacity'>,
    source: Source,
    remove: (() => Promise<void>) | undefined,
  ) {
    this.vm = of.vm;
    this.name = of.name;
    this.mode = of.mode;
    this.size = of.size;
    this.capacity = of.capacity;
    this.source = source;
    this.#remove = remove;
  }

  async release(): Promise<void> {
    await this.#remove?.();
  }
}

/** How a volume is handed over in `mode`: for files, a folder as it is and an image mounted on `mountPoint`. Throws `io`. */
export function sourceOf(
  volume: LocalVolume,
  mode: VolumeMode,
  mountPoint: string,
  writable: boolean,
): Source {
  const { kind, path, fileSystem } = volume;
  if (mode === 'blocks') return { kind: 'blocks', path, image: undefined };
  if (kind === 'folder') return { kind: 'folder', path, image: undefined };
  if (fileSystem === undefined) throw noFileSystem(volume);
  return { kind: 'folder', path: mountPoint, image: { file: path, fileSystem, mountPoint, writable } };
}

/** Throws `io` if this user cannot mount the volume. */
export function requireMountable(vm: VmName, volume: LocalVolume): void {
  if (volume.kind === 'folder' || process.getuid?.() === 0) return;
  throw new BackupError(
    'io',
    `VM ${vm} has an image as its ${volume.name} volume: only root can mount one, run this as root`,
  );
}

/** See Domains.snapshotVolume. `volatile`: a folder that does not outlive the run; `id` names what is made in it. */
export async function snapshotVolume(
  vm: LocalVm,
  name: VolumeName,
  mode: VolumeMode,
  volatile: string,
  id: string,
): Promise<LocalSnapshot> {
  const volume = await volumeOf(vm, name);
  const of = { vm: vm.name, name, mode, size: volume.size };
  if (volume.kind === 'folder') {
    if (mode === 'blocks') throw noBlocks(vm.name, name);
    const { blocks, bsize } = await statfs(volume.path);
    return new LocalSnapshot(
      { ...of, capacity: blocks * bsize },
      sourceOf(volume, mode, '', false),
      undefined,
    );
  }
  if (mode === 'files' && volume.fileSystem === undefined) throw noFileSystem(volume);
  if (mode === 'files') requireMountable(vm.name, volume);
  const folder = join(volatile, id);
  const copy = join(folder, 'volume.img');
  await mkdir(join(folder, 'mount'), { recursive: true, mode: 0o700 });
  try {
    await copyImage(vm.name, volume.path, copy);
  } catch (error) {
    await removeTree(folder);
    throw error;
  }
  // The copy's own size: what was appended meanwhile may be in it.
  const size = Number((await statOf(copy))?.size ?? 0n);
  const source = sourceOf({ ...volume, path: copy }, mode, join(folder, 'mount'), false);
  return new LocalSnapshot({ ...of, size, capacity: size }, source, () => removeTree(folder));
}

function noFileSystem({ name, path }: LocalVolume): BackupError {
  return new BackupError(
    'io',
    `${path} cannot be mounted: it holds no ext4, xfs or btrfs file system (partitions are not looked into). ` +
      `Back it up as blocks: ${name} = "blocks" among the VM's volumes in the configuration`,
  );
}

function noBlocks(vm: VmName, name: VolumeName): BackupError {
  return new BackupError(
    'usage',
    `VM ${vm}: its ${name} volume is a folder, which has no blocks: configure ${name} = "files", or give it an image`,
  );
}
