/**
 * R54: what a check says is lost is what does not come back, and what it does not name comes back exactly: for one byte that is
 * wrong in each object of a store, one after the other. Services in the test's own process.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { DamageTable } from '../../dom0/commands/damage-table.ts';
import { extract } from '../../dom0/commands/extract.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { neededObjects } from '../../dom0/repository/live-objects.ts';
import { isBackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import type { Event } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';

const WAY = { tar: undefined, intoVm: undefined, overwrite: false } as const;

class Bench {
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

/** A name after whose entry a leaf of the tree ends, once that has 64 KiB (docs/format.md, section 8.1). */
function cutting(folder: string, start: string): string {
  for (let i = 0; ; i++) {
    const path = `${folder}${start}-${i}`;
    let hash = 0x811c9dc5;
    for (let at = 0; at < path.length; at++) hash = Math.imul(hash ^ path.charCodeAt(at), 0x01000193);
    if ((hash & 2047) === 0) return path;
  }
}

const long = (number: number) => `${String(number).padStart(3, '0')}${'-long'.repeat(48)}`;
const CUTS = [cutting('', 'b'), cutting('deep/inner/', 'm')];

/** Files of every part of the tree of `work`: before, within and after each cut, in folders and below them. */
const SAMPLE = [
  ...['a-large', `a-${long(0)}`, `a-${long(299)}`, CUTS[0] ?? '', 'c-large', 'deep/first'],
  ...[`deep/inner/${long(0)}`, CUTS[1] ?? '', 'deep/inner/z', 'deep/second', 'e-last'],
];

/** Two VMs with five snapshots. `settings`: more lines of the configuration. */
async function filled(...settings: readonly string[]): Promise<Bench> {
  const bench = new Bench();
  const { home } = bench;
  const random = new Random(11);
  home.identify('work', 1);
  home.identify('vault', 2);
  home.configure('[backup]', 'spot_check_mib = 0', ...settings);
  createKeyFile(home.keyFile);
  await bench.run((app) => init(app, () => app.secrets()));
  mkdirSync(join(home.volume('work'), 'deep/inner'), { recursive: true });
  for (let i = 0; i < 300; i++) {
    home.write('work', `a-${long(i)}`, `${i}`);
    home.write('work', `deep/inner/${long(i)}`, `${i}`);
  }
  for (const path of SAMPLE) if (!existsSync(join(home.volume('work'), path))) home.write('work', path, path);
  home.write('work', 'a-large', random.bytes(300_000));
  home.write('work', 'c-large', random.bytes(3_000_000));
  home.write('vault', 'secret', random.bytes(200_000));
  await bench.backUp('work');
  await bench.backUp('vault');
  home.write('work', 'c-large', random.bytes(3_000_000));
  await bench.backUp('work');
  home.write('work', 'deep/inner/z', random.bytes(100_000));
  await bench.backUp('work');
  home.write('vault', 'other', 'other');
  await bench.backUp('vault');
  return bench;
}

/** All objects of a store. */
function filesIn(bench: Bench, store: string): string[] {
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

function namedIn(events: readonly Event[], state = 'lost'): Named {
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

describe('R54: one byte that is wrong', () => {
  it('in any object: what is named does not come back, and all else does', async () => {
    const bench = await filled();
    const ids = await bench.needed();
    const seen = new Set<string>();
    for (const [round, id] of ids.entries()) {
      const file = bench.object(id);
      const bytes = readFileSync(file);
      const wrong = Buffer.from(bytes);
      wrong[60] = (wrong[60] ?? 0) ^ 1;
      rmSync(file);
      writeFileSync(file, wrong);
      bench.forgetCache();
      const { events } = await bench.check();
      // Without the catalog nothing can be opened, and the check ends with that.
      const opened = events.some(({ event }) => event === 'checked');
      const named = opened ? namedIn(events) : EVERYTHING;
      for (const { event, what } of events) if (event === 'damage') seen.add(String(what));
      for (const [turn, name] of [...bench.states.keys()].entries()) {
        const sample = name.startsWith('work') ? SAMPLE : ['secret'];
        const told = `object ${id.slice(0, 8)} of ${name}: ${JSON.stringify(events.filter(({ event }) => event === 'damage'))}`;
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
      rmSync(file);
      writeFileSync(file, bytes);
    }
    expect([...seen].sort()).toEqual(['all', 'file', 'list', 'settings']);
  }, 300_000);
});

describe('R54: what a store lost, and others have', () => {
  it('is named as such, and once it is repaired as that', async () => {
    const bench = await filled('[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"');
    const before = new Set(filesIn(bench, 'second'));
    const random = new Random(12);
    bench.home.write('work', 'deep/inner/z', random.bytes(120_000));
    await bench.backUp('work');
    const newest = filesIn(bench, 'second').filter((file) => !before.has(file));
    for (const file of newest) rmSync(file); // Its content, list of files, tables, record, and the catalog.
    const found = await bench.check();
    expect(found.events.filter(({ event }) => event === 'damage').map(({ state }) => state)).not.toContain(
      'lost',
    );
    expect(found.lines).toContain('No backup is lost.');
    const elsewhere = namedIn(found.events, 'elsewhere');
    expect(elsewhere.hits('work@4', 'deep/inner/z')).toBe(true);
    expect(namedIn(found.events).whole).toEqual(new Set(bench.states.keys()));

    const mended = await bench.check(true);
    expect(namedIn(mended.events, 'repaired').hits('work@4', 'deep/inner/z')).toBe(true);
    expect(mended.lines.some((line) => line.startsWith('REPAIRED: '))).toBe(true);
    expect((await bench.check()).events.filter(({ event }) => event === 'damage')).toEqual([]);
  }, 60_000);

  it('one pack, of which no other store has a copy either', async () => {
    const bench = await filled('[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"');
    const before = new Set(filesIn(bench, 'main'));
    bench.home.write('vault', 'third', new Random(13).bytes(3_000_000));
    await bench.backUp('vault');
    const added = filesIn(bench, 'main').filter((file) => !before.has(file));
    const [largest = ''] = added.sort((a, b) => statSync(b).size - statSync(a).size);
    for (const store of ['main', 'second']) rmSync(bench.object(basename(largest) as ObjectId, store));
    const { events, lines } = await bench.check(true);
    const damage = events.filter(({ event }) => event === 'damage');
    const hit = {
      vm: 'vault',
      snapshots: [3],
      volume: 'private',
      what: 'file',
      path: 'third',
      bytes: 3_000_000,
    };
    expect(damage).toMatchObject([{ state: 'lost', ...hit }]);
    const from = lines.findIndex((line) => line.startsWith('LOST: '));
    expect(lines.slice(from + 1, from + 5)).toEqual([
      'VM     SNAPSHOTS  VOLUME   WHAT',
      'vault  3          private  third (2.86 MiB of it)',
      'What is not named can be extracted; a restore of one of these snapshots as a whole stops.',
      'Whole are, of vault: 1-2; work: all 3.',
    ]);
  }, 60_000);
});

it('a table of damage has as many lines as can be read, and tells how many more there are', async () => {
  const output = new QuietOutput();
  const table = new DamageTable(output, 'lost');
  const needs = (from: number, to: number) =>
    Array.from(
      { length: to - from },
      (_, i) => ({ kind: 'file', top: 0, path: `f${from + i}`, bytes: 0 }) as const,
    );
  await table.addNeeds(parseVmName('work'), 'private', [3, 2], needs(0, 2_500));
  await table.addNeeds(parseVmName('work'), 'private', [1], needs(0, 10));
  table.addWhole('work', [], 3, 3);
  table.show('HEADING');
  expect(output.events).toHaveLength(2_510);
  expect(output.lines.slice(0, 3)).toEqual([
    'HEADING',
    'VM    SNAPSHOTS  VOLUME   WHAT',
    'work  1-3        private  f0',
  ]);
  expect(output.lines.slice(51)).toEqual([
    expect.stringMatching(/^work  2-3 /),
    '... and 2,450 more: --json names all',
    'What is not named can be extracted; a restore of one of these snapshots as a whole stops.',
    'Whole are, of work: none.',
  ]);
});
