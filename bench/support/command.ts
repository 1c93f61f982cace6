/** Child processes of the demo: run to their end; a signal to the demo is passed on, and waited for. */

import { spawn } from 'node:child_process';

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds. */
  readonly took: number;
}

/** Thrown once the person pressed Ctrl-C and the running command has tidied up. */
export class Stopped extends Error {}

let stopped: NodeJS.Signals | undefined;
let forward: ((signal: NodeJS.Signals) => void) | undefined;

function stop(signal: NodeJS.Signals): void {
  stopped = signal;
  forward?.(signal);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
// Whoever read our output went away: `npm run demo | head`.
process.stdout.on('error', () => {
  stop('SIGTERM');
});

/** Runs `program` and collects what it writes. Its own process group, so that it gets each signal once. */
export async function run(program: string, args: readonly string[], cwd?: string): Promise<Ended> {
  throwIfStopped();
  const ended = await spawned(program, args, cwd);
  throwIfStopped();
  return ended;
}

function throwIfStopped(): void {
  if (stopped !== undefined) throw new Stopped(stopped);
}

/** Runs `program` even after a signal: for tidying up. */
export async function runAlways(program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await spawned(program, args);
  if (code !== 0) throw new Error(`${program} failed (${code}): ${stderr.trim()}`);
}

async function spawned(program: string, args: readonly string[], cwd?: string): Promise<Ended> {
  const started = performance.now();
  const child = spawn(program, args, {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  forward = (signal) => child.kill(signal);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => {
      resolve(exitCode ?? 1);
    });
  });
  forward = undefined;
  const text = (pieces: Buffer[]) => Buffer.concat(pieces).toString('utf8');
  return { code, stdout: text(stdout), stderr: text(stderr), took: performance.now() - started };
}

/** Runs a program that must succeed, and answers its stdout. */
export async function must(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const ended = await run(program, args, cwd);
  if (ended.code !== 0) throw new Error(`${program} failed (${ended.code}): ${ended.stderr.trim()}`);
  return ended.stdout;
}
