import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { hex } from '../../shared/bytes.ts';
import { MAX_BLOB_NUMBER } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { failure } from '../support/failure.ts';
import { readVectors } from '../support/vectors.ts';

const vectors = readVectors(
  'numbers',
  z.strictObject({
    section: z.string(),
    accepted: z.array(
      z.strictObject({ title: z.string(), bytes: z.string(), runs: z.array(z.tuple([z.int(), z.int()])) }),
    ),
    rejected: z.array(z.strictObject({ title: z.string(), bytes: z.string() })),
  }),
);

/** Small numbers meet often; large ones reach the limits. */
const numbers = fc.array(
  fc.oneof(fc.nat(60), fc.integer({ min: MAX_BLOB_NUMBER - 60, max: MAX_BLOB_NUMBER })),
  { maxLength: 60 },
);
const listed = (set: Iterable<number>) => [...set].sort((a, b) => a - b);

describe('a number set behaves like a Set', () => {
  test('membership, size, order', () => {
    fc.assert(
      fc.property(numbers, fc.nat(70), (items, probe) => {
        const [set, model] = [NumberSet.of(items), new Set(items)];
        expect([...set]).toEqual(listed(model));
        expect(set.size).toBe(model.size);
        expect(set.has(probe)).toBe(model.has(probe));
        for (const item of items) expect(set.has(item)).toBe(true);
      }),
    );
  });

  test('union, minus, subset, equality', () => {
    fc.assert(
      fc.property(numbers, numbers, (a, b) => {
        const [x, y] = [NumberSet.of(a), NumberSet.of(b)];
        const [p, q] = [new Set(a), new Set(b)];
        expect([...x.union(y)]).toEqual(listed(new Set([...a, ...b])));
        expect([...x.minus(y)]).toEqual(listed([...p].filter((item) => !q.has(item))));
        expect(x.isSubsetOf(y)).toBe(a.every((item) => q.has(item)));
        expect(x.isSubsetOf(x.union(y))).toBe(true);
        expect(x.equals(y)).toBe(p.size === q.size && a.every((item) => q.has(item)));
        expect(x.union(y).equals(y.union(x))).toBe(true);
        expect(x.minus(x).equals(NumberSet.empty)).toBe(true);
      }),
    );
  });

  test('runs are sorted and never touch', () => {
    fc.assert(
      fc.property(numbers, numbers, (a, b) => {
        let before = -1;
        for (const [start, end] of NumberSet.of(a).union(NumberSet.of(b)).runs()) {
          expect(start).toBeGreaterThan(before);
          expect(end).toBeGreaterThan(start);
          before = end;
        }
      }),
    );
  });

  test('a range is its numbers', () => {
    expect([...NumberSet.range(3, 6)]).toEqual([3, 4, 5]);
    expect(NumberSet.range(3, 3).equals(NumberSet.empty)).toBe(true);
    expect(NumberSet.range(6, 3).equals(NumberSet.empty)).toBe(true);
  });
});

describe('encoding', () => {
  test.each(vectors.accepted)('vector: $title', ({ bytes, runs }) => {
    const set = NumberSet.decode(Buffer.from(bytes, 'hex'));
    expect([...set.runs()]).toEqual(runs.map(([first, last]) => [first, last + 1]));
    expect(hex(set.encode())).toBe(bytes);
  });

  test('round trip', () => {
    fc.assert(
      fc.property(numbers, (items) => {
        const set = NumberSet.of(items);
        expect(NumberSet.decode(set.encode()).equals(set)).toBe(true);
      }),
    );
  });

  test.each(vectors.rejected)('rejects $title', ({ bytes }) => {
    expect(failure(() => NumberSet.decode(Buffer.from(bytes, 'hex'))).code).toBe('store-damaged');
  });

  test('any bytes: the one encoding of the set they mean, or store-damaged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), (bytes) => {
        let set: NumberSet;
        try {
          set = NumberSet.decode(bytes);
        } catch (error) {
          expect(
            failure(() => {
              throw error;
            }).code,
          ).toBe('store-damaged');
          return;
        }
        expect(hex(set.encode())).toBe(hex(bytes));
      }),
      { numRuns: 2000 },
    );
  });
});
