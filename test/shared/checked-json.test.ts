/** State that notices a byte that is wrong. */

import { expect, test } from 'vitest';
import * as z from 'zod';
import { utf8 } from '../../shared/bytes.ts';
import { decodeChecked, encodeChecked } from '../../shared/checked-json.ts';

const schema = z.strictObject({ counter: z.int(), name: z.string(), all: z.array(z.int()).default([]) });
const value = { counter: 1_234, name: 'wörk', all: [1, 22] };
const lax = z.record(z.string(), z.unknown());

test('comes back, also without a sum', () => {
  expect(decodeChecked(encodeChecked(value), schema)).toEqual({ is: 'whole', value });
  expect(decodeChecked(utf8(JSON.stringify(value)), schema)).toEqual({ is: 'whole', value });
  expect(decodeChecked(encodeChecked({}), lax)).toEqual({ is: 'whole', value: {} });
  expect(JSON.parse(Buffer.from(encodeChecked({})).toString())).toHaveProperty('sum');
});

test('R54: any bit of any byte that is wrong is noticed', () => {
  const bytes = encodeChecked(value);
  for (let at = 0; at < bytes.length; at++)
    for (let bit = 0; bit < 8; bit++) {
      const wrong = Uint8Array.from(bytes);
      wrong[at]! ^= 1 << bit;
      expect(decodeChecked(wrong, schema).is, `byte ${at}, bit ${bit}`).toBe('damaged');
    }
});

test('R54: any end that is missing is noticed', () => {
  const bytes = encodeChecked(value);
  for (let end = 0; end < bytes.length; end++)
    expect(decodeChecked(bytes.subarray(0, end), schema).is, `${end} bytes`).toBe('damaged');
});

test('another version is told from damage', () => {
  expect(decodeChecked(encodeChecked({ ...value, more: 1 }), schema).is).toBe('foreign');
  expect(decodeChecked(utf8(JSON.stringify({ ...value, more: 1 })), schema).is).toBe('damaged');
});
