/** Programs of the disposable's template, run to their end: no shell, a clean environment, and a bound on all they do. */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { BackupError, messageOf, systemCode } from '../shared/errors.ts';
import { printableText } from '../shared/format.ts';

const DEFAULT_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Bytes of output that are kept: e2fsck may say a line for every block. */
const MAX_OUTPUT = 4096;

export interface ProgramResult {
  readonly status: number;
  /** The start of what it wrote to stdout and stderr, as printable ASCII. */
  readonly output: string;
}

/**
 * Runs `program`; `timeout` in milliseconds, `missing` is what to do if it is not there. Throws `io` if it cannot be run or was
 * ended by a signal, `timeout`.
 */
export function runProgram(
  program: string,
  args: readonly string[],
  options: {
    readonly timeout: number;
    readonly missing: string;
    /** Default: this process's own. */
    readonly cwd?: string;
    readonly environment?: Readonly<Record<string, string>>;
    /** It may start others: at its end, or its time limit, they are ended with it. */
    readonly group?: boolean;
  },
): Promise<ProgramResult> {
  const { timeout, missing, cwd, environment, group = false } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { PATH: process.env['PATH'] ?? DEFAULT_PATH, LANG: 'C', ...environment },
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: group,
    });
    let late = false;
    // Not spawn's own: that one would keep this process alive after a program that is not there.
    const deadline = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
      // What it started may live on and hold them, in no group of its: it ends with the disposable.
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeout);
    let output = '';
    const keep = (bytes: Buffer) => {
      if (output.length < MAX_OUTPUT) output += bytes.toString('latin1');
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    if (group) child.once('exit', () => endGroup(child));
    child.once('error', (cause) => {
      clearTimeout(deadline);
      reject(new BackupError('io', `cannot run ${program} (${messageOf(cause)}): ${missing}`, { cause }));
    });
    child.once('close', (status, signal) => {
      clearTimeout(deadline);
      const said = printableText(output.slice(0, MAX_OUTPUT).trim());
      if (status !== null) resolve({ status, output: said });
      else if (late)
        reject(new BackupError('timeout', `${program} took more than ${Math.round(timeout / 1000)} s`));
      else reject(new BackupError('io', `${program} was ended by ${signal ?? 'nothing'}: ${said}`));
    });
  });
}

/** Ends what is left of the process group of `child`, its leader, which has just ended. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error; // Nothing is left.
  }
}
