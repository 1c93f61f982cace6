/** What lies in a folder of dom0, and what room is left there. */

import type { BigIntStats } from 'node:fs';
import { lstat, statfs } from 'node:fs/promises';
import { BackupError, systemCode } from '../../shared/errors.ts';

/** What `path` itself is, or undefined if there is nothing. Symlinks are not followed. */
export async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** True of a regular file. */
export async function isFile(path: string): Promise<boolean> {
  return (await statOf(path))?.isFile() === true;
}

/** Throws `store-missing` unless `folder` is one; `what` says what is missed. */
export async function requireFolder(folder: string, what: string): Promise<void> {
  if ((await statOf(folder))?.isDirectory() === true) return;
  throw new BackupError('store-missing', `${what}: the folder ${folder} is missing (not mounted?)`);
}

/** Throws `store-full` if a copy of `image`, which takes at most what that occupies, does not fit in `folder`. */
export async function checkRoom(
  subject: string,
  image: string,
  folder: string,
  advice: string,
): Promise<void> {
  const needed = Number((await statOf(image))?.blocks ?? 0n) * 512;
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  throw new BackupError(
    'store-full',
    `${subject}: a copy of its image may take ${needed} bytes, and ${folder} has ${bavail * bsize} left: ${advice}`,
  );
}
