/**
 * R54 R44 R56: bytes that are not what was written, anywhere: in a store, in dom0's cache, in its state. Each is found, named and mended, or its file
 * is named with what to do. A sample; `npm run rot` tries every byte, and prints what became of it.
 */

import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { init } from '../../dom0/commands/init.ts';
import { storageSync } from '../../dom0/commands/storage.ts';
import { status } from '../../dom0/commands/status.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { writeSchedule } from '../../dom0/schedule/schedule.ts';
import { isBackupError } from '../../shared/errors.ts';
import { objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { DamageBench, objectFiles, proveNamed } from '../support/damage-bench.ts';
import { Random } from '../support/random.ts';
import { FaultTable } from './table.ts';

/** Every byte, instead of a sample. */
const ALL = process.env['QIB_ROT'] === 'all';
const TIMEOUT = ALL ? 4 * 3600_000 : 120_000;

const table = new FaultTable();
afterAll(() => {
  if (ALL) process.stdout.write(`${table.lines.join('\n')}\n`);
});

const random = new Random(Number(process.env['QIB_SEED'] ?? 54));

/** Another content for a file that had `bytes`. */
type Damage = (bytes: Buffer) => Buffer;

const flip =
  (at: number, bits = 1 << random.below(8)): Damage =>
  (bytes) => {
    const wrong = Buffer.from(bytes);
    wrong[at % bytes.length]! ^= bits;
    return wrong;
  };

/** Beside a byte that is wrong. */
const OTHERS: readonly (readonly [string, (other: Buffer) => Damage])[] = [
  ['truncated', () => (bytes) => bytes.subarray(0, random.below(bytes.length))],
  ['emptied', () => () => Buffer.alloc(0)],
  ['zeroed', () => (bytes) => Buffer.alloc(bytes.length)],
  ['swapped', (other) => () => other],
];

/** Offsets into a file of `size` bytes: all of them, or some. */
const offsets = (size: number, some: number): readonly number[] =>
  Array.from({ length: ALL ? size : some }, (_, at) => (ALL ? at : random.below(size)));

function overwrite(file: string, bytes: Uint8Array): void {
  rmSync(file, { force: true }); // It may be read-only.
  writeFileSync(file, bytes);
}

/** Two VMs, three snapshots, in the stores that `settings` name. */
async function filled(...settings: readonly string[]): Promise<DamageBench> {
  const bench = new DamageBench();
  const { home } = bench;
  const content = new Random(7);
  home.configure('[backup]', 'spot_check_mib = 0', ...settings);
  createKeyFile(home.keyFile);
  await bench.run((app) => init(app, () => app.secrets()));
  for (const [number, vm] of ['work', 'vault'].entries()) home.identify(vm, number + 1);
  for (const path of ['a', 'b']) home.write('work', path, content.bytes(1_500));
  home.write('vault', 'secret', content.bytes(1_000));
  await bench.backUp('work');
  await bench.backUp('vault');
  home.write('work', 'b', content.bytes(1_500));
  await bench.backUp('work');
  return bench;
}

const TWO = ['[[storage]]', 'vm = "main"', '[[storage]]', 'vm = "second"'];
const sampleOf = (name: string) => (name.startsWith('work') ? ['a', 'b'] : ['secret']);

describe('R54: an object of the only store', () => {
  it(
    'whatever is wrong with it: what is named does not come back, and all else does',
    async () => {
      const bench = await filled();
      const ids = await bench.needed();
      for (const [round, id] of ids.entries()) {
        const file = bench.object(id);
        const [bytes, other] = [readFileSync(file), readFileSync(bench.object(ids.at(round - 1) ?? id))];
        const ways: [string, Damage][] = [...OTHERS].map(([name, make]) => [name, make(other)]);
        ways.push(['byte', flip(random.below(bytes.length))]);
        for (const [name, damage] of ALL ? ways : [ways[round % ways.length]!]) {
          overwrite(file, damage(bytes));
          bench.forgetCache();
          const { events } = await bench.check();
          // Without the catalog a check ends at once.
          if (events.some(({ event }) => event === 'checked'))
            expect(JSON.stringify(events)).toContain(id.slice(0, 16));
          await proveNamed(bench, sampleOf, events, `${name} object ${id.slice(0, 8)}`, round);
          table.count(`the only store's object: ${name}`);
        }
        overwrite(file, bytes);
      }
    },
    TIMEOUT,
  );
});

describe('R44: what one of two stores has', () => {
  it(
    'in objects: all that are wrong are named, and mended from the other',
    async () => {
      const bench = await filled(...TWO);
      const files = (await bench.needed()).map((id) => ({ id, file: bench.object(id) }));
      const whole = new Map(files.map(({ file }) => [file, readFileSync(file)]));
      const longest = Math.max(...[...whole.values()].map(({ length }) => length));
      const before = objectFiles(bench, 'main').length;
      const mend = async (fault: string, damage: (bytes: Buffer, other: Buffer) => Buffer) => {
        for (const [index, { file }] of files.entries())
          overwrite(file, damage(whole.get(file)!, whole.get(files.at(index - 1)!.file)!));
        bench.forgetCache();
        const { events } = await bench.check(true);
        const faults = events.filter(({ event }) => event === 'fault').map(({ text }) => String(text));
        for (const { id, file } of files) {
          const isNamed = faults.some((text) => text.includes(id.slice(0, 16)));
          const isMended = readFileSync(file).equals(whole.get(file)!);
          table.count(`one of two stores' object: ${fault}`, !isNamed || !isMended);
          expect([isNamed, isMended], `${fault}: ${id}`).toEqual([true, true]);
        }
        expect(events.filter(({ event, state }) => event === 'damage' && state !== 'repaired')).toEqual([]);
      };
      for (const at of offsets(longest, 2)) await mend('byte', (bytes) => flip(at)(bytes));
      for (const [fault, make] of OTHERS) await mend(fault, (bytes, other) => make(other)(bytes));
      expect(objectFiles(bench, 'main')).toHaveLength(before);
      for (const name of bench.states.keys()) expect(await bench.restores(name)).toBe(true);
    },
    TIMEOUT,
  );

  it(
    'for its root: that is named, and it gets the newest again',
    async () => {
      const bench = await filled(...TWO);
      const folder = join(bench.home.store, 'roots');
      const newest = () => join(folder, readdirSync(folder).sort().at(-1)!);
      const whole = readFileSync(newest());
      const older = readFileSync(join(folder, readdirSync(folder).sort()[0]!));
      const mend = async (fault: string, damage: Damage, how: (app: App) => Promise<void>) => {
        const file = newest();
        overwrite(file, damage(whole));
        const { app, output } = await bench.run(how);
        expect(output.lines.join('\n'), fault).toMatch(
          /warning: store main (has a damaged root|was rolled back): /,
        );
        expect(readFileSync(newest()).equals(whole), fault).toBe(true);
        expect(app.warnings).toBeGreaterThan(0);
        table.count(`one of two stores' root: ${fault}`);
        rmSync(newest());
        overwrite(file, whole);
      };
      const repair = async (app: App) => {
        await storageSync(app, 'main', false);
      };
      for (const at of offsets(whole.length, 6)) await mend('byte', flip(at), repair);
      for (const [fault, make] of OTHERS) await mend(fault, make(older), repair);
      overwrite(newest(), flip(100)(whole));
      const { events } = await bench.check(true);
      expect(events.filter(({ event }) => event === 'synced')).toMatchObject([{ store: 'main' }]);
      expect((await bench.check()).lines.filter((line) => line.startsWith('warning'))).toEqual([]);
    },
    TIMEOUT,
  );
});

it('R05: a damaged root of the only store is named with what to do', async () => {
  const bench = await filled();
  const folder = join(bench.home.store, 'roots');
  const file = join(folder, readdirSync(folder).sort().at(-1)!);
  overwrite(file, flip(200)(readFileSync(file)));
  const failed = await bench.run(status).catch((error: unknown) => error);
  expect(isBackupError(failed, 'store-damaged') && failed.message).toMatch(/\(in main\): .*"restore-root"/);
});

describe('R56: in dom0', () => {
  it(
    'the cache: it is fetched anew, and right afterwards',
    async () => {
      const bench = await filled();
      const folder = join(bench.home.state, 'cache');
      const all = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
      const needed = new Set(await bench.needed());
      const files = all
        .map((entry) => join(entry.parentPath, entry.name))
        .filter((file) => needed.has(basename(file) as ObjectId));
      expect(files.length).toBeGreaterThan(8);
      const whole = new Map(files.map((file) => [file, readFileSync(file)]));
      const mend = async (fault: string, damage: (bytes: Buffer, other: Buffer) => Buffer) => {
        for (const [index, file] of files.entries())
          overwrite(file, damage(whole.get(file)!, whole.get(files.at(index - 1)!)!));
        const { events } = await bench.check();
        expect(events.filter(({ event }) => event === 'fault')).toEqual([]);
        for (const name of bench.states.keys())
          expect(await bench.restores(name), `${fault}: ${name}`).toBe(true);
        for (const file of files) {
          const isRight = objectIdOf(readFileSync(file)) === basename(file);
          table.count(`cache: ${fault}`, !isRight);
          expect(isRight, `${fault}: ${file}`).toBe(true);
        }
      };
      for (const at of offsets(4_136, 1)) await mend('byte', (bytes) => flip(at)(bytes));
      for (const [fault, make] of OTHERS) await mend(fault, (bytes, other) => make(other)(bytes));
    },
    TIMEOUT,
  );

  it(
    'the state: the file is named with what to do, or it does not matter',
    async () => {
      const bench = await filled(...TWO);
      await bench.check();
      const when = { every: 'day', hour: 3, minute: 0 } as const;
      writeSchedule(bench.home.state, { when, onAc: true, vms: null, forget: false, check: 5, drill: 0 });
      await bench.run(async (app) => {
        app.defer(() => app.storage.abort());
        app.pin.writePending((await app.open()).root);
      });
      const { state } = bench.home;
      const names = ['pins/pin.json', 'pins/primary.json', 'pins/pending-root', 'pins/stores/main.json'];
      names.push('pins/stores/second.json', 'diary/backup.json', 'diary/check.json', 'schedule.json');
      const files = names.map((name) => join(state, name));
      const whole = new Map(files.map((file) => [file, readFileSync(file)]));
      for (const [index, file] of files.entries()) {
        const bytes = whole.get(file)!;
        const ways: [string, Damage][] = offsets(bytes.length, 6).map((at) => ['byte', flip(at)]);
        const other = whole.get(files.at(index - 2)!)!;
        for (const [name, make] of OTHERS) ways.push([name, make(other)]);
        for (const [fault, damage] of ways) {
          overwrite(file, damage(bytes));
          const done = await bench.run(status).catch((error: unknown) => error);
          const said = isBackupError(done, 'io') ? done.message : sayings(done);
          const isNamed = said.includes(`${file} is damaged: `) || said.includes(`${file} is whole, and not`);
          table.count(`state: ${fault}`, !isNamed);
          expect(isNamed, `${file}, ${fault}: ${said}`).toBe(true);
          for (const [each, right] of whole) overwrite(each, right);
        }
      }
      // Who does what it says goes on: each can be moved away.
      for (const file of files) rmSync(file);
      await bench.run(status);
      for (const name of bench.states.keys()) expect(await bench.restores(name)).toBe(true);
    },
    TIMEOUT,
  );
});

function sayings(done: unknown): string {
  return (done as Awaited<ReturnType<DamageBench['run']>>).output.lines.join('\n');
}
