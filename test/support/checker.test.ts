import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
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
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DEEP_FOLDER, SOCKET_SUFFIX, rsyncDifferences, walkDifferences } from './checker.ts';
import { attributes, fileFlags, program, root, testNeeding } from './needs.ts';
import type { Missing } from './needs.ts';
import { diskFolder } from './temp.ts';
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
  /** What both trees have beside {@link plant}. */
  readonly prepare?: (folder: string) => void;
}

const attributesHere = attributes();
const flagsHere = fileFlags();

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
    prepare: (at) => {
      for (const file of ['one', 'two']) {
        writeFileSync(join(at, 'sub', file), 'same');
        touch(join(at, 'sub', file), TIME);
      }
    },
    make: (at) => {
      const [file, copy] = [join(at, 'sub', 'one'), join(at, 'sub', 'two')];
      rmSync(copy);
      linkSync(file, copy);
    },
  },
  {
    name: 'trusted attribute',
    needs: [root, attributesHere, program('getfattr')],
    says: /attributes.*trusted/,
    make: (at) => shell('setfattr', '-n', 'trusted.test', '-v', 'value', join(at, 'other')),
  },
  {
    name: 'attribute of a folder',
    needs: [attributesHere, program('getfattr')],
    says: /attributes/,
    make: (at) => shell('setfattr', '-n', 'user.test', '-v', 'value', join(at, 'sub')),
  },
  {
    name: 'byte of an attribute beyond a NUL',
    needs: [attributesHere, program('getfattr')],
    says: /attributes/,
    prepare: (at) => shell('setfattr', '-n', 'user.test', '-v', '0x610062', join(at, 'other')),
    make: (at) => shell('setfattr', '-n', 'user.test', '-v', '0x610063', join(at, 'other')),
  },
  {
    name: 'capability',
    needs: [root, attributesHere, program('getfattr'), program('setcap')],
    says: /attributes.*security/,
    make: (at) => shell('setcap', 'cap_net_raw+ep', join(at, 'other')),
  },
  {
    name: 'default ACL',
    needs: [attributesHere, program('getfattr'), program('setfacl')],
    says: /attributes.*acl_default/,
    make: (at) => shell('setfacl', '-d', '-m', 'u:12345:r', join(at, 'sub')),
  },
  ...(['i', 'a', 'd', 'S', 'A'] as const).map((flag): Difference => ({
    name: `flag ${flag}`,
    needs: [root, flagsHere],
    says: new RegExp(`flags .*${flag}`),
    walkOnly: true,
    make: (at) => {
      const file = join(at, 'other');
      shell('chattr', `+${flag}`, file);
      onTestFinished(() => shell('chattr', `-${flag}`, file));
    },
  })),
  {
    name: 'device number',
    needs: [root],
    says: /device/,
    prepare: (at) => {
      shell('mknod', join(at, 'device'), 'c', '1', '3');
      touch(join(at, 'device'), TIME);
    },
    make: (at) => {
      rmSync(join(at, 'device'));
      shell('mknod', join(at, 'device'), 'c', '1', '5');
      touch(join(at, 'device'), TIME);
    },
  },
  {
    name: 'block device for a character device',
    needs: [root],
    says: /mode/,
    walkOnly: true,
    prepare: (at) => {
      shell('mknod', join(at, 'device'), 'c', '7', '3');
      touch(join(at, 'device'), TIME);
    },
    make: (at) => {
      rmSync(join(at, 'device'));
      shell('mknod', join(at, 'device'), 'b', '7', '3');
      touch(join(at, 'device'), TIME);
    },
  },
  {
    name: 'hole that became zeros',
    says: /occupied/,
    walkOnly: true,
    prepare: (at) => {
      writeFileSync(join(at, 'sparse'), '');
      truncateSync(join(at, 'sparse'), 256 * 1024);
      touch(join(at, 'sparse'), TIME);
    },
    make: (at) => {
      writeFileSync(join(at, 'sparse'), Buffer.alloc(256 * 1024));
      touch(join(at, 'sparse'), TIME);
    },
  },
  {
    name: 'content at a path beyond PATH_MAX',
    says: /bottom.*content/,
    walkOnly: true,
    prepare: (at) => plantDeep(at, 'deep text'),
    make: (at) => plantDeep(at, 'deep Text'),
  },
  {
    name: 'attribute at a path beyond PATH_MAX',
    needs: [attributesHere, program('getfattr')],
    says: /bottom": attributes/,
    walkOnly: true,
    prepare: (at) => plantDeep(at, 'deep text'),
    make: (at) => plantDeep(at, 'deep text', 'setfattr -n user.test -v value bottom'),
  },
];

/** A file whose path has more than 4,096 bytes, all below made at fixed times; `command` runs beside it. */
function plantDeep(folder: string, text: string, command = 'true'): void {
  const script = [
    `mkdir -p ${DEEP_FOLDER} && cd ${DEEP_FOLDER}`,
    `for i in $(seq 20); do mkdir -p ${'d'.repeat(250)} && cd -P ${'d'.repeat(250)}; done`,
    `printf '%s' '${text}' > bottom && ${command} && touch -d ${TIME} bottom .`,
    `for i in $(seq 20); do cd -P .. && touch -d ${TIME} .; done`,
  ].join('\n');
  const ended = spawnSync('sh', ['-e'], { cwd: folder, input: script, encoding: 'utf8' });
  if (ended.status !== 0) throw new Error(`planting a deep file failed: ${ended.stderr}`);
}

describe('the checker catches one planted difference:', () => {
  for (const { name, needs = [], says, make, prepare, walkOnly } of planted) {
    const set = () => {
      const [a, b] = [join(diskFolder(), 'a'), join(diskFolder(), 'b')];
      plant(a);
      plant(b);
      for (const at of [a, b]) {
        prepare?.(at);
        settle(at);
      }
      expect(walkDifferences(a, b)).toEqual([]);
      return { a, b };
    };
    testNeeding(...needs)(`${name}, by its own walk`, () => {
      const { a, b } = set();
      make(b);
      if (!/^(time|flag)/.test(name)) settle(b);
      expect(walkDifferences(a, b).join('\n')).toMatch(says);
    });
    if (walkOnly) continue;
    testNeeding(...needs, program('rsync'))(`${name}, by rsync`, () => {
      const { a, b } = set();
      expect(rsyncDifferences(a, b)).toEqual([]);
      make(b);
      if (!/^(time|flag)/.test(name)) settle(b);
      expect(rsyncDifferences(a, b)).not.toEqual([]);
    });
  }

  test('and leaves out sockets only', async () => {
    const [a, b] = [join(diskFolder(), 'a'), join(diskFolder(), 'b')];
    for (const at of [a, b]) plant(at);
    const server = createServer().listen(join(a, `left${SOCKET_SUFFIX}`));
    onTestFinished(() => {
      server.close();
    });
    await once(server, 'listening');
    settle(a);
    expect(walkDifferences(a, b)).toEqual([]);
    expect(rsyncDifferences(a, b)).toEqual([]);
    writeFileSync(join(a, `file${SOCKET_SUFFIX}`), '');
    settle(a);
    expect(walkDifferences(a, b)).toEqual([`"file${SOCKET_SUFFIX}": missing`]);
  });

  test('and sees none between a generated tree and a faithful copy', () => {
    const [a, b, c] = [join(diskFolder(), 'a'), join(diskFolder(), 'b'), join(diskFolder(), 'c')];
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
    const [a, b] = [join(diskFolder(), 'a'), join(diskFolder(), 'b')];
    mkdirSync(a);
    generateTree(a, { seed: 2, maxFile: 300_000 });
    shell('cp', '-a', '--', a, b);
    expect(rsyncDifferences(a, b)).toEqual([]);
  });
});
