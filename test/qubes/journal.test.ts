/** R30, R50: what the driver is about to do is on disk before it is done, and a later run undoes it. */

import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions, StepKind } from '../../dom0/domains/qubes/journal.ts';
import { BackupError } from '../../shared/errors.ts';
import { rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';

/** A world of things that are made and removed, and a kind of step that makes one. */
function world() {
  const things = new Set<string>();
  const undone: string[] = [];
  const stuck = new Set<string>();
  const kind: StepKind<{ thing: string }> = {
    name: 'thing',
    schema: z.strictObject({ thing: z.string() }),
    survivesReboot: true,
    undo: ({ thing }) => {
      if (stuck.has(thing)) throw new BackupError('io', `cannot remove ${thing}`);
      undone.push(thing);
      const outcome = things.delete(thing) ? 'undone' : 'nothing';
      return Promise.resolve({ outcome, line: `removed ${thing}` });
    },
  };
  return { things, undone, stuck, kind };
}

function journalIn(folder: string, kinds: readonly StepKind<{ thing: string }>[], options?: JournalOptions) {
  const journal = new Journal(folder, options);
  for (const kind of kinds) journal.register(kind);
  return journal;
}

describe('a transaction', () => {
  it('is undone before those that began before it, also where the clock went back between them', async () => {
    const { kind, undone } = world();
    const folder = tempFolder();
    const begin = async (journal: Journal, thing: string) => {
      const transaction = journal.begin();
      await transaction.write(kind, { thing });
    };
    const journal = journalIn(folder, [kind]);
    await begin(journal, 'first');
    vi.useFakeTimers({ now: Date.now() - 365 * 86_400_000, toFake: ['Date'] });
    try {
      await begin(journal, 'second');
      await begin(journalIn(folder, [kind]), 'third'); // Of another process.
    } finally {
      vi.useRealTimers();
    }
    await journalIn(folder, [kind]).cleanUp();
    expect(undone).toEqual(['third', 'second', 'first']);
  });

  it('is on disk before the step is done, private, and gone when committed', async () => {
    const folder = join(tempFolder(), 'journal');
    const { kind } = world();
    const transaction = journalIn(folder, [kind]).begin();
    expect(readdirSync(folder)).toEqual([]);
    await transaction.write(kind, { thing: 'a' });
    const [file = ''] = readdirSync(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(join(folder, file), 'utf8'))).toMatchObject({
      version: 1,
      steps: [{ kind: 'thing', data: { thing: 'a' } }],
    });
    await transaction.commit();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is undone from its newest step to its oldest, and again without harm', async () => {
    const { kind, things, undone } = world();
    const folder = tempFolder();
    const transaction = journalIn(folder, [kind]).begin();
    for (const thing of ['a', 'b', 'c']) {
      await transaction.write(kind, { thing });
      if (thing !== 'b') things.add(thing);
    }
    expect(await transaction.rollBack()).toEqual(['removed c', 'removed a']);
    expect(undone).toEqual(['c', 'b', 'a']);
    expect(await transaction.rollBack()).toEqual([]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('takes back nothing that a step which resists was built on', async () => {
    const { kind, things, undone, stuck } = world();
    const folder = tempFolder();
    const journal = journalIn(folder, [kind]);
    const transaction = journal.begin();
    for (const thing of ['a', 'b', 'c']) {
      await transaction.write(kind, { thing });
      things.add(thing);
    }
    stuck.add('b');
    expect((await rejection(transaction.rollBack())).message).toBe('cannot remove b');
    expect(undone).toEqual(['c']);
    expect(await journal.cleanUp()).toEqual(['cannot remove b']);
    stuck.clear();
    expect(await journal.cleanUp()).toEqual(['removed b', 'removed a']);
  });

  it('replaces the data of a step while it is under way', async () => {
    const { kind, things } = world();
    const folder = tempFolder();
    const transaction = journalIn(folder, [kind]).begin();
    const change = await transaction.write(kind, { thing: 'a' });
    await change({ thing: 'b' });
    things.add('a').add('b');
    expect(await journalIn(folder, [kind]).cleanUp()).toEqual(['removed b']);
    await transaction.commit();
    expect((await rejection(change({ thing: 'c' }))).code).toBe('internal');
  });

  it('checks the data of a step before it is written', async () => {
    const { kind } = world();
    const folder = tempFolder();
    const transaction = journalIn(folder, [kind]).begin();
    await expect(
      transaction.write(kind, JSON.parse('{ "thing": "a", "more": 1 }') as { thing: string }),
    ).rejects.toThrow();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('cleanUp', () => {
  it('undoes what dead runs left, the newest transaction first, and leaves alone what is under way', async () => {
    const { kind, things } = world();
    const folder = tempFolder();
    const dead = journalIn(folder, [kind]);
    for (const thing of ['a', 'b', 'c']) {
      await dead.begin().write(kind, { thing });
      things.add(thing);
    }
    const journal = journalIn(folder, [kind]);
    await journal.begin().write(kind, { thing: 'mine' });
    things.add('mine');
    expect(await journal.cleanUp()).toEqual(['removed c', 'removed b', 'removed a']);
    expect([...things]).toEqual(['mine']);
    expect(await journal.cleanUp()).toEqual([]);
  });

  it('goes on after one that resists, and names it each time', async () => {
    const { kind, things, stuck } = world();
    const folder = tempFolder();
    const dead = journalIn(folder, [kind]);
    for (const thing of ['a', 'b']) {
      await dead.begin().write(kind, { thing });
      things.add(thing);
    }
    stuck.add('b');
    expect(await journalIn(folder, [kind]).cleanUp()).toEqual(['cannot remove b', 'removed a']);
    expect(await journalIn(folder, [kind]).cleanUp()).toEqual(['cannot remove b']);
  });

  it('names what the system refuses, and goes on', async () => {
    const { kind } = world();
    const folder = tempFolder();
    const refused: StepKind<{ thing: string }> = {
      ...kind,
      undo: () => Promise.reject(Object.assign(new Error('EBUSY: busy'), { code: 'EBUSY' })),
    };
    await journalIn(folder, [refused]).begin().write(refused, { thing: 'a' });
    expect(await journalIn(folder, [refused]).cleanUp()).toEqual(['cannot undo the step thing: EBUSY: busy']);
    const mistaken = { ...kind, undo: () => Promise.reject(new TypeError('a mistake')) };
    await expect(journalIn(folder, [mistaken]).cleanUp()).rejects.toThrow(TypeError);
  });

  it('says so of what it does not know, cannot read, or did not write, and touches none of it', async () => {
    const { kind, things } = world();
    const folder = tempFolder();
    const other: StepKind<{ thing: string }> = { ...kind, name: 'newer' };
    const dead = journalIn(folder, [kind, other]);
    await dead.begin().write(other, { thing: 'a' });
    const journal = journalIn(folder, [kind]);
    const name = (digit: string) => `${digit.repeat(16)}-01234567.json`;
    writeFileSync(join(folder, name('9')), 'no JSON');
    writeFileSync(
      join(folder, name('8')),
      '{"version":1,"steps":[{"kind":"thing","boot":"","data":{"x":1}}]}',
    );
    writeFileSync(join(folder, name('7')), '{"version":2,"steps":[]}');
    writeFileSync(join(folder, 'notes'), '');
    writeFileSync(join(folder, `${name('9')}.17.tmp`), 'cut sh');
    things.add('a');
    const before = readdirSync(folder).filter((file) => !file.endsWith('.tmp'));
    const lines = await journal.cleanUp();
    expect(lines).toHaveLength(5);
    expect(lines.join('\n')).toMatch(/notes alone: it is not a part/);
    expect(lines.join('\n')).toMatch(/of the kind newer, which this version does not know/);
    expect(lines.filter((line) => line.includes('is damaged'))).toHaveLength(3);
    expect(readdirSync(folder)).toEqual(before);
    expect([...things]).toEqual(['a']);
  });

  it('does not look for what a restart of the machine has ended', async () => {
    const { kind, undone } = world();
    const folder = tempFolder();
    const fleeting = { ...kind, survivesReboot: false };
    await journalIn(folder, [fleeting], { boot: 'one' }).begin().write(fleeting, { thing: 'a' });
    expect(await journalIn(folder, [fleeting], { boot: 'two' }).cleanUp()).toEqual([]);
    expect(undone).toEqual([]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('tells of each change after it is on disk', async () => {
    const { kind } = world();
    const folder = tempFolder();
    const seen: string[] = [];
    const journal = journalIn(folder, [kind], {
      after: ({ change }) => {
        seen.push(`${change} ${readdirSync(folder).length}`);
        return Promise.resolve();
      },
    });
    const transaction = journal.begin();
    await transaction.write(kind, { thing: 'a' });
    await transaction.write(kind, { thing: 'b' });
    await transaction.rollBack();
    await transaction.write(kind, { thing: 'c' });
    await transaction.commit();
    expect(seen).toEqual(['written 1', 'written 1', 'undone 1', 'undone 0', 'written 1', 'committed 0']);
  });

  it('refuses two kinds of one name', () => {
    const { kind } = world();
    expect(() => journalIn(tempFolder(), [kind, kind])).toThrow('two kinds of steps');
  });
});
