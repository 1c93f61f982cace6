/**
 * One writing run at a time for a state folder. The lock is an abstract unix socket named after the folder's device
 * and inode: the kernel drops it with the process, however it died, so there is no stale lock to judge.
 */

import { statSync } from 'node:fs';
import { createServer } from 'node:net';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';

/** Takes the lock of `folder`; throws `locked` at once if another run has it. Answers the function that gives it back. */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const { dev, ino } = statSync(folder, { bigint: true });
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        systemCode(cause) === 'EADDRINUSE'
          ? new BackupError('locked', `another run is using ${folder}: wait for it to end`, { cause })
          : new BackupError('io', `cannot lock ${folder}: ${messageOf(cause)}`, { cause }),
      );
    });
    server.listen(`\0qubes-backup-${dev}-${ino}`, resolve);
  });
  server.unref();
  return () => new Promise((resolve) => server.close(() => resolve()));
}
