/** Child processes for tests: run one to its end, talk to one, wait for a condition. */

import { spawn } from 'node:child_process';
import type { ChildProcess, ChildProcessByStdio, SpawnOptions } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { COMPILE_CACHE, compileCache } from '../../dom0/domains/local/compile-cache.ts';

/** The project's folder. */
export const PROJECT = join(import.meta.dirname, '..', '..');

/** Variables by which Node.js finds the compiled code of what a test starts itself: it then takes half the processor time to begin. */
export const COMPILED = compileCache(PROJECT, PROJECT, COMPILE_CACHE);

/** `command` with them, for a shell. */
export function compiledCommand(command: readonly string[]): string {
  const variables = Object.entries(COMPILED).map(([name, value]) => `${name}=${value}`);
  return ['env', ...variables, ...command].map((word) => `'${word}'`).join(' ');
}

/** How a process ended and what it wrote. */
export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** Starts a process with piped stdio; it is killed when the running test finishes. */
export function start(program: string, args: readonly string[], options: SpawnOptions = {}): Child {
  const child = spawn(program, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined); // A child that exits early closes it: the test looks at the outcome.
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

/** Runs a process to its end with `input` on its stdin. */
export async function run(
  program: string,
  args: readonly string[],
  options: SpawnOptions & { readonly input?: string | Uint8Array } = {},
): Promise<Outcome> {
  const { input, ...rest } = options;
  const child = start(program, args, rest);
  child.stdin.end(input);
  return outcome(child);
}

/** Collects all output of `child` and waits until it is gone and its output closed. */
export function outcome(child: Child): Promise<Outcome> {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve({
        code,
        signal,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString('utf8'),
      });
    });
  });
}

/** Waits until `child` is gone. */
export function exited(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode });
  }
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve({ code, signal });
    });
  });
}

/** Waits until `condition` holds; fails with `what` after `within` milliseconds. For what sends no event. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  what: string,
  within = 20_000,
): Promise<void> {
  const deadline = performance.now() + within;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${within} ms in vain: ${what}`);
    await delay(10);
  }
}

/** True while the process exists and is no zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false; // No such process.
  }
}

/** The ids of all processes that `pid` started, and of those that they did. */
export function childrenOf(pid: number): number[] {
  const parents = new Map(
    readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map((name) => [Number(name), parentOf(name)]),
  );
  const found = new Set([pid]);
  for (let size = 0; size < found.size;) {
    size = found.size;
    for (const [child, parent] of parents) if (parent !== undefined && found.has(parent)) found.add(child);
  }
  found.delete(pid);
  return [...found];
}

function parentOf(name: string): number | undefined {
  try {
    // The name of its program, in brackets, may hold anything.
    return Number(
      readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ')[1],
    );
  } catch {
    return undefined; // It is gone.
  }
}
