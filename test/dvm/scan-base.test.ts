import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BlobSource } from '../../dvm/blobs.ts';
import { sameState } from '../../dvm/describe.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Chunk, Entry, EntryType } from '../../dvm/entry.ts';
import { Base } from '../../dvm/scan-base.ts';
import { TreeWriter, comparePaths, encodeTop, isWithin } from '../../dvm/tree.ts';
import type { ByteString } from '../../shared/bytes.ts';

const TAKEN_AT = 1_000_000;

function entry(path: string, type: EntryType = TYPE.file, fields: Partial<Entry> = {}): Entry {
  return {
    path: path as ByteString,
    type,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: { seconds: 900, nanoseconds: 0 },
    ctime: { seconds: 900, nanoseconds: 0 },
    inode: 5,
    linked: false,
    doubtful: false,
    unreadable: false,
    attributes: [],
    size: type === TYPE.file ? 10 : 0,
    target: (type === TYPE.symlink ? 'to' : '') as ByteString,
    device: [0, 0],
    flags: 0,
    ...fields,
  };
}

/** A base of `entries`, in memory. */
async function baseOf(
  entries: readonly Entry[],
  chunksOf: (entry: Entry) => Chunk[] = () => [],
): Promise<Base> {
  const stored: Uint8Array[] = [];
  const writer = new TreeWriter(async (leaf) => stored.push(await leaf.blob()) - 1);
  for (const each of entries) await writer.add(each, chunksOf(each));
  const top = stored.push(await encodeTop(await writer.finish())) - 1;
  const blobs: BlobSource = { get: (number) => Promise.resolve(stored[number]!), prefetch: () => undefined };
  return Base.open({ top, takenAt: TAKEN_AT }, blobs);
}

async function remainder(base: Base, path: string, isDirectory: boolean): Promise<string[]> {
  const found: string[] = [];
  for await (const item of base.remainder(path as ByteString, isDirectory)) found.push(item.entry.path);
  return found;
}

test('the remainder of a checkpoint leaves out what lost its directory', async () => {
  const { directory, file } = TYPE;
  const base = await baseOf([
    entry('', directory),
    entry('a', directory),
    entry('a/x', directory),
    entry('a/x/y', file),
    entry('a/z', file),
    entry('b', file),
  ]);
  expect(await remainder(base, '', true)).toEqual(['a', 'a/x', 'a/x/y', 'a/z', 'b']);
  expect(await remainder(base, 'a', true)).toEqual(['a/x', 'a/x/y', 'a/z', 'b']);
  expect(await remainder(base, 'a', false)).toEqual(['b']);
  expect(await remainder(base, 'a/x', false)).toEqual(['a/z', 'b']);
  expect(await remainder(base, 'a/x/y', false)).toEqual(['a/z', 'b']);
  expect(await remainder(base, 'a/new', true)).toEqual(['a/x', 'a/x/y', 'a/z', 'b']);
  expect(await remainder(base, 'c', false)).toEqual([]);
});

test('the remainder is right wherever it starts, over many leaves and files of many chunks', async () => {
  const entries = [entry('', TYPE.directory)];
  for (let i = 100; i < 400; i++) {
    entries.push(entry(`d${i}`, TYPE.directory));
    for (let j = 0; j < 10; j++)
      entries.push(entry(`d${i}/${'long name '.repeat(10)}${j}`, TYPE.file, { size: 100 }));
  }
  const place = { blob: 3, offset: 0, packSize: 100 };
  const base = await baseOf(entries, (each) =>
    each.path.endsWith('7') && each.type === TYPE.file
      ? Array.from({ length: 90 }, (_, i) => ({ gap: 0, length: 1, hash: new Uint8Array(32).fill(i), place }))
      : [],
  );
  expect(base.top.leaves.length).toBeGreaterThan(3);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: entries.length - 1 }),
      fc.boolean(),
      async (index, isDirectory) => {
        const { path } = entries[index]!;
        const expected = entries.filter(
          (each) =>
            comparePaths(each.path, path) > 0 &&
            (isDirectory || each.path === path || !isWithin(each.path, path)),
        );
        // A file that takes a directory's place hides its children; a directory in a file's place has none.
        expect(await remainder(base, path, isDirectory)).toEqual(expected.map((each) => each.path));
      },
    ),
    { numRuns: 20 },
  );
  const { table, sparse } = await base.loadChunks(() => undefined);
  expect(table.size).toBe(90);
  expect([...sparse]).toEqual([]);
});

test('a cursor answers in path order and passes over what was deleted', async () => {
  const base = await baseOf([entry('', TYPE.directory), entry('b'), entry('d'), entry('f')]);
  const cursor = base.cursor();
  const found: boolean[] = [];
  for (const path of ['', 'a', 'b', 'c', 'e', 'f', 'g', 'h'])
    found.push((await cursor.find(path as ByteString)) !== undefined);
  expect(found).toEqual([true, false, true, false, false, true, false, false]);
});

test('each of size, inode, mtime and ctime tells that a file changed, to the nanosecond', () => {
  const before = entry('f', TYPE.file, { size: 1, inode: 2 });
  expect(sameState(before, { ...before })).toBe(true);
  for (const change of [
    { size: 2 },
    { inode: 3 },
    { mtime: { seconds: 901, nanoseconds: 0 } },
    { mtime: { seconds: 900, nanoseconds: 1 } },
    { ctime: { seconds: 901, nanoseconds: 0 } },
    { ctime: { seconds: 900, nanoseconds: 1 } },
  ]) {
    expect(sameState(before, { ...before, ...change })).toBe(false);
  }
});

test('racy is what changed less than 2 s before the snapshot, or after it', async () => {
  const base = await baseOf([entry('', TYPE.directory)]);
  const at = (milliseconds: number) =>
    entry('f', TYPE.file, {
      ctime: { seconds: Math.floor(milliseconds / 1000), nanoseconds: (milliseconds % 1000) * 1e6 },
    });
  expect(base.isRacy(at(TAKEN_AT - 2_001))).toBe(false);
  expect(base.isRacy(at(TAKEN_AT - 2_000))).toBe(true);
  expect(base.isRacy(at(TAKEN_AT + 10 ** 9))).toBe(true);
});
