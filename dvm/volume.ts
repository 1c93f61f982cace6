/** A volume as its entries, however it was attached. */

import type { MountedVolume } from '../shared/protocol/disposable.ts';
import { deviceEntries, deviceSize } from './device.ts';
import type { Excludes, Skipped } from './excludes.ts';
import { checkExt4 } from './ext4-check.ts';
import { walkExt4 } from './ext4.ts';
import { overflowIdMapped } from './libc.ts';
import type { MappedOwners } from './libc.ts';
import { walk } from './walk.ts';
import { walkFolders } from './walk-folders.ts';
import type { Found, Noter } from './walk.ts';

/** Whether the number that the kernel shows for foreign owners may be a real one. An image tells all as they are. */
export function mappedOwners(volume: MountedVolume): MappedOwners {
  const { kind } = volume;
  return kind === 'folder' || kind === 'folders' ? overflowIdMapped() : { user: true, group: true };
}

/**
 * All entries in path order, the root first, and in place of what `excludes` leaves out, the path with the reason; what
 * cannot be read goes to `note`. Of a device the first `deviceSize` bytes, if that is given. Throws LibcError or `io` if that is the
 * root.
 */
export async function entriesOf(
  volume: MountedVolume,
  note: Noter,
  excludes?: Excludes,
  deviceSize?: number,
): Promise<Iterable<Found | Skipped>> {
  switch (volume.kind) {
    case 'folder':
      return walk(volume.path, note, excludes);
    case 'folders':
      return walkFolders(volume, note, excludes);
    case 'ext4':
      await checkExt4(volume.path, note);
      return walkExt4(volume.path, note, excludes);
    case 'blocks':
      return deviceEntries(volume.path, note, deviceSize);
  }
}

/** What there is to read, where it is known beforehand. */
export function totalsOf({
  kind,
  path,
}: MountedVolume): { readonly totalEntries: number; readonly totalBytes: number } | undefined {
  return kind === 'blocks' ? { totalEntries: 2, totalBytes: deviceSize(path) } : undefined;
}
