/**
 * Child processes of dom0, for the drivers: a clean environment, no descriptor of dom0's but the three they are given, a process
 * group of their own, and a stderr that is always drained.
 */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { BackupError, messageOf, systemCode } from '../../shared/errors.ts';
import { MAX_STDERR_KEPT } from '../../shared/limits.ts';

/** Where programs are found: dom0's own environment decides nothing. */
export const TOOL_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C' };

/** What programs of the user's need to find their own things: a keeper of passphrases, systemd's user manager. */
const PASSED_ON = ['HOME', 'USER', 'LOGNAME', 'XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS', 'GNUPGHOME'];

/** For a program that the owner of this machine chose. */
export function passedOn(): Record<string, string> {
  return Object.fromEntries(
    PASSED_ON.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** From fcntl.h of Linux on x86-64. */
const O_CLOEXEC = 0o2000000;

/** From linux/sched.h: forked, and no program begun since. */
const PF_FORKNOEXEC = 0x40;

/** A person cannot press Ctrl-C as often as that while a process begins. */
const MAX_TRIES = 100;

/** Starts a process of its own group (Ctrl-C reaches dom0 alone, killGroup() all of it) with nothing of ours but its stdio. */
export function spawnDetached(
  command: readonly [string, ...string[]],
  options: { environment: Readonly<Record<string, string>>; directory: string },
) {
  const nothing = openSync('/dev/null', 'r+');
  try {
    for (let tries = 1; ; tries++) {
      const child = spawnOnce(command, options, nothing);
      const { stdin, stdout, stderr } = child;
      if (stdin === null || stdout === null || stderr === null)
        throw new BackupError('internal', 'a child has no stdio');
      if (tries === MAX_TRIES || child.pid === undefined || hasBegun(child.pid))
        return { child, stdin, stdout, stderr };
      for (const stream of [stdin, stdout, stderr]) stream.destroy();
    }
  } finally {
    closeSync(nothing);
  }
}

function spawnOnce(
  [program, ...args]: readonly [string, ...string[]],
  { environment, directory }: { environment: Readonly<Record<string, string>>; directory: string },
  nothing: number,
): ChildProcess {
  return spawn(program, args, {
    env: environment,
    cwd: directory,
    stdio: ['pipe', 'pipe', 'pipe', ...inheritable().map((open) => (open ? nothing : 'ignore'))],
    detached: true,
  });
}

/**
 * False if the child `pid` died before its program began. For a moment after the fork it is in dom0's process group, and a Ctrl-C
 * then is its as well. By now spawn() has waited until it began or died, and nobody has waited for the dead.
 */
function hasBegun(pid: number): boolean {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[6]) & PF_FORKNOEXEC) === 0;
}

/**
 * For each descriptor from 3 on: whether a child would inherit it. Node closes its own, but not all that dom0 was
 * started with: the shell gives `--passphrase-file <(…)` as descriptor 63, and who inherits that may read it again.
 */
function inheritable(): readonly boolean[] {
  const found: boolean[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor < 3 || isClosedOnExec(name)) continue;
    while (found.length <= descriptor - 3) found.push(false);
    found[descriptor - 3] = true;
  }
  return found;
}

function isClosedOnExec(descriptor: string): boolean {
  try {
    const flags =
      /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'))?.[1] ?? '0';
    return (parseInt(flags, 8) & O_CLOEXEC) !== 0;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return true; // The descriptor of the listing itself.
    throw error;
  }
}

/** Reads stderr to its end, whatever its size, and keeps the beginning as one printable line. */
export function keepStderr(stderr: Readable): {
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
  stderr.on('data', add);
  stderr.on('error', (error) => add(Buffer.from(messageOf(error))));
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
export function killGroup(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) signalGroup(child, 'SIGKILL');
}

/** Sends a signal to all of the process group: to be called while its first process is there, or has just ended. */
export function signalGroup({ pid }: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error; // Already gone.
  }
}
