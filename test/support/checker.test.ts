import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rsyncDifferences, walkDifferences } from './checker.ts';
import { attributes, program, root, testNeeding } from './needs.ts';
import type { Missing } from './needs.ts';
import { tempFolder } from './temp.ts';
import { generateTree } from './tree-generator.ts';

/** Runs a program that must succeed. */
function shell(name: string, ...args: string[]): void {
  const ended = spawnSync(name, args, { encoding: 'utf8' });
  if (ended.status !== 0) throw new Error(`${name} failed: ${ended.stderr}`);
}

/** Sets a time to the nanosecond, on the link itself. */
const touch = (path: string, time: string) => shell('touch', '-h', '-d', time, path);
const TIME = '@1600000000.123456789';

/** A small tree with one of each, all times fixed. */
function plant(folder: string): void {
  mkdirSync(join(folder, 'sub'), { recursive: true });
  writeFileSync(join(folder, 'file'), 'content');
  writeFileSync(join(folder, 'other'), 'another');
  linkSync(join(folder, 'file'), join(folder, 'sub', 'link'));
  symlinkSync('file', join(folder, 'symlink'));
  shell('mkfifo', join(folder, 'fifo'));
  settle(folder);
}

function settle(folder: string): void {
  for (const name of ['file', 'other', 'symlink', 'fifo', 'sub', '.']) {
    if (lstatSync(join(folder, name), { throwIfNoEntry: false })) touch(join(folder, name), TIME);
  }
}

interface Difference {
  readonly name: string;
  readonly needs?: readonly Missing[];
  /** What the walk must say about it. */
  readonly says: RegExp;
  readonly make: (folder: string) => void;
  /** Rsync is no judge of it. */
  readonly walkOnly?: true;
}

const attributesHere = attributes();

const planted: readonly Difference[] = [
  {
    name: 'content of the same size and time',
    says: /content/,
    make: (at) => writeFileSync(join(at, 'other'), 'anothex'),
  },
  { name: 'size', says: /size/, make: (at) => truncateSync(join(at, 'other'), 6) },
  { name: 'mode', says: /mode/, make: (at) => chmodSync(join(at, 'other'), 0o640) },
  { name: 'sticky bit', says: /mode/, make: (at) => chmodSync(join(at, 'sub'), 0o1755) },
  { name: 'mode of the root', says: /"": mode/, make: (at) => chmodSync(at, 0o711) },
  { name: 'owner', needs: [root], says: /uid/, make: (at) => lchownSync(join(at, 'other'), 12_345, 0) },
  { name: 'group', needs: [root], says: /gid/, make: (at) => lchownSync(join(at, 'other'), 0, 12_345) },
  {
    name: 'owner of a symlink',
    needs: [root],
    says: /uid/,
    make: (at) => lchownSync(join(at, 'symlink'), 12_345, 0),
  },
  {
    name: 'time of a file by 1 ns',
    says: /mtime/,
    make: (at) => touch(join(at, 'other'), '@1600000000.123456788'),
  },
  {
    name: 'time of a folder by 1 ns',
    says: /mtime/,
    make: (at) => touch(join(at, 'sub'), '@1600000000.123456790'),
  },
  {
    name: 'time of a symlink by 1 ns',
    says: /mtime/,
    make: (at) => touch(join(at, 'symlink'), '@1600000000.123456790'),
  },
  {
    name: 'target of a symlink',
    says: /target/,
    make: (at) => {
      rmSync(join(at, 'symlink'));
      symlinkSync('filf', join(at, 'symlink'));
    },
  },
  { name: 'missing file', says: /missing/, make: (at) => rmSync(join(at, 'other')) },
  { name: 'extra file', says: /extra/, make: (at) => writeFileSync(join(at, 'more'), '') },
  { name: 'extra empty folder', says: /extra/, make: (at) => mkdirSync(join(at, 'sub', 'more')) },
  { name: 'other name', says: /missing/, make: (at) => renameSync(join(at, 'other'), join(at, 'Other')) },
  {
    name: 'broken hard link',
    says: /hard link/,
    make: (at) => {
      const content = readFileSync(join(at, 'file'));
      rmSync(join(at, 'sub', 'link'));
      writeFileSync(join(at, 'sub', 'link'), content);
      touch(join(at, 'sub', 'link'), TIME);
    },
  },
  {
    name: 'file for a symlink',
    says: /mode/,
    make: (at) => {
      rmSync(join(at, 'symlink'));
      writeFileSync(join(at, 'symlink'), 'file');
    },
  },
  {
    name: 'file for a FIFO',
    says: /mode/,
    make: (at) => {
      rmSync(join(at, 'fifo'));
      writeFileSync(join(at, 'fifo'), '');
    },
  },
  {
    name: 'attribute',
    needs: [attributesHere, program('getfattr')],
    says: /attributes/,
    make: (at) => shell('setfattr', '-n', 'user.test', '-v', 'value', join(at, 'other')),
  },
  {
    name: 'ACL',
    needs: [attributesHere, program('getfattr'), program('setfacl')],
    says: /attributes/,
    // The mask that the entry brings is what the group had, so that the mode stays.
    make: (at) => shell('setfacl', '-m', 'u:12345:r', join(at, 'other')),
  },
  {
    name: 'hard link where there was none',
    says: /hard link/,
    walkOnly: true,
    make: (at) => {
      const [file, copy] = [join(at, 'sub', 'one'), join(at, 'sub', 'two')];
      rmSync(copy);
      linkSync(file, copy);
    },
  },
];

describe('the checker catches one planted difference:', () => {
  for (const { name, needs = [], says, make, walkOnly } of planted) {
    const set = () => {
      const [a, b] = [join(tempFolder(), 'a'), join(tempFolder(), 'b')];
      plant(a);
      plant(b);
      if (walkOnly) {
        for (const at of [a, b]) {
          for (const file of ['one', 'two']) {
            writeFileSync(join(at, 'sub', file), 'same');
            touch(join(at, 'sub', file), TIME);
          }
          settle(at);
        }
      }
      expect(walkDifferences(a, b)).toEqual([]);
      return { a, b };
    };
    testNeeding(...needs)(`${name}, by its own walk`, () => {
      const { a, b } = set();
      make(b);
      if (!/time/.test(name)) settle(b);
      expect(walkDifferences(a, b).join('\n')).toMatch(says);
    });
    if (walkOnly) continue;
    testNeeding(...needs, program('rsync'))(`${name}, by rsync`, () => {
      const { a, b } = set();
      expect(rsyncDifferences(a, b)).toEqual([]);
      make(b);
      if (!/time/.test(name)) settle(b);
      expect(rsyncDifferences(a, b)).not.toEqual([]);
    });
  }

  test('and sees none between a generated tree and a faithful copy', () => {
    const [a, b, c] = [join(tempFolder(), 'a'), join(tempFolder(), 'b'), join(tempFolder(), 'c')];
    for (const folder of [a, c]) mkdirSync(folder);
    const summary = generateTree(a, { seed: 1, maxFile: 300_000 });
    expect(summary.files).toBeGreaterThan(50);
    shell('cp', '-a', '--', a, b);
    expect(walkDifferences(a, b)).toEqual([]);
    generateTree(c, { seed: 1, maxFile: 300_000 });
    expect(walkDifferences(a, c)).toEqual([]);
    utimesSync(join(b, 'size-1'), 1, 1);
    expect(walkDifferences(a, b)).toHaveLength(1);
  });

  testNeeding(program('rsync'))('and rsync agrees about a faithful copy of a generated tree', () => {
    const [a, b] = [join(tempFolder(), 'a'), join(tempFolder(), 'b')];
    mkdirSync(a);
    generateTree(a, { seed: 2, maxFile: 300_000 });
    shell('cp', '-a', '--', a, b);
    expect(rsyncDifferences(a, b)).toEqual([]);
  });
});
