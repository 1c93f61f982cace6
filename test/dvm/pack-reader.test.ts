import { randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { concat, u32 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { Chunk } from '../../dvm/entry.ts';
import { PackReader } from '../../dvm/pack-reader.ts';
import { Pack } from '../../dvm/pack.ts';
import { failure, rejection } from '../support/failure.ts';
import { MemoryStore, rawPack, sha256 } from './tree-kit.ts';

let store = new MemoryStore();
beforeEach(() => {
  store = new MemoryStore();
});

interface SegmentBytes {
  codec?: number;
  rawLength?: number;
  storedLength?: number;
  stored: Uint8Array;
}

function packOf(segments: readonly SegmentBytes[], version = 1, count = segments.length): Uint8Array {
  const headers = segments.map(
    ({ codec = 0, stored, rawLength = stored.length, storedLength = stored.length }) =>
      concat([Uint8Array.of(codec), u32(rawLength), u32(storedLength)]),
  );
  return concat([Uint8Array.of(version, count), ...headers, ...segments.map(({ stored }) => stored)]);
}

const text = Buffer.from('compressible, compressible, compressible, compressible');
const compressed = zstdCompressSync(text);

describe('a pack', () => {
  test('is read by place, over raw and compressed segments', () => {
    const pack = new Pack(
      packOf([{ stored: Buffer.from('raw') }, { codec: 1, rawLength: text.length, stored: compressed }]),
    );
    expect(pack.size).toBe(3 + text.length);
    expect(Buffer.from(pack.read(1, 2)).toString()).toBe('aw');
    expect(Buffer.from(pack.read(3, text.length)).equals(text)).toBe(true);
    expect(Buffer.from(pack.read(3 + 14, 12)).toString()).toBe('compressible');
  });

  test('a chunk over two segments is refused', () => {
    const pack = new Pack(rawPack(Buffer.from('one'), Buffer.from('two')));
    expect(failure(() => pack.read(2, 2)).code).toBe('store-damaged');
    expect(failure(() => pack.read(6, 1)).code).toBe('store-damaged');
  });

  const one = { stored: Buffer.from('x') };
  const cases: [string, Uint8Array][] = [
    ['nothing', new Uint8Array()],
    ['of another version', packOf([one], 2)],
    ['without segments', packOf([])],
    ['of 17 segments', packOf(Array.from({ length: 17 }, () => one))],
    ['that ends within its headers', packOf([one, one]).subarray(0, 15)],
    ['that ends within a segment', packOf([one, one]).subarray(0, -1)],
    ['followed by bytes', concat([packOf([one]), Uint8Array.of(0)])],
    ['of more segments than it says', packOf([one, one], 1, 1)],
    ['of an unknown codec', packOf([{ ...one, codec: 2 }])],
    ['with an empty segment', packOf([{ stored: new Uint8Array() }])],
    [
      'with a segment above 2 MiB',
      packOf([{ codec: 1, rawLength: 2 * 1024 * 1024 + 1, stored: compressed }]),
    ],
    ['with a raw segment of two lengths', packOf([{ ...one, rawLength: 2 }])],
    ['with a stored length beyond its end', packOf([{ ...one, rawLength: 2 ** 21, storedLength: 2 ** 21 }])],
  ];
  test.each(cases)('is refused: %s', (_title, blob) => {
    expect(failure(() => new Pack(blob)).code).toBe('store-damaged');
  });

  const broken: [string, SegmentBytes][] = [
    ['decompresses to more', { codec: 1, rawLength: text.length - 1, stored: compressed }],
    ['decompresses to less', { codec: 1, rawLength: text.length + 1, stored: compressed }],
    ['is half a frame', { codec: 1, rawLength: text.length, stored: compressed.subarray(0, -6) }],
    ['is no frame', { codec: 1, rawLength: text.length, stored: text }],
    ['is a bomb', { codec: 1, rawLength: 1000, stored: zstdCompressSync(Buffer.alloc(100 * 1024 * 1024)) }],
  ];
  test.each(broken)('a segment is refused that %s', (_title, segment) => {
    const pack = new Pack(packOf([segment]));
    expect(failure(() => pack.read(0, 1)).code).toBe('store-damaged');
  });

  test('is decoded or refused as damaged, whatever bytes are changed', () => {
    const blob = packOf([
      { stored: Buffer.from('raw') },
      { codec: 1, rawLength: text.length, stored: compressed },
    ]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(blob.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
        fc.nat(blob.length),
        (changes, length) => {
          const changed = new Uint8Array(blob.subarray(0, length % 3 === 0 ? length : blob.length));
          for (const [at, value] of changes) if (at < changed.length) changed[at] = value;
          try {
            const pack = new Pack(changed);
            pack.read(0, 3);
            pack.read(3, Math.max(1, pack.size - 3));
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

describe('a reader', () => {
  const read = async (reader: PackReader, chunk: Chunk) => Buffer.from(await reader.read(chunk));

  test('hands out verified chunks, and fetches a pack once', async () => {
    const contents = [randomBytes(100), randomBytes(5000), randomBytes(7)];
    const chunks = store.pack(...contents);
    const reader = new PackReader(store);
    for (const i of [2, 0, 1, 1]) expect((await read(reader, chunks[i]!)).equals(contents[i]!)).toBe(true);
    expect(store.got).toEqual([0]);
    expect(reader.read(chunks[0]!)).toBeInstanceOf(Uint8Array); // At once.
  });

  test('keeps packs up to its budget, the last used longest', async () => {
    const packs = [0, 1, 2].map(() => store.pack(randomBytes(1000))[0]!);
    const reader = new PackReader(store, 2500);
    for (const i of [0, 1, 0, 2, 0, 1]) await read(reader, packs[i]!);
    expect(store.got).toEqual([0, 1, 2, 1]);
  });

  test('counts what decompression adds', async () => {
    const content = Buffer.alloc(2 ** 20, 7);
    const place = { offset: 0, packSize: content.length };
    const chunks = [0, 1].map((): Chunk => {
      const blob = store.put(
        packOf([{ codec: 1, rawLength: content.length, stored: zstdCompressSync(content) }]),
      );
      return { gap: 0, length: content.length, hash: sha256(content), place: { ...place, blob } };
    });
    const reader = new PackReader(store, 2 ** 20 + 1000);
    for (const i of [0, 1, 0]) await read(reader, chunks[i]!);
    expect(store.got).toEqual([0, 1, 0]);
  });

  test('R05: refuses a chunk of another hash, and a pack of another size', async () => {
    const [chunk] = store.pack(randomBytes(100));
    const reader = new PackReader(store);
    expect((await rejection(read(reader, { ...chunk!, hash: sha256(randomBytes(3)) }))).code).toBe(
      'store-damaged',
    );
    const place = { ...chunk!.place, packSize: 101 };
    expect((await rejection(read(new PackReader(store), { ...chunk!, place }))).code).toBe('store-damaged');
  });

  test('announces packs once, and none that is at hand', async () => {
    const announced: number[][] = [];
    const source = {
      get: (number: number) => store.get(number),
      prefetch: (numbers: readonly number[]) => void announced.push([...numbers]),
    };
    const [a, b] = store.pack(randomBytes(10), randomBytes(10));
    const [c] = store.pack(randomBytes(10));
    const [d] = store.pack(randomBytes(10));
    const reader = new PackReader(source);
    reader.prefetch([c!, a!, b!]);
    await read(reader, a!);
    reader.prefetch([a!, b!]);
    reader.prefetch([b!, c!, d!]);
    reader.prefetch([d!, b!]); // It is being fetched.
    expect(announced).toEqual([[1, 0], [2]]);
  });
});
