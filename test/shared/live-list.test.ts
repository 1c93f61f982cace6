import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { PART_PREFIXES, decodeLivePart, encodeLiveList, livePrefix } from '../../shared/live-list.ts';
import { MAX_LIVE_PARTS } from '../../shared/limits.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { failure } from '../support/failure.ts';

const encode = (prefixes: readonly bigint[]) => [...encodeLiveList(BigUint64Array.from(prefixes))];
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

function decodeAll(parts: readonly Uint8Array[]): bigint[] {
  const prefixes: bigint[] = [];
  for (const part of parts) prefixes.push(...decodeLivePart(part, prefixes.at(-1) ?? -1n));
  return prefixes;
}

test('a prefix is the first 8 bytes of a name', () => {
  expect(livePrefix(`0123456789abcdef${'f'.repeat(48)}` as ObjectId)).toBe(0x0123456789abcdefn);
});

test('what comes in any order, and twice, is listed in order, once', () => {
  fc.assert(
    fc.property(fc.array(u64, { maxLength: 600 }), (prefixes) => {
      const parts = encode([...prefixes, ...prefixes.slice(0, 9)]);
      expect(parts.every(({ length }) => length >= MIN_OBJECT)).toBe(true);
      const expected = [...new Set(prefixes)].sort((a, b) => (a < b ? -1 : 1));
      expect(decodeAll(parts)).toEqual(expected);
    }),
  );
});

test('nothing is listed in no part', () => {
  expect(encode([])).toEqual([]);
});

test('a list of more than one part goes on where the last one ended', () => {
  const prefixes = BigUint64Array.from({ length: PART_PREFIXES + 3 }, (_, i) => BigInt(i) * 7n);
  const parts = [...encodeLiveList(prefixes)];
  expect(parts.map(({ length }) => length)).toEqual([12 + 8 * PART_PREFIXES, MIN_OBJECT]);
  const second = decodeLivePart(parts[1]!, BigInt(PART_PREFIXES - 1) * 7n);
  expect([...second]).toEqual([0, 1, 2].map((i) => BigInt(PART_PREFIXES + i) * 7n));
  expect(failure(() => decodeLivePart(parts[1]!, BigInt(PART_PREFIXES) * 7n)).code).toBe('store-damaged');
});

test('more objects than a root can list are refused', () => {
  const prefixes = new BigUint64Array(PART_PREFIXES * MAX_LIVE_PARTS + 1);
  expect(failure(() => encodeLiveList(prefixes).next()).code).toBe('limit');
});

describe('a part is damaged if', () => {
  const part = encode([1n, 2n, 2n ** 63n])[0]!;
  const changed = (at: number, byte: number) => part.with(at, byte);
  test.each<[string, Uint8Array]>([
    ['it is empty', new Uint8Array(0)],
    ['it is cut', part.subarray(0, part.length - 1)],
    ['it is longer', Buffer.concat([part, utf8('\0')])],
    ['its magic is another', changed(7, 0x32)],
    ['it counts too many', changed(9, 0xff)],
    ['it counts one less: a name becomes fill', changed(11, 2)],
    ['its fill is not zero', changed(part.length - 1, 1)],
    ['a name comes twice', changed(27, 1)],
    ['names are out of order', changed(12, 0x90)],
  ])('%s', (_what, bytes) => {
    expect(failure(() => decodeLivePart(bytes, -1n)).code).toBe('store-damaged');
  });

  test('it does not come after the part before', () => {
    expect(decodeLivePart(part, 0n)).toHaveLength(3);
    expect(failure(() => decodeLivePart(part, 1n)).code).toBe('store-damaged');
  });
});
