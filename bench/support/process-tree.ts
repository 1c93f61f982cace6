/**
 * What a command costs: seconds, and of each of its processes the peak of resident memory and the processor time of each thread. Read
 * from /proc while it runs, every few milliseconds, so the last instants of a process are missed; whole trees are counted, through sandboxes.
 */

import { spawn } from 'node:child_process';
import type { SpawnOptions } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

/** Milliseconds between two looks at /proc, each of which takes some 3. VmHWM is a peak, so only a process shorter than this is missed. */
const LOOK = 100;
/** Ticks a second of the times in /proc (USER_HZ, the same on every Linux on x86-64). */
const TICKS = 100;

/** One part of a program: its command itself, or one of its services. */
export interface PartCost {
  /** Largest peak of resident memory of one process, in MiB. */
  readonly peak: number;
  /** Processor seconds by name of the thread, user's and system's together. */
  readonly threads: ReadonlyMap<string, number>;
  /** Seconds from when the first process of the part was seen to when the last one was. */
  readonly seconds: number;
}

export interface Cost {
  readonly seconds: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  /** By `command`, or ROLE/SERVICE of what runs as a service of this program. */
  readonly parts: ReadonlyMap<string, PartCost>;
}

interface Seen {
  readonly part: string;
  peak: number;
  readonly threads: Map<number, { name: string; ticks: number }>;
  readonly first: number;
  last: number;
}

export const COMMAND_PART = 'command';

/** Runs `program` to its end. Rejects only if it cannot be started. */
export async function runMeasured(
  program: string,
  args: readonly string[],
  options: Pick<SpawnOptions, 'cwd' | 'env'> = {},
): Promise<Cost> {
  const started = performance.now();
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr.on('data', (piece: Buffer) => stderr.push(piece));
  const tree = new ProcessTree(child.pid ?? -1);
  const timer = setInterval(() => tree.look(), LOOK);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const text = (pieces: readonly Buffer[]) => Buffer.concat(pieces).toString('utf8');
    const seconds = (performance.now() - started) / 1000;
    return { seconds, code, stdout: text(stdout), stderr: text(stderr), parts: tree.parts() };
  } finally {
    clearInterval(timer);
  }
}

class ProcessTree {
  readonly #root: number;
  readonly #seen = new Map<number, Seen>();

  constructor(root: number) {
    this.#root = root;
  }

  look(): void {
    const children = childrenByParent();
    const now = performance.now();
    for (const waiting = [this.#root]; waiting.length > 0;) {
      const pid = waiting.pop() ?? -1;
      waiting.push(...(children.get(pid) ?? []));
      this.#note(pid, now);
    }
  }

  #note(pid: number, now: number): void {
    const status = read(`/proc/${pid}/status`);
    if (status === '') return;
    let seen = this.#seen.get(pid);
    const line = read(`/proc/${pid}/cmdline`);
    // One that has ended, and that its parent has not noticed yet, has none left.
    const part = line === '' ? (seen?.part ?? COMMAND_PART) : partOf(pid, this.#root, line);
    // A process becomes another program, and then is of another part: the launcher of a sandbox, its service.
    if (seen?.part !== part) seen = { part, peak: 0, threads: new Map(), first: now, last: now };
    this.#seen.set(pid, seen);
    seen.last = now;
    seen.peak = Math.max(seen.peak, Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024);
    for (const thread of list(`/proc/${pid}/task`)) {
      const stat = /\((.*)\) \S (?:\S+ ){10}(\d+) (\d+) /s.exec(read(`/proc/${pid}/task/${thread}/stat`));
      const [, name = '', user = '', system = ''] = stat ?? [];
      if (stat !== null) seen.threads.set(Number(thread), { name, ticks: Number(user) + Number(system) });
    }
  }

  parts(): Map<string, PartCost> {
    const parts = new Map<string, PartCost>();
    for (const [part, all] of Map.groupBy(this.#seen.values(), (seen) => seen.part)) {
      const threads = new Map<string, number>();
      for (const { name, ticks } of all.flatMap((seen) => [...seen.threads.values()]))
        threads.set(name, (threads.get(name) ?? 0) + ticks / TICKS);
      const first = Math.min(...all.map((seen) => seen.first));
      const last = Math.max(...all.map((seen) => seen.last));
      const peak = Math.max(...all.map((seen) => seen.peak));
      parts.set(part, { peak, threads, seconds: (last - first) / 1000 });
    }
    return parts;
  }
}

/** Launchers of a service name it as well; they are small, and are counted with it. */
function partOf(pid: number, root: number, line: string): string {
  if (pid === root) return COMMAND_PART;
  return /services\/((?:dvm|storagevm|vm)\/[^/\0]*)\.(?:ts|mjs)\0/.exec(line)?.[1] ?? COMMAND_PART;
}

function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of list('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(/^PPid:\s+(\d+)$/m.exec(read(`/proc/${name}/status`))?.[1] ?? NaN);
    if (!Number.isNaN(parent)) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  return children;
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // The process is gone.
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // The process is gone.
  }
}
