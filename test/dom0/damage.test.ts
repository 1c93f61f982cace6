/**
 * R54: what a check says is lost is what does not come back, and what it does not name comes back exactly: for one byte that is
 * wrong in each object of a store, one after the other. Services in the test's own process.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DamageTable } from '../../dom0/commands/damage-table.ts';
import { init } from '../../dom0/commands/init.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { parseVmName } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { DamageBench, namedIn, objectFiles, proveNamed } from '../support/damage-bench.ts';
import { QuietOutput } from '../support/quiet-output.ts';
import { Random } from '../support/random.ts';

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
async function filled(...settings: readonly string[]): Promise<DamageBench> {
  const bench = new DamageBench();
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
      for (const { event, what } of events) if (event === 'damage') seen.add(String(what));
      const sampleOf = (name: string) => (name.startsWith('work') ? SAMPLE : ['secret']);
      await proveNamed(bench, sampleOf, events, `object ${id.slice(0, 8)}`, round);
      rmSync(file);
      writeFileSync(file, bytes);
    }
    expect([...seen].sort()).toEqual(['all', 'file', 'list', 'settings']);
  }, 300_000);
});

describe('R54: what a store lost, and others have', () => {
  it('is named as such, and once it is repaired as that', async () => {
    const bench = await filled('[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"');
    const before = new Set(objectFiles(bench, 'second'));
    const random = new Random(12);
    bench.home.write('work', 'deep/inner/z', random.bytes(120_000));
    await bench.backUp('work');
    const newest = objectFiles(bench, 'second').filter((file) => !before.has(file));
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
    const before = new Set(objectFiles(bench, 'main'));
    bench.home.write('vault', 'third', new Random(13).bytes(3_000_000));
    await bench.backUp('vault');
    const added = objectFiles(bench, 'main').filter((file) => !before.has(file));
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
