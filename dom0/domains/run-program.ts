/** A program of the machine, run to its end: no shell, a clean environment, a bound on its time and on what it may say. */

import { BackupError } from '../../shared/errors.ts';
import { TOOL_ENVIRONMENT, keepStderr, killGroup, signalGroup, spawnDetached } from './child.ts';

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
  /** Once aborted, it and all it started are asked to end (SIGTERM), and after GRACE made to. */
  readonly signal?: AbortSignal;
  /** What it is told beside TOOL_ENVIRONMENT. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Milliseconds that a program has to end in order once it is asked to. */
const GRACE = 5_000;

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
    const { signal } = limits;
    let grace: NodeJS.Timeout | undefined;
    const stop = () => {
      child.once('exit', () => signalGroup(child, 'SIGKILL')); // With what it started and left behind.
      signalGroup(child, 'SIGTERM');
      grace = setTimeout(() => killGroup(child), GRACE);
    };
    const settled = () => {
      clearTimeout(timer);
      clearTimeout(grace);
      signal?.removeEventListener('abort', stop);
    };
    child.once('close', settled);
    child.once('error', settled);
    if (signal?.aborted === true) stop();
    else signal?.addEventListener('abort', stop);
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
