/** A program of the machine, run to its end: no shell, a clean environment, a bound on its time and on what it may say. */

import { BackupError } from '../../shared/errors.ts';
import { TOOL_ENVIRONMENT, keepStderr, killGroup, spawnDetached } from './child.ts';

/** How it ended. What was cut short was killed, with all it had started. */
export type ProgramEnd =
  | {
      readonly kind: 'exited';
      readonly code: number | null;
      readonly signal: string | null;
      readonly stdout: Uint8Array;
    }
  | { readonly kind: 'not-started'; readonly cause: unknown }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'too-much-output' };

export interface ProgramLimits {
  /** Milliseconds; no bound if undefined. */
  readonly timeout?: number;
  /** Bytes of stdout. */
  readonly maxOutput: number;
  /** Its stdin; empty if undefined. */
  readonly input?: Uint8Array;
  /** What it is told beside TOOL_ENVIRONMENT. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs `command`; its program is looked for in the folders of TOOL_ENVIRONMENT. Never rejects. */
export async function runProgram(
  command: readonly [string, ...string[]],
  limits: ProgramLimits,
): Promise<{ readonly end: ProgramEnd; readonly stderr: string }> {
  const started = startProgram(command, limits.environment);
  if ('cause' in started) return { end: { kind: 'not-started', cause: started.cause }, stderr: '' };
  const { child, stdin, stdout, stderr } = started;
  const kept = keepStderr(stderr);
  stdin.on('error', () => undefined); // It may end without a look at its stdin.
  stdin.end(limits.input);
  const end = await new Promise<ProgramEnd>((resolve) => {
    const cutShort = (kind: 'timeout' | 'too-much-output') => {
      killGroup(child);
      stdout.destroy();
      stderr.destroy();
      resolve({ kind }); // Not when it is gone: what waits for a disk in the kernel dies when that answers.
    };
    const timer =
      limits.timeout === undefined ? undefined : setTimeout(() => cutShort('timeout'), limits.timeout);
    const pieces: Uint8Array[] = [];
    let length = 0;
    stdout.on('data', (piece: Uint8Array) => {
      length += piece.length;
      if (length > limits.maxOutput) cutShort('too-much-output');
      else pieces.push(piece);
    });
    child.once('error', (cause) => resolve({ kind: 'not-started', cause }));
    child.once('close', (code, signal) =>
      resolve({ kind: 'exited', code, signal, stdout: Buffer.concat(pieces) }),
    );
    child.once('close', () => clearTimeout(timer));
    child.once('error', () => clearTimeout(timer));
  });
  return { end, stderr: kept.text() };
}

function startProgram(
  command: readonly [string, ...string[]],
  environment: Readonly<Record<string, string>> = {},
) {
  try {
    return spawnDetached(command, { environment: { ...TOOL_ENVIRONMENT, ...environment }, directory: '/' });
  } catch (cause) {
    if (cause instanceof BackupError) throw cause;
    return { cause };
  }
}
