/** R33: the stream of qubes.Filecopy, byte for byte as its receivers want it, and what of a snapshot it cannot carry. */

import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { exportPaths } from '../../shared/protocol/disposable.ts';
import { TYPE } from '../../dvm/entry.ts';
import { isSafeTarget } from '../../dvm/filecopy.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { checksum, entriesOf } from '../support/file-copy.ts';
import { MemoryStore, callService, directory, entryOf, symlink } from './tree-kit.ts';

let store = new MemoryStore();

beforeEach(() => {
  store = new MemoryStore(7);
});

async function copyTree(entries: readonly TreeEntry[], paths: readonly string[] = ['']) {
  const output = { kind: 'fileCopy', folder: 'work-7' };
  const job = { top: await store.tree(entries), paths: paths.map(utf8), output };
  const { said, failure, code } = await callService(exportPaths, job, store);
  expect([failure, code]).toEqual([undefined, 0]);
  const names = said.map(({ name }) => name).filter((name) => name !== 'note');
  expect([names[0], names.at(-1)]).toEqual(['begin', 'done']);
  const pieces = said.flatMap((message) => (message.name === 'data' ? [message.value] : []));
  const done = said.flatMap((message) => (message.name === 'done' ? [message.value] : []))[0];
  expect(done?.crc32).toBe(checksum(...pieces));
  const stream = Buffer.concat(pieces);
  return {
    done,
    stream,
    entries: entriesOf(stream),
    plain: said.flatMap((message) => (message.name === 'begin' ? [message.value.plainNames] : []))[0],
    notes: said.flatMap((message) => (message.name === 'note' ? [message.value] : [])),
  };
}

test('each entry is a header, a name with its NUL and the content; directories come again after theirs', async () => {
  const mtime = { seconds: 0x0102_0304, nanoseconds: 5 };
  const tree = [
    directory('', { mode: 0o750, mtime }),
    directory('a', { mode: 0o555, mtime }),
    store.file('a/f', ['con', 'tent'], { mode: 0o640, mtime }),
    symlink('a/l', 'f', { mtime }),
    store.file('z', [], { mode: 0, mtime }),
  ];
  const { stream, done, notes, plain } = await copyTree(tree);
  const time = '04030201 05000000 04030201 05000000';
  const expected = [
    `07000000 e8410000 0000000000000000 ${time}`,
    'work-7\0',
    `09000000 6d410000 0000000000000000 ${time}`,
    'work-7/a\0',
    `0b000000 a0810000 0700000000000000 ${time}`,
    'work-7/a/f\0content',
    `0b000000 ffa10000 0100000000000000 ${time}`,
    'work-7/a/l\0f',
    `09000000 6d410000 0000000000000000 ${time}`,
    'work-7/a\0',
    `09000000 00800000 0000000000000000 ${time}`,
    'work-7/z\0',
    `07000000 e8410000 0000000000000000 ${time}`,
    'work-7\0',
    '00'.repeat(32),
  ].map((text) =>
    /^[0-9a-f ]+$/.test(text) ? Buffer.from(text.replaceAll(' ', ''), 'hex') : Buffer.from(text),
  );
  expect(stream.toString('hex')).toBe(Buffer.concat(expected).toString('hex'));
  expect(done).toMatchObject({ entries: 5, files: 2, bytes: 7, missing: [] });
  expect([notes, plain]).toEqual([[], true]);
});

test('holes are zeros, large files go through in pieces, hard links are copies', async () => {
  const content = randomBytes(1_500_000);
  const sparse = store.file('sparse', [randomBytes(10)]);
  const chunks = sparse.chunks.map((chunk) => ({ ...chunk, gap: 2_000_000 }));
  const linked = store.file('l1', ['shared'], { inode: 9, linked: true });
  const tree = [
    directory(''),
    store.file('big', [content, content]),
    linked,
    { ...linked, entry: { ...linked.entry, path: 'l2' as ByteString } },
    { entry: { ...sparse.entry, size: 3_000_000 }, chunks },
  ];
  const { entries, notes, done } = await copyTree(tree);
  const contentOf = (name: string) =>
    Buffer.from(entries.find((entry) => entry.name === `work-7/${name}`)!.content);
  expect(contentOf('big').equals(Buffer.concat([content, content]))).toBe(true);
  expect([contentOf('l1').toString(), contentOf('l2').toString()]).toEqual(['shared', 'shared']);
  expect(contentOf('sparse').length).toBe(3_000_000);
  expect(contentOf('sparse').subarray(0, 2_000_000).equals(Buffer.alloc(2_000_000))).toBe(true);
  expect(done?.bytes).toBe(6_000_012);
  expect(notes.map(({ detail }) => detail)).toEqual([
    'a file copy cannot say all: 1 are copies instead of hard links; for a complete copy extract --tar',
  ]);
});

test('only what was chosen, with the folders above it, and what is missing', async () => {
  const tree = [
    directory(''),
    directory('a'),
    store.file('a/f', ['x']),
    directory('b'),
    store.file('b/g', ['y']),
  ];
  const { entries, done } = await copyTree(tree, ['b/g', 'none']);
  expect(entries.map(({ name }) => name)).toEqual(['work-7', 'work-7/b', 'work-7/b/g', 'work-7/b', 'work-7']);
  expect(done?.missing).toEqual([1]);
  const nothing = await copyTree(tree, ['none']);
  expect(nothing.entries).toEqual([]);
});

test('R26: what it cannot carry is left out by name, what it cannot say is told once', async () => {
  const attributes = [{ name: 'user.x' as ByteString, value: Uint8Array.of(1) }];
  const long = 'n'.repeat(250);
  const deep = Array.from({ length: 17 }, (_, i) => Array.from({ length: i + 1 }, () => long).join('/'));
  const before = { seconds: -1, nanoseconds: 5 };
  const after = { seconds: 2 ** 32, nanoseconds: 5 };
  const tree = [
    directory(''),
    store.file('after', [], { mtime: after, attributes }),
    store.file('before', [], { mtime: before, mode: 0o4755 }),
    { entry: entryOf('device', TYPE.blockDevice), chunks: [] },
    { entry: entryOf('fifo', TYPE.fifo), chunks: [] },
    store.file('lost', [], { unreadable: true }),
    ...deep.map((path) => directory(path)),
    symlink('out', '../x'),
    { entry: entryOf('socket', TYPE.socket), chunks: [] },
  ];
  const { entries, notes } = await copyTree(tree);
  const found = new Map(entries.map((entry) => [entry.name, entry]));
  expect(found.get('work-7/before')).toMatchObject({ mode: 0o100755, mtime: [0, 0] });
  expect(found.get('work-7/after')).toMatchObject({ mtime: [2 ** 32 - 1, 0] });
  expect(found.has(`work-7/${deep[15]!}`)).toBe(true);
  expect(found.has(`work-7/${deep[16]!}`)).toBe(false);
  expect(notes.map(({ code, path }) => `${code} ${path}`)).toEqual([
    'not-restored device',
    'not-restored fifo',
    'not-restored lost',
    `not-restored ${deep[16]!}`,
    'not-restored out',
    'skipped-socket socket',
    'not-restored ',
  ]);
  expect(notes.at(-1)?.detail).toBe(
    'a file copy cannot say all: 1 lost extended attributes, access lists or flags, ' +
      '1 lost their set-user-ID or set-group-ID bit, ' +
      '2 have a time before 1970 or after 2106, and got the nearest; for a complete copy extract --tar',
  );
});

test.each(['\xe9', 'new\nline', '\u00e9'])('%j is announced before the first byte', async (name) => {
  const file = store.file('f', ['x']);
  const odd = { ...file, entry: { ...file.entry, path: name as ByteString } };
  expect((await copyTree([directory(''), odd])).plain).toBe(false);
  expect((await copyTree([directory(''), directory('d'), symlink('d/l', name)])).plain).toBe(false);
  // Not if it is not part of what is copied.
  expect((await copyTree([directory(''), directory('d'), odd], ['d'])).plain).toBe(true);
});

describe('symlinks that a receiver takes', () => {
  test.each([
    ['f/l', 'x', true],
    ['f/l', 'x/', true],
    ['f/l', '../x', false],
    ['f/d/l', '../x', true],
    ['f/d/l', '..', true],
    ['f/d/l', '../..', false],
    ['f/d/l', '../../x', false],
    ['f/d/l', 'a/../b', false],
    ['f/l', '/x', false],
    ['f/l', '', false],
    ['f/l', '/', false],
    ['f/l', './x', false],
    ['f/l', 'a//b', false],
    ['f/l', '...', true],
    ['l', 'x', false],
  ])('%s -> "%s": %s', (name, target, safe) => {
    expect(isSafeTarget(name as ByteString, target as ByteString)).toBe(safe);
  });
});
