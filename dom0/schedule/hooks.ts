/**
 * Programs that the owner of this machine has run before and after a backup, from dom0's configuration alone. They are told how it went, and
 * no secret: no descriptor, argument or variable of the run is theirs.
 */

import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { passedOn } from '../domains/child.ts';
import { runProgram } from '../domains/run-program.ts';
import { outcomeOf } from '../exit-status.ts';
import type { Status } from '../exit-status.ts';

const command = (description: string, example: string) =>
  z
    .tuple([z.string().min(1)], z.string())
    .optional()
    .meta({ description, examples: [[example, 'backups']] });

export const hooksSchema = z
  .strictObject({
    before: command(
      'A program and its arguments, run without a shell before backups; if it fails, nothing is backed up.',
      '/usr/local/bin/before',
    ),
    after: command(
      'A program that is run after them, however they ended, and told of it in QUBES_BACKUP_OUTCOME.',
      '/usr/local/bin/after',
    ),
    timeout_minutes: z
      .int()
      .min(1)
      .max(24 * 60)
      .default(10)
      .meta({ description: 'Minutes that each of them may take.' }),
  })
  .default({ timeout_minutes: 10 })
  .meta({ description: 'Programs around each backup that is typed or scheduled.' });

export type Hooks = z.output<typeof hooksSchema>;

/** `backup` was typed, or a timer began it. */
export type RunKind = 'backup' | 'scheduled';

const MINUTE = 60_000;

/** Throws `refused` if it does not end with status 0: the run is not to begin. `signal` ends it, with all it started. */
export async function runBefore(
  { before, timeout_minutes: minutes }: Hooks,
  run: RunKind,
  signal: AbortSignal,
): Promise<void> {
  if (before === undefined) return;
  const environment = { QUBES_BACKUP_HOOK: 'before', QUBES_BACKUP_RUN: run };
  const failure = await runHook(before, minutes, environment, signal);
  if (failure !== undefined)
    throw new BackupError('refused', `nothing was backed up: the hook "before", ${before[0]}, ${failure}`);
}

/** Tells it how the run ended; answers how it failed itself. `signal` ends it, with all it started. */
export async function runAfter(
  { after, timeout_minutes: minutes }: Hooks,
  run: RunKind,
  status: Status,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (after === undefined) return undefined;
  const environment = {
    QUBES_BACKUP_HOOK: 'after',
    QUBES_BACKUP_RUN: run,
    QUBES_BACKUP_STATUS: String(status),
    QUBES_BACKUP_OUTCOME: outcomeOf(status),
  };
  const failure = await runHook(after, minutes, environment, signal);
  return failure === undefined ? undefined : `the hook "after", ${after[0]}, ${failure}`;
}

/** What it prints is only looked at if it fails: stdout goes where stderr goes, which is drained and cut. */
async function runHook(
  [program, ...args]: readonly [string, ...string[]],
  minutes: number,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { end, stderr } = await runProgram(['sh', '-c', 'exec "$@" >&2', 'sh', program, ...args], {
    timeout: minutes * MINUTE,
    maxOutput: 0,
    signal,
    environment: { ...passedOn(), ...environment },
  });
  if (end.kind === 'exited' && end.code === 0) return undefined;
  const said = stderr === '' ? '' : `: ${stderr}`;
  if (signal.aborted) return `was ended with this run${said}`;
  if (end.kind === 'timeout') return `took longer than ${minutes} min${said}`;
  if (end.kind === 'exited') return `ended with ${end.signal ?? `status ${String(end.code)}`}${said}`;
  return 'cannot be started';
}
