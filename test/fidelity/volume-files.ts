/** The entries of a test's volume, by bytes, and the tools that Node has no call for. */

import { spawnSync } from 'node:child_process';
import { lstatSync, readdirSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { DEEP_FOLDER, SOCKET_SUFFIX } from '../support/checker.ts';

/** A directory with many entries, which edits of single entries leave alone. */
export const HUGE_FOLDER = 'huge';

export interface Item {
  /** Absolute. */
  readonly path: Buffer;
  readonly stat: Stats;
}

const SLASH = 0x2f;
const APART = new Set([DEEP_FOLDER, HUGE_FOLDER]);

/** All entries below `root` in a fixed order, without those that have edits of their own. */
export function listItems(root: Buffer): Item[] {
  const items: Item[] = [];
  const visit = (folder: Buffer): void => {
    const names = readdirSync(folder, { encoding: 'buffer' }).sort((a, b) => Buffer.compare(a, b));
    for (const name of names) {
      if (folder === root && APART.has(name.toString('latin1'))) continue;
      const path = below(folder, name);
      const stat = lstatSync(path);
      items.push({ path, stat });
      if (stat.isDirectory()) visit(path);
    }
  };
  visit(root);
  return items;
}

export function below(folder: Buffer, name: Uint8Array | string): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), Buffer.from(name)]);
}

/** True if `path` is `folder` or below it. */
export function isBelow(path: Buffer, folder: Buffer): boolean {
  if (path.length < folder.length || path.compare(folder, 0, folder.length, 0, folder.length) !== 0)
    return false;
  return path.length === folder.length || path[folder.length] === SLASH;
}

export function isSocketName(path: Buffer): boolean {
  return path.toString('latin1').endsWith(SOCKET_SUFFIX);
}

/** Runs `words`, then `path` as the last argument, whatever its bytes. */
export function tool(words: string, path: Buffer): void {
  output(words, path);
}

/** What it says. */
export function output(words: string, path: Buffer): string {
  const ended = runTool(words, path);
  if (ended.status === 0) return ended.stdout.toString('latin1');
  throw new Error(`${words} ${path.toString('latin1')} failed: ${ended.stderr.toString('latin1')}`);
}

/** True if it worked. */
export function tryTool(words: string, path: Buffer): boolean {
  return runTool(words, path).status === 0;
}

function runTool(words: string, path: Buffer) {
  const quoted = path.toString('latin1').replaceAll("'", `'\\''`);
  return spawnSync('sh', ['-e'], {
    input: Buffer.from(`${words} '${quoted}'\n`, 'latin1'),
    env: { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
}

/** Sets the time of last modification, of a symlink its own. */
export function setTime(path: Buffer, seconds: number, nanoseconds: number): void {
  tool(`touch -h -m -d @${seconds}.${String(nanoseconds).padStart(9, '0')} --`, path);
}
