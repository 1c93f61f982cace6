/** R57: what snapshots hold and how they differ, through the command line. */

import {
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { init } from '../../dom0/commands/init.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { Home } from '../support/home.ts';
import type { Event, Result } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import { backUp } from '../support/lies.ts';
import { makeTemp, removeTree } from '../support/temp.ts';

const NOW = new Date('2026-01-02T03:04:05Z');

const named = (result: Result, name: string): Event[] => result.events.filter(({ event }) => event === name);
const paths = (result: Result): unknown[] => named(result, 'entry').map(({ path }) => path);
const changes = (result: Result): string[] =>
  named(result, 'difference').map(({ change, path, fields }) =>
    [change, path, ...(fields as string[])].join(' '),
  );

describe('R57: three snapshots', () => {
  let home: Home;
  const at = (path: string) => join(home.volume('work'), path);
  const write = (path: string, text: string) => {
    writeFileSync(at(path), text);
    utimesSync(at(path), NOW, NOW);
  };

  beforeAll(async () => {
    home = new Home({ folder: makeTemp() });
    createKeyFile(home.keyFile);
    await runInProcess(home, (app) => init(app, () => app.secrets()));
    home.identify('work');
    mkdirSync(at('docs/old'), { recursive: true });
    write('docs/a.txt', 'first');
    write('docs/b.TXT', 'stays');
    write('docs/old/gone.txt', 'gone');
    write('big', 'x'.repeat(20_000));
    write('esc\x1b[31m', 'escape');
    symlinkSync('docs/a.txt', at('link'));
    write('one', 'linked');
    linkSync(at('one'), at('two'));
    await runInProcess(home, backUp);
    write('docs/a.txt', 'second!');
    chmodSync(at('docs/b.TXT'), 0o600);
    rmSync(at('docs/old'), { recursive: true });
    write('new', 'new');
    rmSync(at('link'));
    mkdirSync(at('link'));
    await runInProcess(home, backUp);
    rmSync(at('docs/a.txt'));
    await runInProcess(home, backUp);
  });
  afterAll(() => removeTree(home.folder));

  it('ls shows marks and sizes, as lines and as objects', async () => {
    const listed = await home.expectRun(0, 'ls', 'work@1');
    expect(paths(listed)).toEqual(['big', 'docs', 'esc\\x1b[31m', 'link', 'one', 'two']);
    expect(named(listed, 'entry')[0]).toMatchObject({ type: 'file', size: 20_000, linked: false, flags: [] });
    expect(named(listed, 'entry')[4]).toMatchObject({ linked: true, doubtful: false, unreadable: false });
    const lines = (await home.runWith(['--key-file', home.keyFile], 'ls', 'work@1')).stdout.split('\n');
    expect(lines[2]).toMatch(/^-rw-r--r-- +[0-9]+:[0-9]+ +6 {2}20[0-9-]+ [0-9:]+ {2}esc\\x1b\[31m$/);
    expect(lines[4]).toMatch(/^-rw-r--r-- = {2}/);
  });

  it('find meets every condition', async () => {
    const found = async (...args: string[]) => paths(await home.expectRun(0, 'find', 'work@1', ...args));
    expect(await found('--name', '*.txt', '--name', '*.TXT', '--path', 'docs/*')).toEqual([
      'docs/a.txt',
      'docs/b.TXT',
    ]);
    expect(await found('docs', '--type', 'd')).toEqual(['docs', 'docs/old']);
    expect(await found('--size', '+3', '--size', '-6', '--older', '2026-01-02T03:04:06Z')).toEqual([
      'docs/a.txt',
      'docs/b.TXT',
      'docs/old/gone.txt',
    ]);
    expect(await found('--name', 'esc\\x1b*')).toEqual(['esc\\x1b[31m']);
    expect(await found('--doubtful')).toEqual([]);
    expect((await home.run('find', 'work', 'nowhere')).event('error')).toMatchObject({
      code: 'unknown-path',
    });
    expect((await home.run('find', 'work', '--size', '1x')).code).toBe(2);
  });

  it('diff tells snapshots apart, in either direction', async () => {
    const forward = await home.expectRun(0, 'diff', 'work@1', 'work@2');
    expect(changes(forward)).toEqual([
      'metadata  mtime',
      'metadata docs mtime',
      'modified docs/a.txt content',
      'metadata docs/b.TXT mode',
      'removed docs/old',
      'removed docs/old/gone.txt',
      'type link',
      'added new',
    ]);
    expect(named(forward, 'difference')[2]).toMatchObject({
      before: { type: 'file', size: 5 },
      after: { type: 'file', size: 7 },
    });
    expect(forward.event('differences')).toMatchObject({
      before: 1,
      after: 2,
      added: 1,
      addedBytes: 3,
      removed: 2,
      removedBytes: 4,
      modified: 1,
      metadata: 3,
      type: 1,
      leftOut: 0,
    });
    expect(changes(await home.expectRun(0, 'diff', 'work', '@1'))).toContain('added docs/old/gone.txt');
    expect(changes(await home.expectRun(0, 'diff', 'work@1', 'work@1'))).toEqual([]);
    const text = await home.runWith(['--key-file', home.keyFile], 'diff', 'work@1', '@2');
    expect(text.stdout.split('\n')).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^M {2}5 B -> 7 B +docs\/a\.txt$/),
        expect.stringMatching(/^m {2}mode +docs\/b\.TXT$/),
        expect.stringMatching(/^T {2}symlink -> directory +link$/),
        expect.stringMatching(/^\+ {2}3 B +new$/),
        expect.stringMatching(
          /^1 added \(3 B\), 2 removed \(4 B\), 1 modified, 3 in metadata only, 1 of another type$/,
        ),
      ]),
    );
    expect((await home.run('diff', 'work@1', 'vault@2')).code).toBe(2);
    expect((await home.run('diff', 'work@1', '@2', '--content')).code).toBe(2);
  });

  it('history tells each version of a path, and where there was none', async () => {
    const versions = async (path: string) =>
      named(await home.expectRun(0, 'history', 'work', path), 'version').map(
        ({ from, to, change, changed, entry }) => [
          (from as { snapshot: number }).snapshot,
          (to as { snapshot: number }).snapshot,
          change,
          changed,
          (entry as { size: number } | null)?.size ?? null,
        ],
      );
    expect(await versions('docs/a.txt')).toEqual([
      [3, 3, 'removed', [], null],
      [2, 2, 'changed', ['content'], 7],
      [1, 1, 'oldest', [], 5],
    ]);
    expect(await versions('new')).toEqual([
      [2, 3, 'created', [], 3],
      [1, 1, '', [], null],
    ]);
    expect(await versions('link')).toEqual([
      [2, 3, 'changed', ['type'], 0],
      [1, 1, 'oldest', [], 0],
    ]);
    expect(await versions('big')).toEqual([[1, 3, 'oldest', [], 20_000]]);
    const nowhere = await home.run('history', 'work', 'nowhere');
    expect(nowhere.code).toBe(1);
    expect(nowhere.event('error')).toMatchObject({ code: 'unknown-path' });
  });

  describe('and the live volume', () => {
    let changed: Home;
    const now = (path: string) => join(changed.volume('work'), path);
    beforeAll(() => {
      changed = new Home({ template: home, folder: makeTemp() });
    });
    afterAll(() => removeTree(changed.folder));

    it('verify is content with what did not change, and says 4 where something did', async () => {
      const equal = await home.expectRun(0, 'verify', 'work');
      expect(equal.event('verified')).toMatchObject({ vm: 'work', snapshot: 3, equal: true, leftOut: 0 });
      expect((await home.run('verify', 'work@2')).code).toBe(4);
    });

    it('a lie about times is seen by reading all content, and only so', async () => {
      const { mtime } = statSync(now('big'));
      writeFileSync(now('big'), 'y'.repeat(20_000));
      utimesSync(now('big'), mtime, mtime);
      // The ctime tells, so diff reads it as well.
      expect(changes(await changed.expectRun(0, 'diff', 'work', 'live'))).toEqual(['modified big content']);
      const verified = await changed.expectRun(4, 'verify', 'work');
      expect(changes(verified)).toEqual(['modified big content']);
      expect(verified.event('verified')).toMatchObject({ equal: false });
    });

    it('diff names what was added, removed, moved and resized', async () => {
      renameSync(now('new'), now('newer'));
      truncateSync(now('docs/b.TXT'), 2);
      const live = await changed.expectRun(0, 'diff', 'work', 'live', '--content');
      expect(changes(live)).toEqual([
        'metadata  mtime',
        'modified big content',
        'modified docs/b.TXT content mtime',
        'removed new',
        'added newer',
      ]);
      expect(live.event('differences')).toMatchObject({ before: 3, after: 'live' });
    });
  });
});
