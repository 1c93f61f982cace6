/** A home whose store is damaged on purpose, and what a check says of it held against what comes back. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { extract } from '../../dom0/commands/extract.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { neededObjects } from '../../dom0/repository/live-objects.ts';
import { isBackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { compareTrees } from './checker.ts';
import { Home } from './home.ts';
import type { Event } from './home.ts';
import { InProcessDomains } from './in-process-domains.ts';
import { runOver } from './in-process.ts';
import type { QuietOutput } from './quiet-output.ts';
import { tempFolder } from './temp.ts';

const WAY = { tar: undefined, intoVm: undefined, overwrite: false } as const;

export class DamageBench {
  readonly home: Home;
  readonly domains: InProcessDomains;
  /** What each snapshot was, by `VM@NUMBER`. */
  readonly states = new Map<string, string>();

  constructor(home = new Home()) {
    this.home = home;
    this.domains = new InProcessDomains(home.folder, () => Date.now() + 60_000);
  }

  run(command: (app: App) => Promise<void>) {
    return runOver(this.domains, this.home, command);
  }

  async backUp(vm: string): Promise<void> {
    await this.run((app) => backup(app, [vm]));
    const kept = join(this.home.folder, 'kept', `${vm}@${this.#numberOf(vm)}`);
    mkdirSync(dirname(kept), { recursive: true });
    execFileSync('cp', ['-a', this.home.volume(vm), kept]); // Node's own copy loses nanoseconds.
    this.states.set(`${vm}@${this.#numberOf(vm)}`, kept);
  }

  #numberOf(vm: string): number {
    return [...this.states.keys()].filter((name) => name.startsWith(`${vm}@`)).length + 1;
  }

  /** A machine that remembers nothing but the newest root. */
  forgetCache(): void {
    rmSync(join(this.home.state, 'cache'), { recursive: true, force: true });
  }

  object(id: ObjectId, store = 'main'): string {
    return join(this.home.folder, 'storage', store, 'qubes-backup', 'objects', id.slice(0, 2), id);
  }

  async needed(): Promise<ObjectId[]> {
    const ids: ObjectId[] = [];
    await this.run(async (app) => {
      app.defer(() => app.storage.abort());
      for await (const id of neededObjects(await app.open())) ids.push(id);
    });
    return ids;
  }

  /** All that a check told, whether it ended well or not. */
  async check(repair = false): Promise<QuietOutput> {
    let told: unknown;
    await this.run(async (app) => {
      told = app.output;
      await check(app, 100, repair);
    }).catch(unlessDamaged);
    return told as QuietOutput;
  }

  /** True if all of `paths` come back as they were. */
  async comesBack(name: string, paths: readonly string[]): Promise<boolean> {
    const to = join(tempFolder(), 'out');
    const done = await this.run((app) => extract(app, name, paths, { ...WAY, to })).catch(unlessDamaged);
    if (done === undefined) return false;
    const state = this.states.get(name) ?? '';
    return paths.every((path) => readFileSync(join(state, path)).equals(readFileSync(join(to, path))));
  }

  /** True if it can be restored as a VM, which is then as it was. */
  async restores(name: string): Promise<boolean> {
    const done = await this.run((app) => restore(app, name, 'copy')).catch(unlessDamaged);
    if (done === undefined) return false;
    const isSame = compareTrees(this.states.get(name) ?? '', this.home.volume('copy')).length === 0;
    rmSync(join(this.home.folder, 'vms', 'copy'), { recursive: true });
    return isSame;
  }
}

/** A run that failed because of the store is answered as undefined. */
function unlessDamaged(error: unknown): undefined {
  if (!isBackupError(error, 'store-damaged', 'store-missing')) throw error;
  return undefined;
}

/** All objects of a store. */
export function objectFiles(bench: DamageBench, store: string): string[] {
  const folder = join(bench.home.folder, 'storage', store, 'qubes-backup', 'objects');
  const all = readdirSync(folder, { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

interface Named {
  readonly whole: ReadonlySet<string>;
  /** True if the damage report names `path` of the snapshot `name`. */
  hits(name: string, path: string): boolean;
  settings(name: string): boolean;
}

const EVERYTHING: Named = { whole: new Set(), hits: () => true, settings: () => false };

/** Path order: the shell's, with the slash before all. */
const key = (path: string) => path.replaceAll('/', '\0');

export function namedIn(events: readonly Event[], state = 'lost'): Named {
  const damage = events.filter((event) => event.event === 'damage' && event['state'] === state);
  const of = (name: string) => {
    const [vm, number] = name.split('@');
    return damage.filter((event) => {
      const snapshots = event['snapshots'] as number[] | null;
      return event['vm'] === vm && (snapshots === null || snapshots.includes(Number(number)));
    });
  };
  const covers = (event: Event, path: string): boolean => {
    const { what, path: from, until, within } = event as unknown as Record<string, string | null>;
    if (what === 'all') return true;
    if (what === 'file') return path === from;
    if (what !== 'list') return false;
    const isIn = key(path) >= key(from ?? '') && (until === null || key(path) < key(until ?? ''));
    return isIn || (within !== null && (within === '' || path.startsWith(`${within ?? ''}/`)));
  };
  const intact = events.filter(({ event }) => event === 'intact');
  return {
    whole: new Set(
      intact.flatMap((one) => (one['snapshots'] as number[]).map((n) => `${String(one['vm'])}@${n}`)),
    ),
    hits: (name, path) => of(name).some((event) => covers(event, path)),
    settings: (name) => of(name).some(({ what }) => what === 'settings'),
  };
}

/**
 * Fails unless what `events`, of a check, name does not come back, and all else does. `sampleOf`: paths of a snapshot. `round`: which snapshots are
 * restored as a whole, of all in their turns.
 */
export async function proveNamed(
  bench: DamageBench,
  sampleOf: (name: string) => readonly string[],
  events: readonly Event[],
  what: string,
  round: number,
): Promise<void> {
  // Without the catalog nothing can be opened, and the check ends with that.
  const opened = events.some(({ event }) => event === 'checked');
  const named = opened ? namedIn(events) : EVERYTHING;
  for (const [turn, name] of [...bench.states.keys()].entries()) {
    const sample = sampleOf(name);
    const told = `${what} of ${name}: ${JSON.stringify(events.filter(({ event }) => event === 'damage'))}`;
    bench.forgetCache();
    const free = sample.filter((path) => !named.hits(name, path));
    if (named.whole.has(name)) {
      expect(free, told).toEqual(sample);
      // A restore as a VM proves all of it, and takes a while: each snapshot has its turns.
      const whole = (round + turn) % bench.states.size === 0;
      expect(await (whole ? bench.restores(name) : bench.comesBack(name, sample)), told).toBe(true);
    } else if (free.length > 0) expect(await bench.comesBack(name, free), told).toBe(true);
    const hit = sample.filter((path) => named.hits(name, path));
    for (const path of hit.filter((_, index) => index < 2 || index === hit.length - 1)) {
      bench.forgetCache();
      expect(await bench.comesBack(name, [path]), `${path}: ${told}`).toBe(false);
    }
    if (named.settings(name)) expect(await bench.restores(name), told).toBe(false);
  }
}
