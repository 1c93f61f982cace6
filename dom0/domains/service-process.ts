/**
 * A service's process as its caller sees it. The stdio contract is qrexec's: stdin and stdout are sockets, stderr
 * is always drained, and the call ends when the process is gone and its output is closed.
 */

import { once } from 'node:events';
import { BackupError, messageOf } from '../../shared/errors.ts';
import { streamIo } from '../../shared/wire/io.ts';
import { keepStderr, killGroup, spawnDetached } from './child.ts';
import type { ServiceCall } from './domains.ts';

/**
 * Starts `command`. Throws `sandbox` if the program cannot be run at all; what happens later is told by
 * `exited` and `stderr()`. `directory` is the working directory of the first program.
 */
export async function startService(
  peer: string,
  command: readonly [string, ...string[]],
  options: { environment: Readonly<Record<string, string>>; directory: string },
): Promise<ServiceCall> {
  const { child, stdin, stdout, stderr } = await spawnNamed(peer, command, options);
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const kept = keepStderr(stderr);
  const io = streamIo(stdout, stdin);
  child.on('error', (error) => kept.add(Buffer.from(messageOf(error)))); // A kill that failed.
  let hungUp = false;
  child.once('exit', () => {
    if (hungUp) stdout.destroy();
  });
  return {
    peer,
    io,
    exited,
    stderr: () => kept.text(),
    hangUp() {
      hungUp = true;
      stdin.end();
      if (child.exitCode !== null || child.signalCode !== null) stdout.destroy();
    },
    kill() {
      killGroup(child);
      stdin.destroy();
      stdout.destroy();
      stderr.destroy(); // Nobody else who may hold its other end keeps the call.
    },
  };
}

/** The first program of the call, which runs. Some of what can keep it from that is thrown, some told by an event. */
async function spawnNamed(peer: string, ...[command, options]: Parameters<typeof spawnDetached>) {
  try {
    const spawned = spawnDetached(command, options);
    await once(spawned.child, 'spawn');
    return spawned;
  } catch (cause) {
    throw new BackupError('sandbox', `${peer}: cannot start ${command[0]}: ${messageOf(cause)}`, { cause });
  }
}
