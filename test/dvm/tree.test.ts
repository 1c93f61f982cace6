import { randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { concat, hex, u32 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { TYPE } from '../../dvm/entry.ts';
import { decodeRawTop, encodeRawTop } from '../../dvm/tree-top.ts';
import { unwrapTreeBlob, wrapTreeBlob } from '../../dvm/tree-blob.ts';
import { TreeWriter, comparePaths, decodeTop, encodeTop, readRecords, readTree } from '../../dvm/tree.ts';
import type { Leaf, Top, TreeEntry } from '../../dvm/tree.ts';
import { failure, rejection } from '../support/failure.ts';
import { MemoryStore, bytes, directory, entryOf, sha256, symlink } from './tree-kit.ts';

let store = new MemoryStore();
beforeEach(() => {
  store = new MemoryStore();
});

async function readBack(top: number): Promise<TreeEntry[]> {
  const out: TreeEntry[] = [];
  const blob = store.blobs.get(top) ?? new Uint8Array();
  for await (const item of readTree(decodeTop(blob), store)) out.push(item);
  return out;
}

/** Folders and files, `count` in all, with a chunk each. */
function manyEntries(count: number): TreeEntry[] {
  const out = [directory('')];
  const [chunk] = store.pack(randomBytes(100));
  for (let i = 0; i < count; i++) {
    if (i % 100 === 0) out.push(directory(`folder-${String(i / 100).padStart(5, '0')}`));
    const path = `folder-${String(Math.floor(i / 100)).padStart(5, '0')}/file-${String(i).padStart(7, '0')}`;
    const hash = sha256(Buffer.from(path));
    out.push({
      entry: entryOf(path, TYPE.file, { size: 100, inode: i, mtime: { seconds: i, nanoseconds: i } }),
      chunks: [{ ...chunk!, hash }],
    });
  }
  return out;
}

/** The leaf hashes of the tree of `entries`. */
async function leafHashes(entries: readonly TreeEntry[]): Promise<string[]> {
  const hashes: string[] = [];
  const writer = new TreeWriter((leaf) => {
    hashes.push(hex(leaf.hash));
    return Promise.resolve(hashes.length);
  });
  for (const { entry, chunks } of entries) await writer.add(entry, chunks);
  await writer.finish();
  return hashes;
}

describe('a tree', () => {
  test('of many leaves reads back as it was written', async () => {
    const entries = manyEntries(12_000);
    const top = await store.tree(entries);
    const read = await readBack(top);
    expect(read.length).toBe(entries.length);
    for (let i = 0; i < read.length; i += 501) {
      expect(read[i]!.entry).toEqual(entries[i]!.entry);
      expect(read[i]!.chunks.map(({ hash, ...rest }) => ({ ...rest, hash: hex(hash) }))).toEqual(
        entries[i]!.chunks.map(({ hash, ...rest }) => ({ ...rest, hash: hex(hash) })),
      );
    }
    const { leaves, totalEntries, totalBytes } = decodeTop(store.blobs.get(top)!);
    expect(leaves.length).toBeGreaterThan(4);
    expect([totalEntries, totalBytes]).toEqual([entries.length, 12_000 * 100]);
  });

  test('R21: an entry more changes a few leaves, the others are the same blobs again', async () => {
    const entries = manyEntries(40_000);
    const before = await leafHashes(entries);
    expect(before.length).toBeGreaterThan(15);
    for (const path of ['folder-00001/aaa', 'folder-00200/zzz', 'folder-00399/zzz']) {
      const more = [...entries, { entry: entryOf(path, TYPE.file), chunks: [] }].sort((a, b) =>
        comparePaths(a.entry.path, b.entry.path),
      );
      const after = await leafHashes(more);
      const unknown = after.filter((hash) => !before.includes(hash));
      expect(unknown.length).toBeLessThanOrEqual(3);
    }
  });

  test('the same entries make the same leaves', async () => {
    const entries = manyEntries(5000);
    expect(await leafHashes(entries)).toEqual(await leafHashes(entries));
  });

  test('a file’s chunks may go over leaves, beginning right after its entry', async () => {
    const [chunk] = store.pack(randomBytes(10));
    // A path whose cut hash ends a leaf, found by trying: its first chunk then starts the next leaf.
    const attributes = [{ name: bytes('user.x'), value: randomBytes(70_000) }];
    let found: Top | undefined;
    for (let i = 0; found === undefined; i++) {
      const chunks = Array.from({ length: 3 }, () => chunk!);
      const entries = [
        directory(''),
        { entry: entryOf(`file${i}`, TYPE.file, { size: 100, attributes }), chunks },
      ];
      const writer = new TreeWriter(async (leaf) => store.put(await leaf.blob()), { compress: false });
      for (const item of entries) await writer.add(item.entry, item.chunks);
      const top = await writer.finish();
      if (top.leaves.length === 2) found = top;
    }
    expect(found.leaves[1]).toMatchObject({ skip: 1, entries: 0 });
    const read = await readBack(store.put(await encodeTop(found)));
    expect(read[1]!.chunks.length).toBe(3);
  });

  test('R08: is not compressed where that is switched off', async () => {
    const text = 'the same text again and again, ';
    const writer = new TreeWriter(async (leaf) => store.put(await leaf.blob()), { compress: false });
    await writer.add(directory('').entry, []);
    await writer.add(symlink('a', text.repeat(20)).entry, []);
    const top = await writer.finish();
    expect(Buffer.from(store.blobs.get(0)!).toString('latin1')).toContain(text.repeat(20));
    const [leaf] = top.leaves;
    const manyLeaves = {
      ...top,
      totalEntries: 200,
      leaves: Array.from({ length: 100 }, (_, i) => ({
        ...leaf!,
        firstPath: i === 0 ? leaf!.firstPath : bytes(`x${1000 + i}`),
      })),
    };
    expect((await encodeTop(manyLeaves, false)).length).toBeGreaterThan((await encodeTop(manyLeaves)).length);
  });

  test('a fork goes its own way', async () => {
    const writer = new TreeWriter(async (leaf) => store.put(await leaf.blob()));
    await writer.add(directory('').entry, []);
    const fork = writer.fork();
    await fork.add(entryOf('fork', TYPE.fifo), []);
    await writer.add(entryOf('original', TYPE.fifo), []);
    const paths = async (of: TreeWriter) =>
      (await readBack(store.put(await encodeTop(await of.finish())))).map(({ entry }) => entry.path);
    expect(await paths(fork)).toEqual(['', 'fork']);
    expect(await paths(writer)).toEqual(['', 'original']);
  });
});

describe('a writer refuses what no reader would accept', () => {
  const emit = () => Promise.resolve(1);

  test('entries out of order, a missing root, a path twice', () => {
    const writer = new TreeWriter(emit);
    expect(failure(() => writer.add(entryOf('a', TYPE.fifo), [])).code).toBe('internal');
    void writer.add(directory('').entry, []);
    void writer.add(entryOf('b', TYPE.fifo), []);
    expect(failure(() => writer.add(entryOf('b', TYPE.fifo), [])).code).toBe('internal');
    expect(failure(() => writer.add(entryOf('a', TYPE.fifo), [])).code).toBe('internal');
  });

  test('a wrong count of chunks', async () => {
    const [chunk] = store.pack(randomBytes(10));
    const writer = new TreeWriter(emit);
    void writer.add(directory('').entry, []);
    expect(failure(() => writer.addChunk(chunk!)).code).toBe('internal');
    void writer.beginEntry(entryOf('a', TYPE.file, { size: 20 }), 2);
    void writer.addChunk(chunk!);
    expect(failure(() => writer.beginEntry(entryOf('b', TYPE.fifo), 0)).code).toBe('internal');
    expect((await rejection(writer.finish())).code).toBe('internal');
    void writer.addChunk(chunk!);
    expect(failure(() => writer.addChunk(chunk!)).code).toBe('internal');
  });
});

describe('a tree is refused as a whole if', () => {
  const file = (path: string) => entryOf(path, TYPE.file);
  const bare = (...entries: TreeEntry[]) => entries;
  const plainFile = (path: string): TreeEntry => ({ entry: file(path), chunks: [] });

  async function refused(top: number): Promise<void> {
    expect((await rejection(readBack(top))).code).toBe('store-damaged');
  }

  const cases: [string, () => Promise<number>][] = [
    ['the first entry is not the root', () => store.hostileTree(bare(plainFile('a')))],
    ['the root is a file', () => store.hostileTree(bare(plainFile('')))],
    ['an entry is in no directory', () => store.hostileTree(bare(directory(''), plainFile('a/b')))],
    ['an entry is in a file', () => store.hostileTree(bare(directory(''), plainFile('a'), plainFile('a/b')))],
    [
      'an entry is in a symlink',
      () => store.hostileTree(bare(directory(''), symlink('a', 'b'), plainFile('a/b'))),
    ],
    [
      'an entry is in a directory it left',
      () => store.hostileTree(bare(directory(''), directory('a'), plainFile('b'), plainFile('b/c'))),
    ],
    ['the total of entries is wrong', () => store.hostileTree(bare(directory('')), { totalEntries: 2 })],
    ['the total of bytes is wrong', () => store.hostileTree(bare(directory('')), { totalBytes: 2 })],
    [
      'a leaf has more entries than the top says',
      () => store.hostileTree(bare(directory(''), plainFile('a')), { totalEntries: 1 }, { entries: 1 }),
    ],
    [
      'a leaf’s hash is wrong',
      () => store.hostileTree(bare(directory('')), {}, { hash: sha256(Uint8Array.of(1)) }),
    ],
    [
      'chunks reach beyond the size',
      () => {
        const { entry, chunks } = store.file('a', ['content']);
        return store.hostileTree(bare(directory(''), { entry: { ...entry, size: 6 }, chunks }));
      },
    ],
    [
      'a gap reaches beyond the size',
      () => {
        const { entry, chunks } = store.file('a', ['content']);
        return store.hostileTree(
          bare(directory(''), { entry, chunks: chunks.map((chunk) => ({ ...chunk, gap: 1 })) }),
        );
      },
    ],
  ];
  test.each(cases)('%s', async (_title, make) => {
    await refused(await make());
  });

  /** A tree of two leaves cut by hand. */
  async function twoLeaves(
    fields: Partial<Leaf>,
    second: readonly TreeEntry[] = [plainFile('b')],
  ): Promise<number> {
    const one = decodeTop(store.blobs.get(await store.hostileTree(bare(directory(''), plainFile('a'))))!);
    const two = decodeTop(store.blobs.get(await store.hostileTree(second))!);
    const leaf = { ...two.leaves[0]!, firstPath: bytes('b'), ...fields };
    const totalEntries = 2 + leaf.entries;
    return store.put(await encodeTop({ totalEntries, totalBytes: 0, leaves: [one.leaves[0]!, leaf] }));
  }

  test('two leaves do not continue each other, unlike these', async () => {
    expect((await readBack(await twoLeaves({}))).length).toBe(3);
  });

  test('a leaf starts with another path than the top says', async () => {
    await refused(await twoLeaves({ firstPath: bytes('aa') }));
  });

  test('a leaf is said to start within a file', async () => {
    await refused(await twoLeaves({ skip: 1 }));
  });

  test('a leaf’s first path is not after the last of the leaf before', async () => {
    await refused(await twoLeaves({ firstPath: bytes('a') }, [plainFile('a')]));
  });

  test('chunks are missing at the end', async () => {
    const raw = concat([Uint8Array.of(0), leafBytesWithoutChunks()]);
    const number = store.put(await wrapTreeBlob(raw, true));
    const leaf = { firstPath: '' as ByteString, skip: 0, entries: 2, number, hash: sha256(raw) };
    await refused(store.put(await encodeTop({ totalEntries: 2, totalBytes: 7, leaves: [leaf] })));
  });

  /** Records of a root and of a file of 7 bytes in one chunk, which does not follow. */
  function leafBytesWithoutChunks(): Uint8Array {
    const common = [0, 0, 0, 0, 0, 0, 0, 0, 0];
    return Uint8Array.from([1, 0, 0, 2, ...common, 1, 0, 1, 0x61, 1, ...common, 7, 1]);
  }
});

describe('a top', () => {
  const leaf = (path: string, fields: Partial<Leaf> = {}): Leaf => ({
    firstPath: bytes(path),
    skip: 0,
    entries: 1,
    number: 5,
    hash: sha256(Buffer.from(path)),
    ...fields,
  });
  const topOf = (...leaves: Leaf[]): Top => ({
    totalEntries: leaves.reduce((sum, { entries }) => sum + entries, 0),
    totalBytes: 0,
    leaves,
  });

  test('round trips', () => {
    const top = topOf(
      leaf(''),
      leaf('a/b', { number: 2 }),
      leaf('a/b', { skip: 7, entries: 0 }),
      leaf('a/c', { number: 2 ** 48 - 1 }),
    );
    expect(decodeRawTop(encodeRawTop(top))).toEqual(top);
  });

  const cases: [string, () => Uint8Array][] = [
    ['no leaf', () => encodeRawTop(topOf())],
    ['a first leaf that is not the root’s', () => encodeRawTop(topOf(leaf('a')))],
    ['a first leaf that starts within a file', () => encodeRawTop(topOf(leaf('', { skip: 1 })))],
    ['leaves out of order', () => encodeRawTop(topOf(leaf(''), leaf('b'), leaf('a')))],
    ['a leaf twice', () => encodeRawTop(topOf(leaf(''), leaf('b'), leaf('b')))],
    [
      'chunks out of order',
      () => encodeRawTop(topOf(leaf(''), leaf('b', { skip: 3 }), leaf('b', { skip: 2 }))),
    ],
    ['an empty leaf', () => encodeRawTop(topOf(leaf(''), leaf('b', { entries: 0 })))],
    ['a total that does not add up', () => encodeRawTop({ ...topOf(leaf('')), totalEntries: 2 })],
    ['a path upwards', () => encodeRawTop(topOf(leaf(''), leaf('..')))],
    ['bytes after it', () => concat([encodeRawTop(topOf(leaf(''))), Uint8Array.of(0)])],
    ['half a leaf', () => encodeRawTop(topOf(leaf(''))).subarray(0, -1)],
    ['more leaves than bytes', () => Uint8Array.from([1, 0, 0xff, 0xff, 0x7f, ...new Uint8Array(40)])],
    ['an impossible number', () => encodeRawTop(topOf(leaf('', { number: -1 })))],
    ['a number above 2^48 - 1', () => encodeRawTop(topOf(leaf('', { number: 2 ** 48 })))],
    ['nothing', () => new Uint8Array()],
  ];
  test.each(cases)('is refused with %s', (_title, make) => {
    expect(failure(() => decodeRawTop(make())).code).toBe('store-damaged');
  });

  test('is decoded or refused as damaged, whatever bytes are changed', () => {
    const raw = encodeRawTop(topOf(leaf(''), leaf('a/b'), leaf('a/c', { skip: 3 }), leaf('b')));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(raw.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
        (changes) => {
          const changed = new Uint8Array(raw);
          for (const [at, value] of changes) changed[at] = value;
          try {
            expect(hex(encodeRawTop(decodeRawTop(changed)))).toBe(hex(changed));
          } catch (error) {
            if (!(error instanceof BackupError)) throw error;
            expect(error.code).toBe('store-damaged');
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('the envelope of a tree blob', () => {
  const raw = Buffer.from('compress me, compress me, compress me, compress me, compress me');
  const frame = zstdCompressSync(raw);
  const blob = (codec: number, length: number, stored: Uint8Array, version = 2) =>
    concat([Uint8Array.of(version, codec), u32(length), stored]);

  test('round trips, compressed or not', async () => {
    expect(Buffer.from(unwrapTreeBlob(await wrapTreeBlob(raw, true))).equals(raw)).toBe(true);
    expect((await wrapTreeBlob(raw, true))[1]).toBe(1);
    expect((await wrapTreeBlob(raw, false))[1]).toBe(0);
    expect((await wrapTreeBlob(randomBytes(100), true))[1]).toBe(0); // Where compressing does not help.
    expect(Buffer.from(unwrapTreeBlob(await wrapTreeBlob(raw, false))).equals(raw)).toBe(true);
  });

  const cases: [string, Uint8Array][] = [
    ['nothing', new Uint8Array()],
    ['half a header', Uint8Array.of(2, 0, 0)],
    ['another version', blob(1, raw.length, frame, 1)],
    ['an unknown codec', blob(2, raw.length, frame)],
    ['a raw length of 0', blob(0, 0, new Uint8Array())],
    ['a raw length above 64 MiB', blob(1, 64 * 1024 * 1024 + 1, frame)],
    ['a raw length that is not that of raw bytes', blob(0, raw.length + 1, raw)],
    ['more than it says', blob(1, raw.length - 1, frame)],
    ['less than it says', blob(1, raw.length + 1, frame)],
    ['half a frame', blob(1, raw.length, frame.subarray(0, -5))],
    ['no zstd', blob(1, raw.length, raw)],
    ['a bomb', blob(1, 1000, zstdCompressSync(Buffer.alloc(200 * 1024 * 1024)))],
  ];
  test.each(cases)('is refused: %s', (_title, untrusted) => {
    expect(failure(() => unwrapTreeBlob(untrusted)).code).toBe('store-damaged');
  });

  test('a volume that makes too large a top is told what to do', async () => {
    expect((await rejection(wrapTreeBlob(randomBytes(17 * 1024 * 1024), true))).code).toBe('limit');
  });
});

test('leaves are announced before they are read, and each read once', async () => {
  const top = decodeTop(store.blobs.get(await store.tree(manyEntries(12_000)))!);
  const announced: number[] = [];
  const got: number[] = [];
  const source = {
    prefetch: (numbers: readonly number[]) => void announced.push(...numbers),
    get: (number: number) => {
      expect(announced).toContain(number);
      got.push(number);
      return store.get(number);
    },
  };
  for await (const records of readRecords(top, source)) expect(records.length).toBeGreaterThan(0);
  expect(got).toEqual(top.leaves.map(({ number }) => number));
});
