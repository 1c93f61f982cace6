/**
 * A private, writable copy of a volume's image, so that its journal can be replayed without a write to the image.
 *
 * Where the file system has reflinks (btrfs, xfs), the copy shares the image's blocks: it takes no room but for what
 * is written later, and is of one moment even if the VM runs. Elsewhere it is a sparse copy, which takes room and
 * time: that of a running VM's image is not of one moment.
 */

import { chmod, constants, copyFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import { checkRoom } from '../stat.ts';
import { runTool } from './files.ts';

/** What ioctl_ficlone(2) answers where the two files cannot share blocks. */
const CANNOT_SHARE = ['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'ENOTTY', 'EXDEV', 'EINVAL'];

const MORE_ROOM =
  'make room there, or move the home to a file system with reflinks (btrfs, xfs), where copies share blocks';

/** Copies the image of VM `name`. Throws `store-full` before a copy that would not fit. */
export async function copyImage(name: VmName, image: string, copy: string): Promise<void> {
  if (!(await shareBlocks(image, copy))) {
    await checkRoom(`VM ${name}`, image, dirname(copy), MORE_ROOM);
    await runTool('cp', ['--reflink=never', '--sparse=always', '--', image, copy]);
  }
  await chmod(copy, 0o600); // Whatever the image's: the copy is written.
}

/** False where the file system has no reflinks. */
async function shareBlocks(image: string, copy: string): Promise<boolean> {
  try {
    await copyFile(image, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (CANNOT_SHARE.includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}
