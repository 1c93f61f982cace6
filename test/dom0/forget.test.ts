/** R53: snapshots that no rule keeps are dropped, and nothing of those that are kept. */

import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { forget } from '../../dom0/commands/forget.ts';
import type { ForgetOptions } from '../../dom0/commands/forget.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { forgetSnapshots } from '../../dom0/repository/forget-snapshots.ts';
import { neededObjects } from '../../dom0/repository/live-objects.ts';
import { addRetentionCommands } from '../../dom0/retention-commands.ts';
import type { GlobalOptions } from '../../dom0/run.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  volumeOf,
  writerFor,
} from '../support/repository-bench.ts';

/** What each snapshot of a history refers to, by its number. */
async function contents(machine: Machine): Promise<Map<number, readonly number[]>> {
  const history = await historyFor(await machine.open());
  const found = new Map<number, readonly number[]>();
  for await (const { snapshot, live } of history.snapshotsWithLive()) found.set(snapshot.number, [...live]);
  expect([...found.keys()].reverse()).toEqual((await history.entries()).map(({ number }) => number));
  return found;
}

/** One snapshot of a new content blob, a new tree, and each blob of its base of which `keeps` says so. */
async function commitOne(machine: Machine, keeps: (blob: number) => boolean, partial = false): Promise<void> {
  const writer = await writerFor(await machine.open());
  const content = await appendBlob(writer, 'content');
  const top = await appendBlob(writer, 'tree', 'tree');
  if (partial) await writer.checkpoint(volumeOf(top), writer.history.table.next);
  else await commitVolume(writer, top, [...[...writer.baseLive].filter(keeps), content, top]);
}

async function drop(machine: Machine, numbers: ReadonlySet<number>): Promise<void> {
  const repository = await machine.open();
  await forgetSnapshots(repository, await historyFor(repository), numbers, Date.now);
}

describe('R53: dropped snapshots', () => {
  it('leave all others with exactly what they had, and so the history can go on', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), { minLength: 1, maxLength: 7 }),
        fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
        fc.boolean(),
        async (generations, choices, partial) => {
          const machine = new Machine(storeFolder());
          await machine.create();
          for (const keeps of generations) await commitOne(machine, (blob) => keeps[blob % 8] === true);
          if (partial) await commitOne(machine, () => true, true);
          const before = await contents(machine);
          const newest = Math.max(...before.keys());
          const dropped = new Set([...before.keys()].filter((n) => n !== newest && choices[n - 1] === true));
          await drop(machine, dropped);
          const after = new Map([...before].filter(([number]) => !dropped.has(number)));
          expect(await contents(machine)).toEqual(after);
          await commitOne(machine, () => true);
          const last = new Map(await contents(machine));
          if (!partial) last.delete(newest + 1);
          else {
            last.delete(newest);
            after.delete(newest);
          }
          expect(last).toEqual(after);
        },
      ),
      { numRuns: 12 },
    );
  });

  it('are never the newest, and the order of groups of snapshots stays', async () => {
    const machine = new Machine(storeFolder());
    await machine.create();
    for (let i = 0; i < 67; i++) await commitOne(machine, (blob) => blob % 3 === 0);
    expect((await rejection(drop(machine, new Set([67])))).code).toBe('internal');
    const before = await contents(machine);
    const dropped = new Set([2, 3, 64, 65, 66]);
    await drop(machine, dropped);
    const repository = await machine.open();
    expect((await historyFor(repository)).record.segments).toEqual([]); // 62 are left.
    expect(await contents(machine)).toEqual(new Map([...before].filter(([n]) => !dropped.has(n))));
  });
});

/** A home with two VMs of four snapshots each; every snapshot adds a file and keeps the ones before. */
async function twoVms(): Promise<Home> {
  const home = new Home();
  createKeyFile(home.keyFile);
  for (const [index, vm] of ['vault', 'work'].entries()) {
    home.write(vm, 'file', 'content');
    home.identify(vm, index);
  }
  await run(home, (app) => init(app, () => app.secrets()));
  for (let i = 0; i < 4; i++) {
    for (const vm of ['vault', 'work']) home.write(vm, `file-${i}`, randomBytes(20_000));
    await run(home, (app) => backup(app, [], { all: true }));
  }
  return home;
}

function run(home: Home, command: (app: App) => Promise<void>) {
  const domains = new InProcessDomains(home.folder, () => Date.now() + 60_000);
  return runOver(domains, home, command);
}

const forgetIn = (home: Home, names: readonly string[], options: ForgetOptions) =>
  run(home, (app) => forget(app, names, options));

const NO_OPTIONS: GlobalOptions = { json: false, yes: false };

/** What the command said of each snapshot: `vm number kept|dropped reasons`. */
async function decisionsOf(home: Home, names: readonly string[], options: ForgetOptions): Promise<string[]> {
  const { output } = await forgetIn(home, names, options);
  return output.events
    .filter(({ event }) => event === 'retention')
    .map(({ vm, snapshot, kept, reasons }) =>
      [vm, snapshot, kept === true ? 'kept' : 'dropped', ...(reasons as string[])].join(' '),
    );
}

describe('R53: forget', () => {
  it('says of each snapshot what becomes of it and why, and a dry run changes nothing', async () => {
    const home = await twoVms();
    const expected = ['vault 1 dropped', 'vault 2 dropped', 'vault 3 kept last', 'vault 4 kept last'];
    expect(await decisionsOf(home, ['vault'], { rules: { last: 2 }, dryRun: true })).toEqual(expected);
    expect(await decisionsOf(home, ['vault'], { rules: { last: 2 }, yes: true })).toEqual(expected);
    expect(await decisionsOf(home, [], { rules: { last: 1 }, dryRun: true })).toEqual([
      'vault 3 dropped',
      'vault 4 kept last',
      ...['work 1 dropped', 'work 2 dropped', 'work 3 dropped', 'work 4 kept last'],
    ]);
  });

  it('tells storage of all that is still needed, and of nothing else', async () => {
    const home = await twoVms();
    const { output } = await forgetIn(home, [], { rules: { last: 2 }, yes: true });
    expect(output.lines.join('\n')).toContain('Forgot 4 snapshots');
    const needed = new Set<string>();
    let listed: readonly string[] | null = null;
    await run(home, async (app) => {
      await app.lock();
      const repository = await app.open();
      listed = repository.root.body.live;
      for await (const id of neededObjects(repository)) needed.add(id);
      await app.closeStorage();
    });
    expect(listed).not.toBeNull();
    const objects = readdirSync(join(home.folder, 'storage'), {
      recursive: true,
      withFileTypes: true,
    }).filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name));
    const dead = objects.filter(({ name }) => !needed.has(name));
    expect(dead.length).toBeGreaterThan(4);
    for (const { parentPath, name } of dead) rmSync(join(parentPath, name), { force: true });
    await run(home, (app) => check(app, 100, false));
    await run(home, (app) => restore(app, 'work@3', 'copy'));
    expect(readdirSync(home.volume('copy')).sort()).toEqual(['file', 'file-0', 'file-1', 'file-2']);
    await run(home, (app) => backup(app, ['work']));
  });

  it('follows the configuration, of which one table holds as a whole, and leaves alone what has no rule', async () => {
    const home = await twoVms();
    const at = (tables: string) => {
      writeFileSync(join(home.folder, 'config.toml'), tables);
      return decisionsOf(home, [], { dryRun: true });
    };
    expect(await at('[vm.work.keep]\nlast = 4\n')).toEqual([1, 2, 3, 4].map((n) => `work ${n} kept last`));
    expect(await at('[backup.keep]\nlast = 3\nyearly = 9\n[vm.work.keep]\nlast = 1\n')).toEqual([
      'vault 1 kept oldest, yearly',
      'vault 2 kept last',
      'vault 3 kept last',
      'vault 4 kept last yearly',
      ...['work 1 dropped', 'work 2 dropped', 'work 3 dropped', 'work 4 kept last'],
    ]);
    writeFileSync(join(home.folder, 'config.toml'), '');
    expect((await rejection(forgetIn(home, [], {}))).code).toBe('usage');
    expect((await rejection(forgetIn(home, ['vaul'], { rules: { last: 1 } }))).message).toContain('vault');
  });

  it('takes its rules from the command line', async () => {
    const home = await twoVms();
    const said = async (...words: readonly string[]) => {
      const program = new Command('qubes-backup')
        .option('--yes', '', false) // As that of all commands.
        .exitOverride()
        .configureOutput({ writeErr: () => undefined });
      const events: (readonly string[])[] = [];
      addRetentionCommands(program, async (work) => {
        const { output } = await run(home, (app) => work(app, { ...NO_OPTIONS, ...program.opts() }));
        for (const { event, reasons } of output.events)
          if (event === 'retention') events.push(reasons as string[]);
      });
      for (const command of program.commands)
        command.exitOverride().configureOutput({ writeErr: () => undefined });
      await program.parseAsync(['forget', ...words], { from: 'user' });
      return events;
    };
    expect(await said('vault', '--keep-last', '2', '--dry-run')).toEqual([[], [], ['last'], ['last']]);
    const within = await said('vault', '--keep-within', '30d', '--keep-yearly', '1', '--dry-run');
    expect(within).toEqual([['within'], ['within'], ['within'], ['yearly', 'within']]);
    expect(await said('vault', '--keep-last', '1', '--yes')).toEqual([[], [], [], ['last']]);
    expect(await said('vault', '--keep-last', '1', '--yes')).toEqual([['last']]);
    for (const wrong of [
      ['--keep-last', '0'],
      ['--keep-daily', 'x'],
      ['--keep-within', '3 days'],
    ])
      await expect(said(...wrong)).rejects.toThrow('invalid');
  });

  it('refuses where nobody can be asked, and drops nothing', async () => {
    const home = await twoVms();
    const refused = await rejection(forgetIn(home, [], { rules: { last: 1 } }));
    expect(refused).toMatchObject({ code: 'usage' });
    expect(refused.message).toContain('--yes');
    expect(await decisionsOf(home, ['work'], { rules: { last: 4 }, dryRun: true })).toHaveLength(4);
  });
});
