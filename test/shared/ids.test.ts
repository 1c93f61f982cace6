import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { hex, utf8 } from '../../shared/bytes.ts';
import { decodeWith, encodeCbor, encodeWith } from '../../shared/cbor.ts';
import {
  idBytes,
  isVmName,
  newRepositoryId,
  newVmId,
  objectIdCodec,
  objectIdFromBytes,
  objectIdOf,
  parseObjectId,
  parseVmName,
  rootHashOf,
  vmIdCodec,
} from '../../shared/ids.ts';
import { failure } from '../support/failure.ts';

/** SHA-256 of "abc", FIPS 180-2 appendix B.1. */
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

test('an object is named by the SHA-256 of its bytes, however they are cut', () => {
  expect(objectIdOf(utf8('abc'))).toBe(ABC);
  expect(objectIdOf(utf8('a'), utf8(''), utf8('bc'))).toBe(ABC);
  expect(rootHashOf(utf8('abc'))).toBe(ABC);
  expect(objectIdFromBytes(Buffer.from(ABC, 'hex'))).toBe(ABC);
  expect(hex(idBytes(objectIdOf(utf8('abc'))))).toBe(ABC);
});

describe('object names', () => {
  test('one form only', () => {
    expect(parseObjectId(ABC)).toBe(ABC);
    for (const text of [
      '',
      ABC.slice(1),
      `${ABC}0`,
      ABC.toUpperCase(),
      `${ABC}\n`,
      `../${ABC.slice(3)}`,
      ABC.replace('b', 'g'),
    ]) {
      expect(failure(() => parseObjectId(text)).code).toBe('protocol');
    }
  });

  test('on the wire: exactly 32 bytes', () => {
    const schema = z.strictObject({ id: objectIdCodec });
    expect(decodeWith(schema, encodeWith(schema, { id: parseObjectId(ABC) })).id).toBe(ABC);
    for (const id of [new Uint8Array(31), new Uint8Array(33), new Uint8Array(0), ABC, null, 5]) {
      expect(failure(() => decodeWith(schema, encodeCbor({ id }))).code).toBe('protocol');
    }
    expect(failure(() => objectIdFromBytes(new Uint8Array(31))).code).toBe('protocol');
  });
});

test('R11: ids are random, and 16 bytes on the wire', () => {
  const ids = new Set(Array.from({ length: 1000 }, () => [newVmId(), newRepositoryId()]).flat());
  expect(ids.size).toBe(2000);
  const schema = z.strictObject({ id: vmIdCodec });
  const id = newVmId();
  expect(decodeWith(schema, encodeWith(schema, { id })).id).toBe(id);
  expect(idBytes(id)).toHaveLength(16);
});

describe('VM names', () => {
  test.each(['a', 'Z', 'work', 'sys-net', 'my_VM-2', 'a.b', 'a..', 'x'.repeat(31)])('%s', (name) => {
    expect(parseVmName(name)).toBe(name);
  });

  test.each(['', '1work', '-work', '_x', 'x'.repeat(32), 'a b', 'a/b', '..', 'a\n', 'ä', 'a\0', '@dispvm'])(
    '%j is none',
    (name) => {
      expect(isVmName(name)).toBe(false);
      expect(failure(() => parseVmName(name)).code).toBe('usage');
    },
  );
});
