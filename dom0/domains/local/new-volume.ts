/** Volumes of a VM that a restore makes: empty, and of the kind that they were. */

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError, isBackupError } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { VolumeShape } from '../domains.ts';
import { makeImage } from './file-system.ts';
import type { FileSystem } from './file-system.ts';
import { runTool } from './files.ts';
import type { DescribedVolumes, LocalVolume } from './vms.ts';

/** A volume to make. */
export interface NewVolume extends VolumeShape {
  readonly kind: LocalVolume['kind'];
  readonly fileSystem: FileSystem;
}

/** Throws `io` if this user cannot fill one of them. */
export function planVolumes(
  vm: VmName,
  volumes: readonly VolumeShape[],
  kinds: DescribedVolumes,
): readonly NewVolume[] {
  const made = volumes.map(({ name, mode, size }) => {
    const { kind = 'folder', fileSystem = 'ext4' } = kinds[name] ?? {};
    return { name, mode, size, kind, fileSystem };
  });
  for (const { name, mode, kind } of made) {
    if (mode === 'files' && kind === 'image' && process.getuid?.() !== 0) {
      throw new BackupError(
        'io',
        `VM ${vm} has an image as its ${name} volume: only root can mount one, run the restore as root`,
      );
    }
  }
  return made;
}

/**
 * An empty volume in `folder`: a folder, an image with a file system, or for blocks a sparse image of nothing. `warn` is told where it
 * cannot be made as it was.
 */
export async function makeVolume(
  vm: VmName,
  folder: string,
  volume: NewVolume,
  warn: (text: string) => void,
): Promise<void> {
  const { name, mode, size, kind } = volume;
  const image = join(folder, `${name}.img`);
  if (mode === 'blocks') await runTool('truncate', ['--size', String(size), '--', image]);
  else if (kind === 'folder') await mkdir(join(folder, name), { mode: 0o755 });
  else await makeFileSystem(vm, image, volume, warn);
}

/** An image of the file system that was backed up; of ext4 where this machine cannot make that one. */
async function makeFileSystem(
  vm: VmName,
  path: string,
  { size, fileSystem }: Pick<NewVolume, 'size' | 'fileSystem'>,
  warn: (text: string) => void,
): Promise<void> {
  try {
    await makeImage(path, size, fileSystem);
  } catch (error) {
    if (fileSystem === 'ext4' || !isBackupError(error)) throw error;
    warn(
      `VM ${vm}: its volume was ${fileSystem} and becomes ext4, as none can be made here: ${error.message}`,
    );
    await rm(path, { force: true });
    await makeImage(path, size, 'ext4');
  }
}
