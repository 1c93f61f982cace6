import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ByteReader,
  byteString,
  bytesOf,
  compareBytes,
  concat,
  equalBytes,
  escapeText,
  hex,
  pushVarint,
  readU32,
  readU64,
  u32,
  u64,
  unescapeText,
  utf8,
} from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { failure } from '../support/failure.ts';

const anyBytes = fc.uint8Array({ maxLength: 200 });

describe('fixed-width integers', () => {
  test.each([0, 1, 255, 256, 2 ** 31, 2 ** 32 - 1])('u32 %d', (value) => {
    expect(readU32(concat([utf8('x'), u32(value)]), 1)).toBe(value);
  });

  test.each([0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1])('u64 %d', (value) => {
    expect(readU64(concat([utf8('x'), u64(value)]), 1)).toBe(value);
  });

  test('a u64 above 2^53 - 1 is refused', () => {
    const code = failure(() => readU64(Buffer.from('0020000000000000', 'hex'), 0)).code;
    expect(code).toBe('protocol');
    expect(failure(() => readU64(Buffer.alloc(8, 0xff), 0)).code).toBe('protocol');
  });

  test('are big endian', () => {
    expect(hex(u32(0x01020304))).toBe('01020304');
    expect(hex(u64(0x010203040506))).toBe('0000010203040506');
  });
});

describe('varints', () => {
  const encode = (value: number) => {
    const out: number[] = [];
    pushVarint(out, value);
    return Uint8Array.from(out);
  };

  test.each([
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '8001'],
    [300, 'ac02'],
    [2 ** 32, '8080808010'],
    [2 ** 53 - 1, 'ffffffffffffff0f'],
  ])('%d is %s', (value, expected) => {
    expect(hex(encode(value))).toBe(expected);
  });

  test('round trip', () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat()), (values) => {
        const reader = new ByteReader(concat(values.map(encode)));
        expect(values.map(() => reader.varint())).toEqual(values);
        expect(reader.atEnd).toBe(true);
      }),
    );
  });

  test.each([
    ['nothing', ''],
    ['cut', '80'],
    ['cut later', 'ffffff'],
    ['zero in two bytes', '8000'],
    ['one in two bytes', '8100'],
    ['trailing zero group', 'ffff00'],
    ['2^53', '8080808080808010'],
    ['2^64 - 1', 'ffffffffffffffffff01'],
    ['without end', 'ff'.repeat(40)],
    ['zeros without end', '80'.repeat(40)],
  ])('rejects %s', (_name, bytes) => {
    expect(failure(() => new ByteReader(Buffer.from(bytes, 'hex')).varint()).code).toBe('store-damaged');
  });

  test('any bytes: a value that encodes to the bytes read, or store-damaged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        const reader = new ByteReader(bytes);
        try {
          const value = reader.varint();
          const used = bytes.length - reader.remaining;
          expect(equalBytes(encode(value), bytes.subarray(0, used))).toBe(true);
        } catch (error) {
          expect(
            failure(() => {
              throw error;
            }).code,
          ).toBe('store-damaged');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('ByteReader', () => {
  test('never reads past the end', () => {
    const reader = new ByteReader(new Uint8Array(3));
    expect(failure(() => reader.take(4)).code).toBe('store-damaged');
    expect(reader.take(3)).toHaveLength(3);
    expect(reader.take(0)).toHaveLength(0);
    expect(failure(() => reader.u8()).code).toBe('store-damaged');
    expect(failure(() => reader.take(2 ** 52)).code).toBe('store-damaged');
  });
});

describe('byte strings', () => {
  test('carry any bytes', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(equalBytes(bytesOf(byteString(bytes)), bytes)).toBe(true);
      }),
    );
  });

  test('compare like their bytes', () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, (a, b) => {
        const [x, y] = [byteString(a), byteString(b)];
        expect(x < y ? -1 : x > y ? 1 : 0).toBe(compareBytes(a, b));
      }),
    );
  });
});

describe('escapeText', () => {
  test('is printable ASCII and has an inverse', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = escapeText(byteString(bytes));
        expect(text).toMatch(/^[\x20-\x7e]*$/);
        expect(equalBytes(bytesOf(unescapeText(text)), bytes)).toBe(true);
      }),
    );
  });

  test.each([
    ['plain name', 'plain name'],
    ['back\\slash', 'back\\\\slash'],
    ['\x1b[2J\n\x7f\xff', '\\x1b[2J\\x0a\\x7f\\xff'],
  ])('%j', (text, expected) => {
    expect(escapeText(text as ByteString)).toBe(expected);
  });

  test('what a person types: non-ASCII is UTF-8', () => {
    expect(hex(bytesOf(unescapeText('é\\xff\\\\')))).toBe('c3a9ff5c');
  });

  test.each(['\\', '\\n', 'a\\x', 'a\\x1', '\\xzz'])('%j is refused', (text) => {
    expect(failure(() => unescapeText(text)).code).toBe('usage');
  });
});
