/** Holds off sleep and shutdown while a run lasts, by systemd-inhibit(1). */

import { BackupError, messageOf } from '../../shared/errors.ts';
import { TOOL_ENVIRONMENT, keepStderr, spawnDetached } from '../domains/child.ts';

const COMMAND = [
  'systemd-inhibit',
  '--what=sleep:shutdown',
  '--who=qubes-backup',
  '--why=VMs are being backed up',
  'cat',
] as const;

/**
 * Answers the function that lets go again. What holds is a child that ends with its stdin, so also when this process dies. Where it
 * cannot hold, `note` is told.
 */
export function holdOffSleep(
  note: (text: string) => void,
  command: readonly [string, ...string[]] = COMMAND,
) {
  const failed = (why: string) => note(`sleep and shutdown are not held off: ${why}`);
  let over = false;
  try {
    const { child, stdin, stdout, stderr } = spawnDetached(command, {
      environment: TOOL_ENVIRONMENT,
      directory: '/',
    });
    const kept = keepStderr(stderr);
    stdin.on('error', () => undefined); // It ended by itself, which is told below.
    stdout.resume();
    child.once('error', (error) => {
      over = true;
      failed(messageOf(error));
    });
    child.once('close', () => {
      if (!over) failed(kept.text());
    });
    return () => {
      over = true;
      stdin.end();
    };
  } catch (error) {
    if (error instanceof BackupError) throw error;
    failed(messageOf(error));
    return () => undefined;
  }
}
