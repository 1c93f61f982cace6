/** R53, R55: what people and runs say of snapshots, what the rules of `forget` make of it, and when it is frozen. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { forget } from '../../dom0/commands/forget.ts';
import { init } from '../../dom0/commands/init.ts';
import { list } from '../../dom0/commands/list.ts';
import {
  acknowledge,
  noteSnapshot,
  parseTags,
  tagSnapshot,
  untagSnapshot,
} from '../../dom0/commands/marks.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import type { SnapshotEntry } from '../../dom0/repository/records.ts';
import { replaceEntries } from '../../dom0/repository/snapshot-segments.ts';
import { perform } from '../../dom0/request/perform.ts';
import { Rates } from '../../dom0/request/rates.ts';
import { addSnapshotCommands } from '../../dom0/snapshot-commands.ts';
import { parseVmName } from '../../shared/ids.ts';
import { failure, rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';

const work = parseVmName('work');

function run(home: Home, command: (app: App) => Promise<void>) {
  return runOver(new InProcessDomains(home.folder, () => Date.now() + 60_000), home, command);
}

/** A home with the VM `work` of so many files, and one snapshot of it. */
async function homeOf(files: number): Promise<Home> {
  const home = new Home();
  createKeyFile(home.keyFile);
  for (let i = 0; i < files; i++) home.write('work', `file-${i}`, `content ${i}`);
  home.identify('work');
  await run(home, (app) => init(app, () => app.secrets()));
  await run(home, (app) => backup(app, ['work']));
  return home;
}

/** What `list` says of each snapshot beside its counts. */
async function marksOf(home: Home) {
  const { output } = await run(home, (app) => list(app, undefined));
  return output.events
    .filter(({ event }) => event === 'snapshot')
    .map(({ tags, note, requested, anomaly }) => ({ tags, note, requested, anomaly }));
}

async function keptBy(home: Home, rules: Parameters<typeof forget>[2]['rules']) {
  const { app, output } = await run(home, (app) => forget(app, [], { rules, dryRun: true }));
  const decisions = output.events
    .filter(({ event }) => event === 'retention')
    .map(({ snapshot, reasons }) => [snapshot, ...(reasons as string[])].join(' '));
  return { decisions, warnings: app.warnings, output };
}

const PLAIN = { tags: [], note: '', requested: false, anomaly: null };

describe('R53: tags and notes', () => {
  it('are put, shown, kept by rules, and taken off; a backup may come with them', async () => {
    const home = await homeOf(1);
    await run(home, (app) => backup(app, ['work'], { tags: ['b', 'a', 'b'] }));
    await run(home, (app) => backup(app, ['work']));
    await run(home, (app) => tagSnapshot(app, 'work', '1', ['z', 'a']));
    await run(home, (app) => tagSnapshot(app, 'work', 'latest', ['x']));
    await run(home, (app) => untagSnapshot(app, 'work', '3', ['x']));
    await run(home, (app) => noteSnapshot(app, 'work', '1', 'before the "upgrade"'));
    expect(await marksOf(home)).toEqual([
      { ...PLAIN, tags: ['a', 'z'], note: 'before the "upgrade"' },
      { ...PLAIN, tags: ['a', 'b'] },
      PLAIN,
    ]);
    const { output } = await run(home, (app) => list(app, 'work'));
    expect(output.lines.join('\n')).toMatch(/tags a z, "before the "upgrade""/);
    expect((await keptBy(home, { tags: [['a']] })).decisions).toEqual(['1 tag a', '2 tag a', '3 newest']);
    expect((await keptBy(home, { tags: [['a', 'z'], ['q']] })).decisions).toEqual([
      '1 tag a,z',
      '2',
      '3 newest',
    ]);
    await run(home, (app) => forget(app, [], { rules: { tags: [['z']] }, yes: true }));
    await run(home, (app) => noteSnapshot(app, 'work', '1', ''));
    expect(await marksOf(home)).toEqual([{ ...PLAIN, tags: ['a', 'z'] }, PLAIN]);
  });

  it('are refused where they are none, and where there is nothing to mark', async () => {
    const home = await homeOf(1);
    for (const wrong of ['', '-a', 'a b', 'ä', 'a,b', 'x'.repeat(33)])
      expect(failure(() => parseTags([wrong])).code).toBe('usage');
    expect(failure(() => parseTags(Array.from({ length: 17 }, (_, i) => `t${i}`))).code).toBe('usage');
    const refused = async (command: (app: App) => Promise<void>) =>
      (await rejection(run(home, command))).code;
    expect(await refused((app) => noteSnapshot(app, 'work', '1', 'line\nline'))).toBe('usage');
    expect(await refused((app) => noteSnapshot(app, 'work', '1', 'x'.repeat(513)))).toBe('usage');
    expect(await refused((app) => untagSnapshot(app, 'work', '1', ['none']))).toBe('usage');
    expect(await refused((app) => tagSnapshot(app, 'work', '7', ['a']))).toBe('unknown-snapshot');
    expect(await refused((app) => tagSnapshot(app, 'wor', '1', ['a']))).toBe('unknown-vm');
    expect(await refused((app) => backup(app, ['work'], { tags: ['a b'] }))).toBe('usage');
    expect(await marksOf(home)).toEqual([PLAIN]);
  });

  it('reach snapshots in full groups, and only those are stored again', async () => {
    const machine = new Machine(storeFolder());
    await machine.create();
    for (let i = 0; i < 130; i++) {
      const writer = await writerFor(await machine.open());
      const top = await appendBlob(writer, 'tree', 'tree');
      await commitVolume(writer, top, [top]);
    }
    const edit = async (number: number, change: Partial<SnapshotEntry>) => {
      const repository = await machine.open();
      const history = await historyFor(repository);
      const before = await history.entries();
      const after = before.map((entry) => (entry.number === number ? { ...entry, ...change } : entry));
      await replaceEntries(repository, history, before, after, Date.now);
      const next = await historyFor(await machine.open());
      expect(await next.entries()).toEqual(after);
      return [history, next].map(({ record }) => record.segments.map(({ object }) => object));
    };
    const [first, second] = await edit(70, { tags: ['a'], note: 'in the second group' });
    expect(second).toHaveLength(2);
    expect([second![0] === first![0], second![1] === first![1]]).toEqual([true, false]);
    const [, third] = await edit(129, { note: 'in the head' });
    expect(third).toEqual(second);
    const [, fourth] = await edit(1, { tags: ['b'] });
    expect([fourth![0] === third![0], fourth![1] === third![1]]).toEqual([false, false]);
  }, 60_000);

  it('have commands', async () => {
    const home = await homeOf(1);
    const program = new Command('qubes-backup').exitOverride();
    addSnapshotCommands(program, async (work) => {
      await run(home, (app) => work(app, { json: false, yes: false }));
    });
    const say = (...words: string[]) => program.parseAsync(words, { from: 'user' });
    await say('tag', 'work', 'latest', 'a', 'b');
    await say('untag', 'work', '1', 'a');
    await say('note', 'work', '1', 'a note');
    await say('acknowledge', 'work');
    expect(await marksOf(home)).toEqual([{ ...PLAIN, tags: ['b'], note: 'a note' }]);
  });
});

describe('R53: snapshots that a VM asked for', () => {
  it('are marked, and push none of the owner’s out', async () => {
    const home = await homeOf(1);
    await run(home, (app) => backup(app, ['work']));
    for (let i = 0; i < 3; i++) {
      const rates = new Rates(join(home.folder, 'state'), () => ({ boot: 'one', milliseconds: 0 }));
      await run(home, async (app) => {
        expect((await perform(app, rates, work, { action: 'backup' })).ok).toBe(true);
      });
    }
    expect((await marksOf(home)).map(({ requested }) => requested)).toEqual([false, false, true, true, true]);
    expect((await keptBy(home, { last: 2 })).decisions).toEqual([
      ...['1 last', '2 last', '3', '4 requested, last', '5 requested, last'],
    ]);
    expect((await keptBy(home, { yearly: 1 })).decisions).toEqual([
      '1',
      '2 yearly',
      '3',
      '4',
      '5 requested, yearly',
    ]);
  });
});

describe('R55: after much was deleted or rewritten', () => {
  it('nothing of the VM is forgotten until a person has acknowledged it, on any machine', async () => {
    const home = await homeOf(120);
    for (let i = 0; i < 60; i++) rmSync(join(home.volume('work'), `file-${i}`));
    for (let i = 60; i < 110; i++) home.write('work', `file-${i}`, 'encrypted');
    const { app, output } = await run(home, (app) => backup(app, ['work']));
    expect(app.warnings).toBe(1);
    const anomaly = { files: 120, deleted: 60, rewritten: 50, acknowledged: false };
    expect(output.events.find(({ event }) => event === 'backup')).toMatchObject({
      ...{ newFiles: 0, changedFiles: 50, rewrittenFiles: 50, deletedFiles: 60, anomaly },
    });
    await run(home, (app) => backup(app, ['work']));
    rmSync(join(home.folder, 'state'), { recursive: true }); // Another machine knows nothing but the store.
    const frozen = await keptBy(home, { last: 1 });
    expect(frozen).toMatchObject({ decisions: ['1 frozen', '2 frozen', '3 frozen'], warnings: 1 });
    const said = frozen.output.events.find(({ event }) => event === 'warning')?.['text'];
    expect(said).toMatch(
      /^work: nothing is forgotten: of 120 files, snapshot 2 has 60 no more and 50 with other/,
    );
    expect(said).toMatch(/acknowledge work"$/);
    await run(home, (app) => forget(app, [], { rules: { last: 1 }, yes: true }));
    expect(await marksOf(home)).toHaveLength(3);
    await run(home, (app) => acknowledge(app, 'work'));
    expect((await marksOf(home))[1]).toEqual({ ...PLAIN, anomaly: { ...anomaly, acknowledged: true } });
    expect(await keptBy(home, { last: 1 })).toMatchObject({ decisions: ['1', '2', '3 last'], warnings: 0 });
    await run(home, (app) => forget(app, [], { rules: { last: 1 }, yes: true }));
    expect(await marksOf(home)).toEqual([PLAIN]);
    await run(home, (app) => acknowledge(app, 'work'));
  });
});
