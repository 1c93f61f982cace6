/** Durable file operations of the directory back end, and what their failures mean to a person. */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError, systemCode } from '../shared/errors.ts';
import { writeNewFile } from './new-file.ts';

/** Age after which a temporary file belongs to no living session, in milliseconds. */
const STALE = 24 * 3600_000;

/** Creates `folder` unless it is there; its parent must exist. Not durable before the parent is synced. */
export async function makeFolder(folder: string): Promise<void> {
  await unless('EEXIST', mkdir(folder, { mode: 0o700 }));
}

/** Makes the entries of `folder` durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What {@link writeTemporary} calls a file: nothing else beside it has such a name. */
const TEMPORARY = /^[0-9a-f]{32}$/;

/** Writes `bytes` to a new file in `folder`, read-only, content durable, and answers its path. A failure leaves none. */
async function writeTemporary(folder: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, randomBytes(16).toString('hex'));
  await writeNewFile(path, bytes);
  return path;
}

/** Puts a new file in the place of whatever file has the name `path`. Durable after its folder is synced. */
export async function replaceFile(temporaries: string, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = await writeTemporary(temporaries, bytes);
  try {
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary);
    throw error;
  }
}

/**
 * Creates `path` with `bytes`, whole and only if nothing has that name: link(2) decides between concurrent
 * processes, and a crash leaves either nothing or all of it. Durable after its folder is synced.
 */
export async function createExclusively(
  temporaries: string,
  path: string,
  bytes: Uint8Array,
): Promise<boolean> {
  const temporary = await writeTemporary(temporaries, bytes);
  try {
    return (
      (await unless(
        'EEXIST',
        link(temporary, path).then(() => true),
      )) ?? false
    );
  } finally {
    await unlink(temporary);
  }
}

/**
 * The bytes of the regular file `path`, or undefined if nothing has that name. Links are not followed, devices
 * and pipes not touched. Throws `io` for a file above `max` bytes, before reading it.
 */
export async function readWhole(path: string, max: number): Promise<Uint8Array | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await unless('ENOENT', open(path, flags));
  if (handle === undefined) return undefined;
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new BackupError('io', `${path} is not a regular file`);
    if (found.size > max) throw new BackupError('io', `${path} has ${found.size} bytes, ${max} are allowed`);
    const bytes = Buffer.allocUnsafeSlow(found.size);
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, filled);
      if (bytesRead === 0) break; // Shorter than its size said: what there is, is delivered.
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

/** Makes the content of an existing file durable: it may have been copied here by something that did not care. */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes temporary files that sessions left in `folder`, which need not exist, when they died. Those of living sessions are younger. */
export async function removeStale(folder: string, now = Date.now()): Promise<void> {
  const names = (await unless('ENOENT', readdir(folder))) ?? [];
  for (const name of names.filter((one) => TEMPORARY.test(one))) {
    const path = join(folder, name);
    const found = await unless('ENOENT', lstat(path)); // Another session may be sweeping, too.
    if (found?.isFile() === true && now - found.mtimeMs > STALE) await unless('ENOENT', unlink(path));
  }
}

/** What `promise` resolves to, or undefined if it fails with the system error `code`. */
export async function unless<T>(code: string, promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (systemCode(error) === code) return undefined;
    throw error;
  }
}

/** Runs `action`; what the operating system refuses becomes `store-full` or `io`. */
export async function explained<T>(doing: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = systemCode(cause);
    if (code === undefined || cause instanceof BackupError) throw cause;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      throw new BackupError(
        'store-full',
        `the storage VM has no room left while ${doing} (${code}): free or add disk space there`,
        {
          cause,
        },
      );
    }
    const call = cause instanceof Error ? cause.message : code;
    throw new BackupError('io', `the storage VM failed while ${doing}: ${call}`, { cause });
  }
}
