/**
 * A service's process as its caller sees it. The stdio contract is qrexec's: stdin and stdout are sockets, stderr
 * is always drained, and the call ends when the process is gone and its output is closed.
 */

import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { BackupError, messageOf, systemCode } from '../../../shared/errors.ts';
import { MAX_STDERR_KEPT } from '../../../shared/limits.ts';
import { streamIo } from '../../../shared/wire/io.ts';
import type { ServiceCall } from '../domains.ts';

/**
 * Starts `command`. Throws `sandbox` if the program cannot be run at all; what happens later is told by
 * `exited` and `stderr()`. `directory` is the working directory of the first program.
 */
export async function startService(
  peer: string,
  command: readonly [string, ...string[]],
  options: { environment: Readonly<Record<string, string>>; directory: string },
): Promise<ServiceCall> {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    env: options.environment,
    cwd: options.directory,
    stdio: 'pipe',
    detached: true, // A group of its own: Ctrl-C reaches dom0 alone, and kill() reaches all of it.
  });
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const kept = keepStderr(child);
  const io = streamIo(child.stdout, child.stdin);
  try {
    await once(child, 'spawn');
  } catch (cause) {
    throw new BackupError('sandbox', `${peer}: cannot start ${program}: ${messageOf(cause)}`, { cause });
  }
  child.on('error', (error) => kept.add(Buffer.from(messageOf(error)))); // A kill that failed.
  let hungUp = false;
  child.once('exit', () => {
    if (hungUp) child.stdout.destroy();
  });
  return {
    peer,
    io,
    exited,
    stderr: () => kept.text(),
    hangUp() {
      hungUp = true;
      child.stdin.end();
      if (child.exitCode !== null || child.signalCode !== null) child.stdout.destroy();
    },
    kill() {
      killGroup(child);
      child.stdin.destroy();
      child.stdout.destroy();
    },
  };
}

/** Reads stderr to its end, whatever its size, and keeps the beginning as one printable line. */
function keepStderr(child: ChildProcessWithoutNullStreams): {
  add: (bytes: Uint8Array) => void;
  text: () => string;
} {
  const pieces: Uint8Array[] = [];
  let length = 0;
  const add = (bytes: Uint8Array) => {
    const piece = bytes.subarray(0, MAX_STDERR_KEPT - length);
    if (piece.length === 0) return;
    pieces.push(piece.slice());
    length += piece.length;
  };
  child.stderr.on('data', add);
  child.stderr.on('error', (error) => add(Buffer.from(messageOf(error))));
  return {
    add,
    text: () =>
      Buffer.concat(pieces)
        .toString('latin1')
        .trim()
        .replace(/\s*\n\s*/g, ' / ')
        .replace(/[^\x20-\x7e]/g, '?'),
  };
}

/** Ends the whole process group; a sandbox ends with its first process. */
function killGroup(child: ChildProcessWithoutNullStreams): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error; // Already gone.
  }
}
