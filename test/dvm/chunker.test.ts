import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Chunker, GEAR, findCut } from '../../dvm/chunker.ts';
import type { Source } from '../../dvm/chunker.ts';
import { MAX_CHUNK, MEAN_CHUNK, MIN_CHUNK, ZERO_BLOCK } from '../../shared/limits.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

interface Cut {
  position: number;
  length: number;
  hash: string;
}

/** Bytes that are the same in every run: AES-free, from a counter. */
function noise(length: number, seed: number): Buffer {
  const out = Buffer.alloc(length);
  let x = (seed * 2654435761 + 1) | 0;
  for (let i = 0; i + 4 <= length; i += 4) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out.writeInt32LE(x, i);
  }
  return out;
}

/** A source that reads in odd portions and reports holes (or none) as it likes, within the truth. */
function source(
  bytes: Buffer,
  portion = Infinity,
  seek: Source['seekData'] = (position) => position,
): Source {
  return {
    read(target, position) {
      const count = Math.max(0, Math.min(target.length, portion, bytes.length - position));
      bytes.copy(target, 0, position, position + count);
      return count;
    },
    seekData: seek,
  };
}

function cutsOf(bytes: Buffer, from: Source = source(bytes), size = bytes.length): Cut[] {
  const cuts: Cut[] = [];
  let position = 0;
  for (const piece of new Chunker().chunks(from, size)) {
    position += piece.gap;
    const hash = createHash('sha256').update(piece.bytes).digest('hex');
    cuts.push({ position, length: piece.bytes.length, hash });
    position += piece.bytes.length;
  }
  return cuts;
}

/** The definition of section 9, word by word and slow. */
function reference(bytes: Buffer): Cut[] {
  const cuts: Cut[] = [];
  const isZero = (block: number) => bytes.subarray(block, block + ZERO_BLOCK).every((byte) => byte === 0);
  let block = 0;
  while (block < bytes.length) {
    if (isZero(block)) {
      block += ZERO_BLOCK;
      continue;
    }
    let end = block;
    while (end < bytes.length && !isZero(end)) end = Math.min(bytes.length, end + ZERO_BLOCK);
    let start = block;
    while (start < end) {
      let hash = 0;
      let at = start;
      for (;;) {
        const index = at - start;
        if (index === MAX_CHUNK || at === end) break;
        const byte = bytes[at]!;
        at += 1;
        if (index < MIN_CHUNK) continue;
        hash = (hash * 2 + GEAR[byte]!) | 0;
        const mask = index < 512 * KiB ? 0xfffff000 : 0xffffc000;
        if ((hash & mask) === 0) break;
      }
      const hash256 = createHash('sha256').update(bytes.subarray(start, at)).digest('hex');
      cuts.push({ position: start, length: at - start, hash: hash256 });
      start = at;
    }
    block = end;
  }
  return cuts;
}

/** A file of runs: noise, zeros and low entropy, with lengths around the block size. */
const file = fc
  .array(
    fc.record({
      kind: fc.constantFrom('noise', 'zero', 'same'),
      length: fc.oneof(
        fc.integer({ min: 1, max: 3 * ZERO_BLOCK }),
        fc.constantFrom(ZERO_BLOCK, ZERO_BLOCK - 1, ZERO_BLOCK + 1, 4 * ZERO_BLOCK, 1 * MiB, 3 * MiB),
      ),
      seed: fc.integer({ min: 1, max: 1000 }),
    }),
    { maxLength: 8 },
  )
  .map((runs) =>
    Buffer.concat(
      runs.map(({ kind, length, seed }) =>
        kind === 'noise' ? noise(length, seed) : Buffer.alloc(length, kind === 'zero' ? 0 : seed & 0xff),
      ),
    ),
  );

describe('format, section 9', () => {
  test('the gear table comes from SHA-256', () => {
    const third = createHash('sha256').update('qubes-incremental-backup gear\x03', 'latin1').digest();
    expect(GEAR[3]! >>> 0).toBe(third.readUInt32BE(0));
    expect(new Set(GEAR).size).toBe(256);
  });

  test('chunks are those of the definition, whatever the file', () => {
    fc.assert(
      fc.property(file, (bytes) => {
        expect(cutsOf(bytes)).toEqual(reference(bytes));
      }),
      { numRuns: 25 },
    );
  });

  test('neither the sizes of reads nor the layout of holes matters', () => {
    fc.assert(
      fc.property(file, fc.integer({ min: 1000, max: 3 * MiB }), fc.boolean(), (bytes, portion, sparse) => {
        // The sparsest truth a file system may tell, to the byte; or the densest.
        const seek = (position: number) => {
          let at = position;
          while (at < bytes.length && bytes[at] === 0) at++;
          return at < bytes.length ? at : undefined;
        };
        expect(cutsOf(bytes, source(bytes, portion, sparse ? seek : undefined))).toEqual(cutsOf(bytes));
      }),
      { numRuns: 25 },
    );
  });

  test.each([0, 1, MIN_CHUNK - 1, MIN_CHUNK, MIN_CHUNK + 1, MAX_CHUNK, MAX_CHUNK + 1, 8 * MiB, 8 * MiB + 1])(
    'noise of %i bytes comes back whole, in chunks within bounds',
    (size) => {
      const bytes = noise(size + 4, 7).subarray(0, size);
      const cuts = cutsOf(bytes);
      expect(cuts.reduce((sum, cut) => sum + cut.length, 0)).toBe(size);
      cuts.forEach((cut, index) => {
        expect(cut.length).toBeLessThanOrEqual(MAX_CHUNK);
        if (index < cuts.length - 1) expect(cut.length).toBeGreaterThan(MIN_CHUNK);
      });
    },
  );

  test('a run without any cut is cut at the maximum', () => {
    const bytes = Buffer.alloc(5 * MiB, 0x55);
    expect(cutsOf(bytes).map((cut) => cut.length)).toEqual([2 * MiB, 2 * MiB, 1 * MiB]);
  });
});

test('R21: one changed byte, or one inserted, moves few chunks of 64 MiB', () => {
  const bytes = noise(64 * MiB, 3);
  const before = new Set(cutsOf(bytes).map((cut) => cut.hash));
  expect(before.size).toBeGreaterThan(64);
  const changed = Buffer.from(bytes);
  changed[30 * MiB] = changed[30 * MiB]! ^ 1;
  expect(cutsOf(changed).filter((cut) => !before.has(cut.hash)).length).toBeLessThanOrEqual(3);
  const inserted = Buffer.concat([bytes.subarray(0, 30 * MiB), Buffer.from('x'), bytes.subarray(30 * MiB)]);
  expect(cutsOf(inserted).filter((cut) => !before.has(cut.hash)).length).toBeLessThanOrEqual(5);
});

test('a file that shrank reads as zeros, and ends even if it was huge', () => {
  const bytes = noise(3 * ZERO_BLOCK, 5);
  const gone = source(bytes, Infinity, (position) => (position < bytes.length ? position : undefined));
  expect(cutsOf(bytes, gone, 2 ** 40)).toEqual(cutsOf(bytes));
});

test('a terabyte of hole takes no time', () => {
  const far = 2 ** 40;
  const island = randomBytes(1000);
  const reads: number[] = [];
  const sparse: Source = {
    read(target, position) {
      reads.push(position);
      target.fill(0);
      if (position <= far && far < position + target.length) island.copy(target, far - position);
      return target.length;
    },
    seekData: (position) => (position <= far ? Math.max(position, far) : undefined),
  };
  const cuts = cutsOf(Buffer.alloc(0), sparse, far + MiB * MiB);
  expect(cuts).toMatchObject([{ position: far, length: ZERO_BLOCK }]);
  expect(reads.length).toBeLessThan(20);
});

test('the inner loop is not slow by accident', () => {
  const bytes = noise(16 * MiB, 11);
  const run = () => {
    const start = performance.now();
    for (let at = 0; at < bytes.length;) at = findCut(bytes, at, Math.min(bytes.length, at + MAX_CHUNK));
    return performance.now() - start;
  };
  const best = Math.min(...Array.from({ length: 8 }, run));
  expect(best).toBeLessThan(400); // 40 MiB/s: a tenth of the slowest machine in use.
  expect(MEAN_CHUNK).toBe(512 * KiB);
});
