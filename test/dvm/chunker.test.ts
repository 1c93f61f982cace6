import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Chunker, GEAR, findCut } from '../../dvm/chunker.ts';
import type { Piece, Source } from '../../dvm/chunker.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
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
  return placed(chunksOf(bytes, { from, size }).chunks);
}

/** The chunks as a reader takes them: each is looked at once the next one was cut. */
function chunksOf(
  bytes: Buffer,
  { from = source(bytes), size = bytes.length, known = [] as readonly ChunkContent[] } = {},
): {
  readonly chunks: readonly ChunkContent[];
  readonly guesses: number;
  readonly refused: number;
  readonly bytesRead: number;
} {
  const chunker = new Chunker();
  const chunks: ChunkContent[] = [];
  let guesses = 0;
  let refused = 0;
  let last: Piece | undefined;
  const take = (piece: Piece): boolean => {
    const hash = createHash('sha256').update(piece.bytes).digest();
    if (!chunker.confirm(piece, hash)) {
      refused += 1;
      return false;
    }
    guesses += Number(piece.isGuess);
    chunks.push({ gap: piece.gap, length: piece.bytes.length, hash });
    return true;
  };
  for (const piece of chunker.chunks(from, size, known)) {
    const next = piece.bytes.length > 0 ? piece : undefined;
    last = last === undefined || take(last) ? next : undefined;
  }
  if (last !== undefined) expect(take(last)).toBe(true);
  return { chunks, guesses, refused, bytesRead: chunker.bytesRead };
}

function placed(chunks: readonly ChunkContent[]): Cut[] {
  let end = 0;
  return chunks.map(({ gap, length, hash }) => {
    const position = end + gap;
    end = position + length;
    return { position, length, hash: Buffer.from(hash).toString('hex') };
  });
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

describe('with chunks of an earlier state', () => {
  /** A change of a file: bytes overwritten, zeroed, inserted or removed, or the end cut off or added to. */
  const change = fc.record({
    kind: fc.constantFrom('overwrite', 'zero', 'insert', 'remove', 'truncate', 'append'),
    at: fc.nat({ max: 2 ** 31 }),
    length: fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.constantFrom(ZERO_BLOCK, 3 * ZERO_BLOCK, 1 * MiB)),
    seed: fc.integer({ min: 1, max: 1000 }),
  });

  function changed(
    bytes: Buffer,
    { kind, at, length, seed }: { kind: string; at: number; length: number; seed: number },
  ) {
    const from = bytes.length === 0 ? 0 : at % bytes.length;
    const [before, after] = [bytes.subarray(0, from), bytes.subarray(from)];
    const [fresh, skipped] = [noise(length, seed), after.subarray(Math.min(length, after.length))];
    if (kind === 'overwrite') return Buffer.concat([before, fresh, skipped]);
    if (kind === 'zero') return Buffer.concat([before, Buffer.alloc(length), skipped]);
    if (kind === 'insert') return Buffer.concat([before, fresh, after]);
    if (kind === 'remove') return Buffer.concat([before, skipped]);
    return kind === 'truncate' ? Buffer.from(before) : Buffer.concat([bytes, fresh]);
  }

  test('the chunks are those of the file alone, whatever changed', () => {
    fc.assert(
      fc.property(file, fc.array(change, { maxLength: 4 }), (bytes, changes) => {
        const known = chunksOf(bytes).chunks;
        const now = changes.reduce<Buffer>(changed, bytes);
        const { chunks, bytesRead } = chunksOf(now, { known });
        expect(placed(chunks)).toEqual(cutsOf(now));
        expect(bytesRead).toBeLessThanOrEqual(now.length);
      }),
      { numRuns: 60 },
    );
  });

  test('they are, whatever is said to be known', () => {
    const lie = fc.record({
      gap: fc.constantFrom(0, 0, 0, ZERO_BLOCK, 1),
      length: fc.oneof(
        fc.integer({ min: 1, max: MAX_CHUNK + 1 }),
        fc.constantFrom(MAX_CHUNK, MIN_CHUNK, 1 * MiB),
      ),
      hash: fc.constant(Buffer.alloc(32, 1)),
    });
    fc.assert(
      fc.property(file, fc.array(lie, { maxLength: 12 }), (bytes, known) => {
        expect(placed(chunksOf(bytes, { known }).chunks)).toEqual(cutsOf(bytes));
      }),
      { numRuns: 40 },
    );
  });

  test('what is as it was is not cut again, before and behind what was written', () => {
    const bytes = Buffer.concat([noise(20 * MiB, 3), Buffer.alloc(5 * MiB, 0x55), noise(10 * MiB, 4)]);
    const { chunks: known } = chunksOf(bytes);
    expect(chunksOf(bytes, { known }).guesses).toBeGreaterThan(known.length - 5);
    noise(1 * MiB, 9).copy(bytes, 12 * MiB);
    const { chunks, guesses, bytesRead } = chunksOf(bytes, { known });
    expect(placed(chunks)).toEqual(cutsOf(bytes));
    expect(guesses).toBeGreaterThan(known.length - 12);
    expect(bytesRead).toBe(bytes.length);
  });

  test('wherever the windows end, a chunk that was written to is read and cut anew', () => {
    const bytes = noise(20 * MiB, 5);
    const { chunks: known } = chunksOf(bytes);
    const cuts = cutsOf(bytes);
    for (let which = 0; which < known.length - 1; which++) {
      const now = Buffer.from(bytes);
      const at = cuts[which]!.position + MIN_CHUNK;
      now[at] = now[at]! ^ 1;
      const { chunks, refused, bytesRead } = chunksOf(now, { known });
      expect(placed(chunks)).toEqual(cutsOf(now));
      expect(refused).toBe(1);
      expect(bytesRead).toBe(now.length);
    }
  });

  test('what is all new is cut, and not guessed at again and again', () => {
    const bytes = noise(32 * MiB, 6);
    const { chunks: known } = chunksOf(bytes);
    const cuts = cutsOf(bytes);
    for (const { position } of cuts) bytes[position] = bytes[position]! ^ 1; // Where no cut depends on it.
    const { chunks, guesses, refused } = chunksOf(bytes, { known });
    expect(chunks.map(({ length }) => length)).toEqual(known.map(({ length }) => length));
    expect(guesses).toBe(0);
    expect(refused).toBeLessThanOrEqual(2);
  });

  const solid = noise(3 * ZERO_BLOCK, 1);
  const hole = Buffer.alloc(ZERO_BLOCK);
  const same = (byte: number) => Buffer.alloc(MAX_CHUNK, byte);
  test.each([
    ['that zeros ended, and data follows', [solid, hole, solid], [solid, solid, solid]],
    ['that the end of the file ended, and data follows', [solid.subarray(5)], [solid.subarray(5), solid]],
    ['behind a gap, written to', [hole, noise(4 * MiB, 2)], [hole, noise(4 * MiB, 3)]],
    ['of the maximum, written to, and then nothing', [same(5), hole, solid], [same(6), hole]],
    ['of the maximum, written to, at the end', [same(5), solid], [same(6)]],
  ])('a chunk %s', (_, before, after) => {
    const { chunks: known } = chunksOf(Buffer.concat(before));
    const now = Buffer.concat(after);
    expect(placed(chunksOf(now, { known }).chunks)).toEqual(reference(now));
  });

  test.each([MIN_CHUNK - 5, MAX_CHUNK + 5])('one of %i bytes was never cut so', (length) => {
    const bytes = Buffer.concat([noise(2 * MiB, 1), Buffer.alloc(3 * MAX_CHUNK, 0x55)]);
    const before = chunksOf(bytes).chunks.slice(0, 3);
    const from = before.reduce((sum, chunk) => sum + chunk.length, 0);
    const hash = createHash('sha256')
      .update(bytes.subarray(from, from + length))
      .digest();
    const known = [...before, { gap: 0, length, hash }, { gap: 0, length, hash }];
    expect(placed(chunksOf(bytes, { known }).chunks)).toEqual(cutsOf(bytes));
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
