/** Where files live in memory: what is tested is not the disk's, and a sync of many small files is most of the time of a test. */

import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';

const FOLDER = '/dev/shm';
/** Bytes that must be free there: several times what tests that use it hold at one time. */
const ENOUGH = 2 ** 31;

/** A folder of a file system in memory with room enough in which programs may be started, or undefined. */
export function memoryFolder(): string | undefined {
  const mount = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .findLast(([, place]) => place === FOLDER);
  if (mount?.[2] !== 'tmpfs' || mount[3]?.split(',').includes('noexec') === true) return undefined;
  try {
    accessSync(FOLDER, constants.W_OK);
    const { bavail, bsize } = statfsSync(FOLDER);
    return bavail * bsize >= ENOUGH ? FOLDER : undefined;
  } catch {
    return undefined;
  }
}
