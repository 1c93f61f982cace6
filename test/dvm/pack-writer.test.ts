import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ChunkTable } from '../../dvm/chunk-table.ts';
import { Pack } from '../../dvm/pack.ts';
import { PackWriter } from '../../dvm/pack-writer.ts';
import { Segment, SegmentPlace } from '../../dvm/place.ts';
import { MAX_PACK, MAX_SEGMENT, MAX_SEGMENTS } from '../../shared/limits.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Packs as dom0 would keep them, numbered from 100. */
class Packs {
  readonly blobs: Buffer[] = [];
  readonly writer: PackWriter;

  constructor(compress = true) {
    this.writer = new PackWriter(
      (pieces) => {
        this.blobs.push(Buffer.concat(pieces));
        return Promise.resolve(99 + this.blobs.length);
      },
      { compress },
    );
  }

  async addAll(chunks: readonly Buffer[]): Promise<SegmentPlace[]> {
    const places: SegmentPlace[] = [];
    for (const chunk of chunks) {
      await this.writer.ready();
      places.push(this.writer.add(chunk));
    }
    return places;
  }

  read({ blob, offset, packSize }: SegmentPlace, length: number): Uint8Array {
    const pack = new Pack(this.blobs[blob - 100]!);
    expect(pack.size).toBe(packSize);
    return pack.read(offset, length);
  }
}

const text = (length: number) => Buffer.alloc(length, 'some text that repeats itself; ');

test('chunks of any size and kind come back from where they were put; packs keep their bounds', async () => {
  const chunk = fc.record({
    size: fc.oneof(
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: MAX_SEGMENT }),
      fc.constant(MAX_SEGMENT),
    ),
    noise: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(chunk, { maxLength: 12 }), fc.boolean(), async (shapes, compress) => {
      const chunks = shapes.map(({ size, noise }) => (noise ? randomBytes(size) : text(size)));
      const packs = new Packs(compress);
      const places = await packs.addAll(chunks);
      await packs.writer.flush();
      chunks.forEach((bytes, i) => expect(bytes.equals(packs.read(places[i]!, bytes.length))).toBe(true));
      for (const blob of packs.blobs) expect(blob.length).toBeLessThanOrEqual(MAX_PACK);
    }),
    { numRuns: 15 },
  );
});

test('incompressible packs fill up to the size class; compressible ones to the number of segments', async () => {
  const noise = new Packs();
  await noise.addAll(Array.from({ length: 64 }, () => randomBytes(512 * KiB - 1)));
  await noise.writer.flush();
  expect(noise.blobs.length).toBeLessThanOrEqual(6);
  for (const blob of noise.blobs.slice(0, -1)) expect(blob.length).toBeGreaterThan(5.9 * MiB);

  const repeated = new Packs();
  await repeated.addAll(Array.from({ length: 17 }, () => text(MAX_SEGMENT)));
  await repeated.writer.flush();
  expect(repeated.blobs.map((blob) => blob[1])).toEqual([MAX_SEGMENTS, 1]);
  expect(repeated.blobs[0]!.length).toBeLessThan(MiB);
});

test('R08: without compression the stored bytes are the chunks themselves', async () => {
  const packs = new Packs(false);
  await packs.addAll([text(1000), text(2000)]);
  await packs.writer.flush();
  const header = Buffer.from('0101' + '00' + '00000bb8' + '00000bb8', 'hex');
  expect(packs.blobs).toEqual([Buffer.concat([header, text(1000), text(2000)])]);
});

test('a segment that zstd cannot shrink is stored raw', async () => {
  const packs = new Packs();
  await packs.addAll([randomBytes(100 * KiB)]);
  await packs.writer.flush();
  expect([packs.blobs[0]![1], packs.blobs[0]![2]]).toEqual([1, 0]);
});

test('a place has no number before its pack is complete; nothing is put for nothing', async () => {
  const packs = new Packs();
  await packs.writer.flush();
  expect(packs.blobs).toEqual([]);
  const place = packs.writer.add(text(10));
  expect(() => place.blob).toThrow(/not complete/);
  await packs.writer.flush();
  expect(place.blob).toBe(100);
});

test('a failure to store reaches who adds and who flushes, and is not unhandled', async () => {
  const writer = new PackWriter(() => Promise.reject(new Error('store is full')), { compress: false });
  const fill = async () => {
    for (let i = 0; i < 20; i++) {
      await writer.ready();
      writer.add(randomBytes(MAX_SEGMENT));
    }
  };
  await expect(fill()).rejects.toThrow('store is full');
  await expect(writer.flush()).rejects.toThrow('store is full');
});

test('the chunk table answers what was set last, for many chunks with alike hashes', () => {
  const table = new ChunkTable();
  const hash = (i: number, head: number) => {
    const bytes = Buffer.alloc(32);
    bytes.writeUInt32LE(head);
    bytes.writeUInt32LE(i, 28);
    return bytes;
  };
  const segment = new Segment({ number: 9, size: 1 });
  for (let i = 0; i < 20_000; i++) table.set(hash(i, i % 4000), new SegmentPlace(segment, i));
  expect(table.size).toBe(20_000);
  for (let i = 0; i < 20_000; i++) expect(table.get(hash(i, i % 4000))?.offset).toBe(i);
  expect(table.get(hash(20_000, 0))).toBeUndefined();
  const base = { blob: 5, offset: 77, packSize: 1000 };
  expect(table.addBase(hash(1, 1), base)).toBe(false);
  expect(table.get(hash(1, 1))?.blob).toBe(9);
  expect(table.addBase(hash(1, 2), base)).toBe(true);
  expect(table.get(hash(1, 2))).toMatchObject({ blob: 5, offset: 77, packSize: 1000 });
  table.set(hash(1, 2), new SegmentPlace(segment, 3));
  expect(table.get(hash(1, 2))?.blob).toBe(9);
  expect(table.size).toBe(20_001);
});
