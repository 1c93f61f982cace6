/** What a home holds, byte for byte: to compare before and after an attack, and to put it back. */

import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** By path: the hash of a file, or `folder`. */
export type HomeState = ReadonlyMap<string, string>;

/**
 * Of no consequence: caches are verified like the store, `local` belongs to the driver, and what is remembered of runs is for people
 * and tells the next check where to go on: also after one that found a store damaged.
 */
const IGNORED = ['state/cache', 'state/local', 'state/check', 'state/diary', 'state/log'];

export function stateOf(home: string): HomeState {
  const found = new Map<string, string>();
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(home, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (IGNORED.includes(path)) continue;
      found.set(path, entry.isFile() ? hashOf(join(home, path)) : entry.isDirectory() ? 'folder' : 'other');
      if (entry.isDirectory()) visit(path);
    }
  };
  visit('');
  return found;
}

function hashOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** Paths that are not as they were. */
export function changes(
  before: HomeState,
  after: HomeState,
): { path: string; how: 'new' | 'gone' | 'changed' }[] {
  const all = [];
  for (const [path, hash] of after) {
    const old = before.get(path);
    if (old !== hash) all.push({ path, how: old === undefined ? ('new' as const) : ('changed' as const) });
  }
  for (const path of before.keys()) if (!after.has(path)) all.push({ path, how: 'gone' as const });
  return all;
}

/** Makes `home` what `template` is, `state` being its state. Folders stay the same inodes: sandboxes see them. */
export function putBack(home: string, template: string, state: HomeState): void {
  rmSync(join(home, 'state/cache'), { recursive: true, force: true });
  const differing = changes(state, stateOf(home));
  for (const { path, how } of differing)
    if (how === 'new') rmSync(join(home, path), { recursive: true, force: true });
  for (const { path, how } of differing.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (how === 'new') continue;
    rmSync(join(home, path), { force: true });
    if (state.get(path) === 'folder')
      mkdirSync(join(home, path), { mode: lstatSync(join(template, path)).mode });
    // Node's own copy loses nanoseconds.
    else execFileSync('cp', ['-a', join(template, path), join(home, dirname(path))]);
  }
}
