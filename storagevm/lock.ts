/**
 * One process at a time, of all services of a storage VM: flock(2), by the program of util-linux, as Node.js has no call for it.
 * The kernel drops the lock with the process that holds it, and that one ends with its standard input: so no dead process
 * keeps a lock.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { BackupError, messageOf } from '../shared/errors.ts';

/** Seconds to wait for the lock: the longest that somebody works under it in one go, twice. */
const PATIENCE = 120;
/** What flock(1) exits with if the lock stays taken, by our choice. */
const TAKEN = 75;

/** Runs `action` while nobody else runs one under the lock `file`. With `wait` false it throws `locked` at once if somebody does. */
export async function locked<T>(file: string, action: () => Promise<T>, wait = true): Promise<T> {
  const release = await take(file, wait ? ['--timeout', String(PATIENCE)] : ['--nonblock']);
  try {
    return await action();
  } finally {
    await release();
  }
}

async function take(file: string, options: readonly string[]): Promise<() => Promise<void>> {
  const held = ['sh', '-c', 'echo; exec cat'];
  const args = ['--exclusive', ...options, '--conflict-exit-code', String(TAKEN), file, ...held];
  const child = spawn('flock', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close').catch((error: unknown) => {
    throw new BackupError(
      'io',
      `cannot run flock, install util-linux in the storage VM: ${messageOf(error)}`,
      { cause: error },
    );
  });
  child.stdin.on('error', () => undefined); // It died: its status says so.
  const taken = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)]);
  if (!taken) {
    if (child.exitCode === TAKEN)
      throw new BackupError(
        'locked',
        'another session of the storage VM is at work on the store: try again later',
      );
    throw new BackupError('io', `cannot lock ${file} in the storage VM (status ${child.exitCode ?? '?'})`);
  }
  return async () => {
    child.stdin.end();
    await ended;
  };
}
