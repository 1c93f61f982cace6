import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import { ExcludeFile } from '../../dvm/exclude-file.ts';
import { Excludes } from '../../dvm/excludes.ts';
import { walkExt4 } from '../../dvm/ext4.ts';
import { walk } from '../../dvm/walk.ts';
import { byteString, utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { MAX_EXCLUDE_FILE, MAX_EXCLUDE_FILE_PATTERNS } from '../../shared/limits.ts';
import type { ExcludeRules } from '../../shared/protocol/disposable.ts';
import { makeImage } from '../support/images.ts';
import { fileFlags, notRoot, program, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { NO_EXCLUDES } from './scan-dom0.ts';

const SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55';
const bytes = (text: string) => byteString(utf8(text));

/** Files with their contents; a path that ends in a slash is a folder. */
function volume(files: Readonly<Record<string, string>>): string {
  const folder = tempFolder();
  for (const [path, content] of Object.entries(files)) {
    const place = join(folder, path);
    mkdirSync(path.endsWith('/') ? place : dirname(place), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(place, content);
  }
  return folder;
}

/** What a walk finds, what it leaves out with the reasons, and what it notes. */
function survey(place: string, rules: Partial<ExcludeRules>, reader = walk) {
  const notes: string[] = [];
  const note = (code: string, path: string, detail: string) => void notes.push(`${code} ${path}: ${detail}`);
  const kept: string[] = [];
  const skipped: Record<string, string> = {};
  for (const found of reader(place, note, new Excludes({ ...NO_EXCLUDES, ...rules }, note))) {
    if (found.type === TYPE.skipped) skipped[found.path] = found.reason;
    else if (found.path !== '') kept.push(found.path);
  }
  return { kept, skipped, notes };
}

const list = (source: string, ...patterns: string[]) => ({ source, patterns });

describe('patterns of the configuration', () => {
  test('R23: later lists take in again what earlier ones leave out; the reason names pattern and list', () => {
    const folder = volume({ 'a.iso': '', 'b.iso': '', 'home/c.iso': '', 'home/x/': '', 'home/y': '' });
    const lists = [list('[backup]', '*.iso', 'x/'), list('[vm.work]', '!b.iso', 'home/y')];
    expect(survey(folder, { lists })).toEqual({
      kept: ['b.iso', 'home'],
      skipped: {
        'a.iso': 'pattern "*.iso" of [backup]',
        'home/c.iso': 'pattern "*.iso" of [backup]',
        'home/x': 'pattern "x/" of [backup]',
        'home/y': 'pattern "home/y" of [vm.work]',
      },
      notes: [],
    });
  });

  test('R23: a left-out directory is not looked into, so nothing below comes back by a later pattern', () => {
    const folder = volume({ 'cache/keep/file': '', 'other/keep/file': '' });
    const lists = [list('[backup]', 'cache', '!cache/keep', 'other/*', '!other/keep')];
    const { kept, skipped } = survey(folder, { lists });
    expect(kept).toEqual(['other', 'other/keep', 'other/keep/file']);
    expect(Object.keys(skipped)).toEqual(['cache']);
  });

  testNeeding(notRoot)('R23: a left-out directory need not be readable', () => {
    const folder = volume({ 'closed/file': '' });
    chmodSync(join(folder, 'closed'), 0);
    expect(survey(folder, {}).notes).toHaveLength(1);
    expect(survey(folder, { lists: [list('[backup]', 'closed')] }).notes).toEqual([]);
  });

  test('R23: nothing below a left-out directory is opened', () => {
    const folder = volume({ 'cache/deep/CACHEDIR.TAG': SIGNATURE, 'cache/.qubes-backup-exclude': '[' });
    const rules = { lists: [list('[backup]', 'cache')], cachedirTag: true, volumeFile: true };
    expect(survey(folder, rules)).toMatchObject({ kept: [], notes: [] });
  });

  test('the root is never left out', () => {
    const note = () => undefined;
    const excludes = new Excludes({ ...NO_EXCLUDES, lists: [list('[backup]', '*', '/**')] }, note);
    expect(Array.from(walk(volume({ a: '' }), note, excludes), ({ path }) => path)).toEqual(['', 'a']);
  });
});

describe('CACHEDIR.TAG', () => {
  test('R23: what is beside a valid tag is left out, directory and tag stay', () => {
    const folder = volume({
      'cache/CACHEDIR.TAG': `${SIGNATURE}\n# made by a program\n`,
      'cache/A': '',
      'cache/sub/file': '',
      'exact/CACHEDIR.TAG': SIGNATURE,
      'exact/file': '',
      'false/CACHEDIR.TAG': SIGNATURE.replace('8a', '8b'),
      'false/file': '',
      'short/CACHEDIR.TAG': SIGNATURE.slice(0, -1),
      'short/file': '',
      'folder/CACHEDIR.TAG/file': '',
      'link/file': '',
    });
    symlinkSync('../cache/CACHEDIR.TAG', join(folder, 'link/CACHEDIR.TAG'));
    const { kept, skipped, notes } = survey(folder, { cachedirTag: true });
    expect(skipped).toEqual({
      'cache/A': 'CACHEDIR.TAG',
      'cache/sub': 'CACHEDIR.TAG',
      'exact/file': 'CACHEDIR.TAG',
    });
    expect(kept.filter((path) => path.startsWith('cache'))).toEqual(['cache', 'cache/CACHEDIR.TAG']);
    expect(kept).toEqual(
      expect.arrayContaining(['false/file', 'short/file', 'folder/CACHEDIR.TAG/file', 'link/file']),
    );
    expect(notes).toEqual([]);
    expect(survey(folder, {}).skipped).toEqual({});
  });

  test('a volume does not become a cache by a tag at its root', () => {
    const folder = volume({ 'CACHEDIR.TAG': SIGNATURE, file: '' });
    expect(survey(folder, { cachedirTag: true })).toEqual({
      kept: ['CACHEDIR.TAG', 'file'],
      skipped: {},
      notes: [],
    });
  });
});

testNeeding(fileFlags())('R23: nodump leaves out files and directories, where that is wanted', () => {
  const folder = volume({ 'd/file': '', file: '', other: '' });
  expect(spawnSync('chattr', ['+d', join(folder, 'd'), join(folder, 'file')]).status).toBe(0);
  expect(survey(folder, {}).skipped).toEqual({});
  expect(survey(folder, { nodump: true })).toEqual({
    kept: ['other'],
    skipped: { d: 'nodump', file: 'nodump' },
    notes: [],
  });
});

describe('.qubes-backup-exclude', () => {
  test('R23: leaves more out, by the line; cancels its own lines and nothing else', () => {
    const folder = volume({
      '.qubes-backup-exclude': '\ufeff# from the VM\n\n*.tmp\r\n!keep.tmp\n!*.iso\nCACHE/\n!cache/*\n',
      'a.tmp': '',
      'keep.tmp': '',
      'x.iso': '',
      'CACHE/file': '',
      'cache/CACHEDIR.TAG': SIGNATURE,
      'cache/file': '',
      '!odd': '',
    });
    const rules = { lists: [list('[backup]', '*.iso')], cachedirTag: true, volumeFile: true };
    const { skipped, kept, notes } = survey(folder, rules);
    expect(skipped).toEqual({
      CACHE: '.qubes-backup-exclude line 6',
      'a.tmp': '.qubes-backup-exclude line 3',
      'cache/file': 'CACHEDIR.TAG',
      'x.iso': 'pattern "*.iso" of [backup]',
    });
    expect(kept).toContain('keep.tmp');
    expect(kept).toContain('.qubes-backup-exclude');
    expect(notes).toEqual([]);
    expect(survey(folder, {}).skipped).toEqual({});
  });

  test('R23: wrong lines are told of once, the others count', () => {
    const folder = volume({ '.qubes-backup-exclude': 'a***\nb\n[\n\0\n', a: '', b: '' });
    const { skipped, notes } = survey(folder, { volumeFile: true });
    expect(Object.keys(skipped)).toEqual(['b']);
    expect(notes).toEqual([
      'exclude-file .qubes-backup-exclude: line 1 has more than two asterisks in a row, and 2 more lines are wrong: these lines are not followed',
    ]);
  });

  test.each([
    ['a folder', { '.qubes-backup-exclude/': '' }, 'it is not a regular file'],
    [
      'too large',
      { '.qubes-backup-exclude': '*\n'.padEnd(MAX_EXCLUDE_FILE + 1, '#') },
      'it is larger than 65536 bytes',
    ],
    [
      'too many lines',
      { '.qubes-backup-exclude': 'x\n'.repeat(MAX_EXCLUDE_FILE_PATTERNS) + '*\n' },
      `line ${MAX_EXCLUDE_FILE_PATTERNS + 1} is more than the ${MAX_EXCLUDE_FILE_PATTERNS} patterns that count`,
    ],
  ])('R23: one that is %s is noted', (_title, files: Readonly<Record<string, string>>, detail) => {
    const { skipped, notes } = survey(volume({ ...files, file: '' }), { volumeFile: true });
    expect(skipped).toEqual({});
    expect(notes).toEqual([expect.stringContaining(detail) as unknown]);
  });

  test('R23: a symlink, also to another file of patterns, is not followed', () => {
    const folder = volume({ patterns: '*', file: '' });
    symlinkSync('patterns', join(folder, '.qubes-backup-exclude'));
    const { skipped, notes } = survey(folder, { volumeFile: true });
    expect(skipped).toEqual({});
    expect(notes).toHaveLength(1);
  });

  test('R23: patterns that take too long are dropped, with a note', () => {
    let now = 0;
    const complaints: string[] = [];
    const file = new ExcludeFile(
      utf8('*.tmp'),
      (detail) => complaints.push(detail),
      () => (now += 100),
    );
    const paths = Array.from({ length: 200 }, (_, i) => file.reasonFor(bytes(`${i}.tmp`), false));
    const followed = paths.findIndex((reason) => reason === undefined);
    expect(followed).toBeGreaterThan(40);
    expect(paths.slice(followed).every((reason) => reason === undefined)).toBe(true);
    expect(complaints).toEqual(['its patterns take too long: from here on it is not followed']);
    const quick = new ExcludeFile(
      utf8('*.tmp'),
      (detail) => complaints.push(detail),
      () => (now += 0.1),
    );
    for (let i = 0; i < 100_000; i++) quick.reasonFor('a.tmp' as ByteString, false);
    expect(complaints).toHaveLength(1);
  });
});

testNeeding(program('mkfs.ext4'))('R23 R24: the same is left out of an image that is not mounted', () => {
  const folder = volume({
    '.qubes-backup-exclude': '*.tmp\n[\n',
    'a.tmp': '',
    'b.iso': '',
    'c/CACHEDIR.TAG': SIGNATURE,
    'c/file': '',
    'd/cache/deep/file': '',
    'd/file': '',
    'lost+found/': '',
  });
  const image = join(tempFolder(), 'image');
  makeImage(image, 'ext4', `-d ${folder}`);
  const rules = { lists: [list('[backup]', '*.iso', 'cache/')], cachedirTag: true, volumeFile: true };
  const found = survey(image, rules, walkExt4);
  expect(found).toEqual(survey(folder, rules));
  expect(Object.keys(found.skipped)).toEqual(['a.tmp', 'b.iso', 'c/file', 'd/cache']);
  expect(found.notes).toHaveLength(1);
});
