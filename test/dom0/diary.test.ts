/** What dom0 remembers of its runs, and what it does where that is damaged. */

import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { forgetForever } from '../../dom0/commands/forget-forever.ts';
import { init } from '../../dom0/commands/init.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { readChecked } from '../../dom0/state/checked-file.ts';
import { Diary, diaryText } from '../../dom0/state/diary.ts';
import { newVmId } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { tempFolder } from '../support/temp.ts';

function open(folder: string) {
  const warnings: string[] = [];
  return { diary: new Diary(folder, (text) => warnings.push(text)), warnings };
}

const passed = { at: 5, snapshot: 2, result: 'passed', detail: '' } as const;

describe('the diary', () => {
  it('remembers the last entry of each kind and VM, for its owner alone', () => {
    const folder = tempFolder();
    const [one, other] = [newVmId(), newVmId()];
    const { diary, warnings } = open(folder);
    expect(diary.of(one)).toEqual({});
    diary.record('backup', [[one, { at: 1, snapshot: 1, warnings: 0, seconds: 0.5 }]]);
    diary.record('backup', [[one, { at: 2, snapshot: 2, warnings: 3, seconds: 0.5 }]]);
    diary.record(
      'check',
      [one, other].map((vm) => [vm, { at: 3, share: 2.5, faults: 0 }]),
    );
    diary.record('drill', [[other, passed]]);
    const again = open(folder).diary;
    expect(again.of(one)).toEqual({
      backup: { at: 2, snapshot: 2, warnings: 3, seconds: 0.5 },
      check: { at: 3, share: 2.5, faults: 0 },
    });
    expect(again.of(other)).toEqual({ check: { at: 3, share: 2.5, faults: 0 }, drill: passed });
    again.forget(one);
    expect([diary.of(one), diary.of(other).drill, warnings]).toEqual([{}, passed, []]);
    for (const name of readdirSync(join(folder, 'diary')))
      expect(statSync(join(folder, 'diary', name)).mode & 0o777, name).toBe(0o600);
  });

  it.each([
    ['no JSON', '{'],
    ['another shape', '[]'],
    ['an id that is none', JSON.stringify({ work: passed })],
    ['a field too many', JSON.stringify({ [newVmId()]: { ...passed, more: 1 } })],
    [
      'a text that no terminal should see',
      JSON.stringify({ [newVmId()]: { ...passed, detail: '\u001b[2J' } }),
    ],
  ])('that is damaged (%s) is empty, with one warning, and written anew', (_what, text) => {
    const folder = tempFolder();
    mkdirSync(join(folder, 'diary'));
    writeFileSync(join(folder, 'diary/drill.json'), text);
    const { diary, warnings } = open(folder);
    const vm = newVmId();
    expect([diary.of(vm), diary.of(vm)]).toEqual([{}, {}]);
    expect(warnings).toEqual([expect.stringContaining('diary/drill.json is damaged')]);
    diary.record('drill', [[vm, passed]]);
    expect(open(folder).diary.of(vm)).toEqual({ drill: passed });
  });

  it('that cannot be written fails nothing', () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'diary'), 'in the way');
    const { diary, warnings } = open(folder);
    diary.record('drill', [[newVmId(), passed]]);
    expect(warnings.join('\n')).toContain('this run is not remembered');
  });

  it('holds printable text of a bounded length only', () => {
    expect(diaryText('a\u001b[2J\né')).toBe('a?[2J??');
    expect(diaryText('x'.repeat(100_000))).toHaveLength(8192);
  });
});

describe('a run', () => {
  it('remembers what it backed up and checked', async () => {
    const home = new Home();
    for (const [index, name] of ['vault', 'work'].entries()) {
      home.write(name, 'notes', `of ${name}`);
      home.identify(name, index);
    }
    createKeyFile(home.keyFile);
    const run = (command: (app: App) => Promise<void>) =>
      runOver(new InProcessDomains(home.folder, () => Date.now() + 60_000), home, command);
    let repository: Repository | undefined;
    const idOf = (name: string) => repository?.vms.find((vm) => vm.name === name)?.id ?? newVmId();
    const of = (name: string) => open(home.state).diary.of(idOf(name));
    await run((app) => init(app, () => app.secrets()));
    await run((app) => backup(app, [], { all: true }));
    await run(async (app) => {
      repository = await app.open();
      await app.closeStorage();
    });
    const { backup: taken } = of('work');
    expect(taken).toMatchObject({ snapshot: 1, warnings: 0 });
    expect(Math.abs((taken?.at ?? 0) - Date.now())).toBeLessThan(60_000);
    await run((app) => backup(app, ['work']));
    await run((app) => check(app, 100));
    expect([of('work').backup?.snapshot, of('vault').backup?.snapshot]).toEqual([2, 1]);
    expect(of('vault').check).toMatchObject({ share: 100, faults: 0 });

    // What is lost of the objects of one VM counts as its own.
    const objects = join(home.store, 'objects');
    rmSync(objects, { recursive: true });
    mkdirSync(objects);
    await rejection(run((app) => check(app, 0)));
    expect(of('work').check?.faults).toBeGreaterThan(0);
  });

  it('forgets what is forgotten for ever', async () => {
    const home = new Home();
    home.write('work', 'notes', 'text');
    home.identify('work');
    createKeyFile(home.keyFile);
    const run = (command: (app: App) => Promise<void>) =>
      runOver(new InProcessDomains(home.folder, () => Date.now() + 60_000), home, command);
    await run((app) => init(app, () => app.secrets()));
    await run((app) => backup(app, ['work']));
    const file = join(home.state, 'diary/backup.json');
    const names = () => Object.keys(readChecked(file, z.looseObject({}), 'none') ?? {});
    expect(names()).toHaveLength(1);
    const options = { id: undefined, drop: true };
    await run((app) => forgetForever(app, 'work', options, () => Promise.resolve()));
    expect(names()).toEqual([]);
  });
});
