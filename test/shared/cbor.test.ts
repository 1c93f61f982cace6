import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { hex, utf8 } from '../../shared/bytes.ts';
import { decodeWith, encodeCbor, scan } from '../../shared/cbor.ts';
import { MAX_CBOR_DEPTH } from '../../shared/limits.ts';
import { failure } from '../support/failure.ts';
import { readVectors } from '../support/vectors.ts';

const fromHex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const decode = (bytes: Uint8Array) => decodeWith(z.unknown(), bytes);

/** `depth` arrays around an empty one. */
const nested = (depth: number) => new Uint8Array([...new Array<number>(depth).fill(0x81), 0x80]);

/** Every MUST reject of docs/format.md, section 1, with examples of RFC 8949; and what must be accepted. */
const vectors = readVectors(
  'cbor',
  z.strictObject({
    section: z.string(),
    accepted: z.array(z.strictObject({ title: z.string(), bytes: z.string(), value: z.unknown() })),
    rejected: z.array(z.strictObject({ title: z.string(), bytes: z.string() })),
  }),
);

test.each(vectors.accepted)('vector: $title', ({ bytes, value }) => {
  expect(decode(fromHex(bytes))).toEqual(value);
  expect(hex(encodeCbor(value))).toBe(bytes);
});

describe('a reader rejects', () => {
  test.each(vectors.rejected)('$title', ({ bytes }) => {
    expect(failure(() => scan(fromHex(bytes))).code).toBe('protocol');
    expect(failure(() => decode(fromHex(bytes))).code).toBe('protocol');
  });

  test('items deeper than the limit', () => {
    expect(() => scan(nested(MAX_CBOR_DEPTH))).not.toThrow();
    expect(failure(() => scan(nested(MAX_CBOR_DEPTH + 1))).code).toBe('protocol');
  });

  test('a million levels, without overflowing the stack', () => {
    expect(failure(() => scan(nested(1_000_000))).code).toBe('protocol');
    const maps = Buffer.alloc(3_000_000, Buffer.from('a16161', 'hex'));
    expect(failure(() => scan(maps)).code).toBe('protocol');
  });

  test('unknown and missing fields', () => {
    const schema = z.strictObject({ a: z.int(), b: z.nullable(z.int()) });
    expect(decodeWith(schema, encodeCbor({ a: 1, b: null }))).toEqual({ a: 1, b: null });
    expect(failure(() => decodeWith(schema, encodeCbor({ a: 1, b: 2, c: 3 }))).code).toBe('protocol');
    expect(failure(() => decodeWith(schema, encodeCbor({ a: 1 }))).code).toBe('protocol');
    expect(failure(() => decodeWith(schema, encodeCbor({ a: '1', b: 2 }))).code).toBe('protocol');
    expect(failure(() => decodeWith(schema, encodeCbor([1, 2]))).code).toBe('protocol');
  });

  test.each(['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'then', 'toJSON'])(
    'the unknown field %s, which objects have by nature',
    (key) => {
      const schema = z.strictObject({ a: z.int().optional() });
      expect(failure(() => decodeWith(schema, encodeCbor({ [key]: 1 }))).code).toBe('protocol');
      expect(decode(encodeCbor({ [key]: 1 }))).toEqual({ [key]: 1 });
    },
  );
});

test('R02: a huge declared length allocates nothing', () => {
  const before = process.memoryUsage();
  for (const head of [
    '5a 7fffffff',
    '7a 7fffffff',
    '9a 7fffffff',
    'ba 7fffffff',
    '5b 000000ffffffffff',
    '9b 000000ffffffffff',
  ]) {
    for (let i = 0; i < 100; i++) failure(() => decode(fromHex(`${head} 00`)));
  }
  const after = process.memoryUsage();
  expect(after.rss - before.rss).toBeLessThan(64 * 1024 * 1024);
});

test('decoded byte strings share no memory with the input', () => {
  const schema = z.strictObject({ long: z.instanceof(Uint8Array), short: z.instanceof(Uint8Array) });
  const original = { long: new Uint8Array(100_000).fill(7), short: new Uint8Array([7]) };
  const input = Buffer.from(encodeCbor(original));
  const decoded = decodeWith(schema, input);
  input.fill(0);
  expect(decoded.short).toEqual(original.short);
  expect(Buffer.compare(decoded.long, original.long)).toBe(0);
  decoded.short[0] = 9;
  expect(input.every((byte) => byte === 0)).toBe(true);
});

test('two encodings share no memory', () => {
  const first = encodeCbor({ a: utf8('first') });
  const copy = hex(first);
  encodeCbor({ a: utf8('other') });
  expect(hex(first)).toBe(copy);
});

/** Values of the narrowed data model, not nested deeper than the limit. */
const key = fc.stringMatching(/^[a-z][A-Za-z0-9]{0,31}$/);
const leaf = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(70_000),
  fc.constantFrom(23, 24, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
  fc.uint8Array({ maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 300 }).filter((text) => text.isWellFormed()),
  fc.boolean(),
  fc.constant(null),
);
const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', maxDepth: 6 },
    leaf,
    fc.array(tie('node'), { maxLength: 40 }),
    fc.dictionary(key, tie('node'), { maxKeys: 40, noNullPrototype: true }),
  ),
})).node;

describe('properties', () => {
  test('round trip: what is encoded is accepted, and decodes to the same', () => {
    fc.assert(
      fc.property(value, (item) => {
        const bytes = encodeCbor(item);
        scan(bytes);
        expect(decode(bytes)).toEqual(item);
      }),
      { numRuns: 500 },
    );
  });

  test('key order in memory does not matter', () => {
    fc.assert(
      fc.property(fc.dictionary(key, leaf, { maxKeys: 40, noNullPrototype: true }), (map) => {
        const reversed = Object.fromEntries(Object.entries(map).reverse());
        expect(hex(encodeCbor(reversed))).toBe(hex(encodeCbor(map)));
      }),
    );
  });

  test('one value has one encoding: whatever is accepted encodes to the same bytes again', () => {
    const mutated = fc
      .tuple(value, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }))
      .map(([item, changes]) => {
        const bytes = encodeCbor(item);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), mutated), (bytes) => {
        let item: unknown;
        try {
          item = decode(bytes);
        } catch (error) {
          expect(
            failure(() => {
              throw error;
            }).code,
          ).toBe('protocol');
          return;
        }
        expect(hex(encodeCbor(item))).toBe(hex(bytes));
      }),
      { numRuns: 5000 },
    );
  });

  test('every cut of a message is rejected', () => {
    const bytes = encodeCbor({
      a: [1, 300, 70_000, 2 ** 40],
      b: utf8('bytes'),
      c: 'text',
      d: { e: null, f: [true, false] },
    });
    for (let end = 0; end < bytes.length; end++)
      expect(failure(() => scan(bytes.subarray(0, end))).code).toBe('protocol');
  });
});

describe('the encoder refuses what the format has no form for', () => {
  test.each<[string, unknown]>([
    ['a negative number', -1],
    ['a fraction', 1.5],
    ['NaN', NaN],
    ['2^53', 2 ** 53],
    ['a bigint', 1n],
    ['undefined', undefined],
    ['a symbol', Symbol('x')],
    ['a function', () => 1],
    ['the key __proto__', JSON.parse('{"__proto__": 1}')],
    ['an empty key', { '': 1 }],
    ['half a surrogate pair', 'a\ud800b'],
  ])('%s', (_name, item) => {
    expect(failure(() => encodeCbor(item)).code).toBe('internal');
    expect(failure(() => encodeCbor([item])).code).toBe('internal');
  });

  test('a field that is undefined is left out', () => {
    expect(hex(encodeCbor({ a: 1, b: undefined }))).toBe(hex(encodeCbor({ a: 1 })));
  });
});
