/**
 * Volumes of local VMs as disposables get them. A folder is handed over as it is, read-only: a folder has no
 * copy-on-write, so its snapshot is the live state. An image is copied first (image-copy.ts): for its files the copy's
 * journal is replayed and mounted, or where that is not allowed the copy of an ext4 is handed over as a file, as it is for
 * its blocks. The image itself is neither written nor mounted.
 */

import { existsSync } from 'node:fs';
import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { VolumeMode, VolumeName, VolumeSnapshot } from '../domains.ts';
import { statOf } from '../stat.ts';
import { removeTree } from './files.ts';
import { copyImage } from './image-copy.ts';
import type { SandboxSpec } from './sandbox-spec.ts';
import { volumeOf } from './vms.ts';
import type { LocalVm, LocalVolume } from './vms.ts';

/** What a disposable is given of this machine. */
export interface Source {
  /** The volume as the disposable has it: a folder with its files, or a file with its blocks or an ext4. */
  readonly kind: 'folder' | 'blocks' | 'ext4';
  /** A folder or file; where `image` is to be mounted, its mount point. */
  readonly path: string;
  readonly image: SandboxSpec['image'];
  /** A private copy, which its reader may write. */
  readonly writable?: boolean;
}

export class LocalSnapshot implements VolumeSnapshot {
  readonly vm: VmName;
  readonly name: VolumeName;
  readonly mode: VolumeMode;
  readonly size: number;
  readonly takenAt = Date.now();
  readonly capacity: number;
  readonly frozen: boolean;
  readonly source: Source;
  readonly #remove: (() => Promise<void>) | undefined;

  /** `capacity`: bytes. `remove` removes what was made for it. */
  constructor(
    of: Pick<VolumeSnapshot, 'vm' | 'name' | 'mode' | 'size' | 'capacity' | 'frozen'>,
    source: Source,
    remove: (() => Promise<void>) | undefined,
  ) {
    this.vm = of.vm;
    this.name = of.name;
    this.mode = of.mode;
    this.size = of.size;
    this.capacity = of.capacity;
    this.frozen = of.frozen;
    this.source = source;
    this.#remove = remove;
  }

  async release(): Promise<void> {
    await this.#remove?.();
  }
}

/** Whether this process may mount images, before a sandbox is entered: only root, where there are loop devices. */
export function canMount(sandboxed: boolean): boolean {
  return sandboxed && process.getuid?.() === 0 && existsSync('/dev/loop-control');
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

/** Throws `io` if this user cannot mount the volume to write it. */
export function requireMountable(vm: VmName, volume: LocalVolume): void {
  if (volume.kind === 'folder' || process.getuid?.() === 0) return;
  throw new BackupError(
    'io',
    `VM ${vm} has an image as its ${volume.name} volume: only root can mount one, run this as root`,
  );
}

/** See Domains.snapshotVolume. `volatile`: a folder that does not outlive the run; `id` names what is made in it; `mounts`: see canMount(). */
export async function snapshotVolume(
  vm: LocalVm,
  name: VolumeName,
  mode: VolumeMode,
  { volatile, id, mounts }: { readonly volatile: string; readonly id: string; readonly mounts: boolean },
): Promise<LocalSnapshot> {
  const volume = await volumeOf(vm, name);
  const of = { vm: vm.name, name, mode, size: volume.size };
  if (volume.kind === 'folder') {
    if (mode === 'blocks') throw noBlocks(vm.name, name);
    const { blocks, bsize } = await statfs(volume.path);
    return new LocalSnapshot(
      { ...of, capacity: blocks * bsize, frozen: false },
      sourceOf(volume, mode, '', false),
      undefined,
    );
  }
  if (mode === 'files' && volume.fileSystem === undefined) throw noFileSystem(volume);
  const unmounted = mode === 'files' && !mounts;
  if (unmounted && volume.fileSystem !== 'ext4') throw notMounted(vm.name, volume);
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
  const source: Source = unmounted
    ? { kind: 'ext4', path: copy, image: undefined, writable: true }
    : sourceOf({ ...volume, path: copy }, mode, join(folder, 'mount'), false);
  return new LocalSnapshot({ ...of, size, capacity: size, frozen: true }, source, () => removeTree(folder));
}

function noFileSystem({ name, path }: LocalVolume): BackupError {
  return new BackupError(
    'io',
    `${path} cannot be mounted: it holds no ext4, xfs or btrfs file system (partitions are not looked into). ` +
      `Back it up as blocks: ${name} = "blocks" among the VM's volumes in the configuration`,
  );
}

function notMounted(vm: VmName, { name, fileSystem }: LocalVolume): BackupError {
  return new BackupError(
    'io',
    `VM ${vm}: the image of its ${name} volume holds ${fileSystem ?? 'something'}, which only root can mount, in a sandbox and where there ` +
      `are loop devices; without that only ext4 is read. Run the backup as root, or configure ${name} = "blocks"`,
  );
}

function noBlocks(vm: VmName, name: VolumeName): BackupError {
  return new BackupError(
    'usage',
    `VM ${vm}: its ${name} volume is a folder, which has no blocks: configure ${name} = "files", or give it an image`,
  );
}
