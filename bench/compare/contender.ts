/** A backup program as commands, in a folder of its own. All steps are measured alike: whole processes, from outside. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { runMeasured } from '../support/process-tree.ts';
import type { Cost } from '../support/process-tree.ts';
import type { Source } from './ground.ts';

/** A step, in the words of the program. Some take several commands, one after the other. */
export type Commands = readonly Command[];

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Made if it is not there. */
  readonly cwd?: string;
  /** An exit status that says that there was nothing to do. */
  readonly idle?: number;
}

/** One store of one contender. Nothing is run by the methods; what they answer is. */
export interface Place {
  /** What holds the store: its size is compared, and it is read before what reads it is timed. */
  readonly store: string;
  init(): Commands;
  backUp(): Commands;
  /** Restores the newest snapshot to `restored`, which is not there before. */
  restore(): Commands;
  readonly restored: string;
  /** Restores the file at `path`, relative to the data, to below `restored`. */
  restoreFile(path: string): Commands;
  list(): Commands;
  listByPassphrase(): Commands;
  listFolder(path: string): Commands;
  check(): Commands;
  checkData(): Commands;
  /** Keeps the newest `count` snapshots, and gives the space of all others back. */
  forget(count: number): Commands;
}

export interface Contender {
  readonly name: string;
  /** What must be installed; undefined for this program. */
  readonly program: 'restic' | 'borg' | undefined;
  /** The settings that differ from the program's own, for people. */
  readonly settings: string;
  /** It is there for the size of its first store alone, which is made once. */
  readonly forSize?: true;
  /** `folder` is there and empty. */
  place(folder: string, source: Source): Place;
}

/** A step that ended otherwise than in order. */
export class Failed extends Error {}

/** Runs commands one after the other. Answers what each took. Throws {@link Failed}. */
export async function perform(commands: Commands): Promise<readonly Cost[]> {
  const costs: Cost[] = [];
  for (const { program, args, environment, cwd, idle } of commands) {
    if (cwd !== undefined) mkdirSync(cwd, { recursive: true });
    const env = { ...process.env, LC_ALL: 'C.UTF-8', ...environment };
    const cost = await runMeasured(program, args, { env, ...(cwd === undefined ? {} : { cwd }) });
    if (cost.code !== 0 && cost.code !== idle) {
      const said = `${cost.stderr}${cost.stdout}`.trim().slice(-500);
      throw new Failed(`${program} ${args.join(' ')} ended with ${cost.code ?? 'a signal'}: ${said}`);
    }
    costs.push(cost);
  }
  return costs;
}

/** Runs a tool of the machine's that must succeed; answers its stdout. */
export function tool(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${error?.message ?? stderr}`);
  return stdout;
}

/** Removes a folder with all that is in it, if it is there. */
export function remove(folder: string): void {
  tool('rm', '-rf', '--', folder);
}

/** Bytes on the disk. */
export function sizeOf(folder: string): number {
  return 1024 * Number(tool('du', '-sk', '--', folder).split('\t')[0]);
}

/** Brings what is below `folders` into memory, entries and contents, and everything that waits to be written to the disk. */
export function warm(...folders: readonly string[]): void {
  tool('sync');
  // Into a pipe: tar(1) reads no content for /dev/null.
  for (const folder of folders.filter(existsSync))
    tool('sh', '-c', 'tar -C "$1" -cf - . | cat >/dev/null', 'sh', folder);
}
