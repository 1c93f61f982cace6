/** Announced segments are decompressed by the thread pool: not by the thread that writes files meanwhile. */

import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as zlib from 'node:zlib';
import { beforeEach, expect, test, vi } from 'vitest';
import type { BlobSource } from '../../dvm/blobs.ts';
import type { Chunk } from '../../dvm/entry.ts';
import { PackReader } from '../../dvm/pack-reader.ts';
import { concat, u32 } from '../../shared/bytes.ts';
import { rejection } from '../support/failure.ts';
import { MemoryStore, sha256 } from './tree-kit.ts';

vi.mock('node:zlib', async (original) => {
  const real = await original<typeof zlib>();
  return { ...real, zstdDecompressSync: vi.fn(real.zstdDecompressSync) };
});
const decompressedHere = vi.mocked(zlib.zstdDecompressSync);

let store = new MemoryStore();
beforeEach(() => {
  store = new MemoryStore();
  decompressedHere.mockClear();
});

/** A pack of compressed segments of a chunk each. */
function pack(segments: number): Chunk[] {
  const contents = Array.from({ length: segments }, () => Buffer.alloc(20_000, randomBytes(50)));
  const stored = contents.map((content) => zlib.zstdCompressSync(content));
  const headers = stored.map(({ length }) => concat([Uint8Array.of(1), u32(20_000), u32(length)]));
  const blob = store.put(concat([Uint8Array.of(1, segments), ...headers, ...stored]));
  return contents.map((content, i) => ({
    ...{ gap: 0, length: 20_000, hash: sha256(content) },
    place: { blob, offset: 20_000 * i, packSize: 20_000 * segments },
  }));
}

/** Answers some turns after it was asked, as a session does. */
const slow: BlobSource = {
  async get(number) {
    for (let turn = 0; turn < 3; turn++) await nextTurn();
    return store.get(number);
  },
  prefetch: () => undefined,
};

test('all of what is read in the order of its announcement, also where the pack is waited for', async () => {
  const chunks = [pack(1), pack(1), pack(1), pack(1), pack(1), pack(9), pack(2)].flat();
  const reader = new PackReader(slow);
  reader.prefetch(chunks);
  for (const chunk of chunks) expect((await reader.read(chunk)).length).toBe(20_000);
  expect(decompressedHere).not.toHaveBeenCalled();
  expect(store.got).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

test('what was not announced is decompressed when it is read, and so is what is far ahead of it', async () => {
  const [a, b] = [pack(1), pack(12)].map((chunks) => chunks) as [Chunk[], Chunk[]];
  const reader = new PackReader(store);
  await reader.read(a[0]!);
  expect(decompressedHere).toHaveBeenCalledTimes(1);
  reader.prefetch(b);
  await reader.read(b[11]!); // Only some segments are decompressed ahead.
  expect(decompressedHere).toHaveBeenCalledTimes(2);
});

// The smaller budget is less than one pack: what is being read, and what comes next, is kept all the same.
test.each([100, 6000])(
  'packs without compression are fetched few ahead and once, with a budget of %i',
  async (budget) => {
    const packs = Array.from({ length: 20 }, () => store.pack(randomBytes(500), randomBytes(500)));
    const reader = new PackReader(store, budget);
    reader.prefetch(packs.flat());
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    expect(store.got).toHaveLength(4);
    for (const chunk of packs.flat()) {
      await reader.read(chunk);
      for (let turn = 0; turn < 20; turn++) await nextTurn();
    }
    expect(store.got).toEqual(packs.map((_, i) => i));
  },
);

test('a chunk that was read while its pack was still coming counts as ahead no more', async () => {
  const packs = Array.from({ length: 8 }, () => store.pack(randomBytes(500)));
  const reader = new PackReader(slow);
  const first = reader.read(packs[0]![0]!);
  reader.prefetch(packs.flat());
  await first;
  for (let turn = 0; turn < 40; turn++) await nextTurn();
  expect(store.got).toEqual([0, 1, 2, 3, 4]);
});

test('a new announcement takes the place of the last one', async () => {
  const [a, b] = [pack(8), pack(8)] as [Chunk[], Chunk[]];
  const reader = new PackReader(slow);
  reader.prefetch(a);
  await reader.read(a[0]!);
  reader.prefetch(b);
  for (const chunk of b) await reader.read(chunk);
  expect(decompressedHere).not.toHaveBeenCalled();
});

test('what is wrong ahead is said by whoever reads it, and by nobody else', async () => {
  const [good, bad, away] = [pack(1), pack(2), pack(1)] as [Chunk[], Chunk[], Chunk[]];
  const damaged = Buffer.from(store.blobs.get(bad[1]!.place.blob)!);
  damaged.fill(0xff, damaged.length - 30);
  store.blobs.set(bad[1]!.place.blob, damaged);
  store.blobs.delete(away[0]!.place.blob);
  const reader = new PackReader(store);
  reader.prefetch([...good, ...bad, ...away]);
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  for (const chunk of [good[0]!, bad[0]!]) expect((await reader.read(chunk)).length).toBe(20_000);
  const read = async (chunk: Chunk) => reader.read(chunk);
  expect(await rejection(read(bad[1]!))).toMatchObject({ code: 'store-damaged' });
  await expect(read(away[0]!)).rejects.toThrow('no blob');
  await expect(read(away[0]!)).rejects.toThrow('no blob');
});

test('what was announced is fetched no more once something else is', async () => {
  const [a, b] = [0, 1].map(() => Array.from({ length: 8 }, () => store.pack(randomBytes(500))).flat());
  const reader = new PackReader(slow);
  reader.prefetch(a!);
  reader.prefetch(b!);
  for (let turn = 0; turn < 40; turn++) await nextTurn();
  expect(store.got).toEqual([0, 8, 9, 10, 11]); // The first was asked for by then.
});
