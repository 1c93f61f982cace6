/** What the recovery script brings of its own: against published vectors, native code, and the vectors of the format. */

import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake2b } from '@noble/hashes/blake2.js';
import { argon2Sync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import * as z from 'zod';
import { paperWords } from '../../dom0/words.ts';
import { NO_ROOT } from '../../shared/ids.ts';
import { decodeRoot, encodeRoot } from '../../shared/root.ts';
import type { RootBody } from '../../shared/root.ts';
import { signRotation } from '../../shared/rotation.ts';
import { PRIMITIVES, hexBytes as bytes } from '../support/primitive-vectors.ts';
import { readVectors } from '../support/vectors.ts';
import { parts } from './script.ts';
import { sign } from '../support/noble-ed25519.ts';

const rows = <S extends z.ZodRawShape>(shape: S) => z.array(z.looseObject(shape)).min(1);

describe('primitives', () => {
  it('Argon2id: RFC 9106', () => {
    for (const { password, salt, secret, associated, tag, memory, passes, lanes } of PRIMITIVES.argon2id)
      expect(parts.argon2id(password, salt, { memory, passes, lanes }, secret, associated)).toEqual(tag);
  });

  it('Argon2id: the same as the native one', () => {
    const inputs = fc.record({
      password: fc.uint8Array({ minLength: 1, maxLength: 200 }),
      salt: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      memory: fc.integer({ min: 64, max: 700 }),
      passes: fc.integer({ min: 1, max: 4 }),
      lanes: fc.integer({ min: 1, max: 8 }),
    });
    fc.assert(
      fc.property(inputs, ({ password, salt, memory, passes, lanes }) => {
        const native = argon2Sync('argon2id', {
          message: password,
          nonce: salt,
          parallelism: lanes,
          tagLength: 32,
          memory,
          passes,
        });
        expect(parts.argon2id(password, salt, { memory, passes, lanes })).toEqual(native);
      }),
      { numRuns: 60 },
    );
  });

  it('Argon2id: the cost of a real slot, the same as the native one', () => {
    const cost = { memory: 65_536, passes: 3, lanes: 4 };
    const [message, nonce] = [Buffer.from('passphrase'), Buffer.alloc(16, 9)];
    const { lanes: parallelism, memory, passes } = cost;
    const native = argon2Sync('argon2id', { message, nonce, parallelism, tagLength: 32, memory, passes });
    expect(parts.argon2id(message, nonce, cost)).toEqual(native);
  });

  it('BLAKE2b: RFC 7693, appendix A', () => {
    expect(parts.blake2b(64, Buffer.from('abc')).toString('hex')).toBe(
      'ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923',
    );
  });

  it('BLAKE2b: of any length, of inputs around its blocks', () => {
    const lengths = [0, 1, 127, 128, 129, 255, 256, 257, 1000];
    for (const length of lengths)
      for (const size of [1, 20, 32, 63, 64]) {
        const input = Buffer.alloc(length, 'some text');
        expect(new Uint8Array(parts.blake2b(size, input))).toEqual(blake2b(input, { dkLen: size }));
      }
  });

  it('XChaCha20-Poly1305: draft-irtf-cfrg-xchacha, appendix A', () => {
    for (const { key, nonce, associated, plaintext, ciphertext, tag } of PRIMITIVES.xchacha20poly1305) {
      const sealed = Buffer.concat([nonce, ciphertext, tag]);
      expect(parts.unseal(key, sealed, associated)).toEqual(plaintext);
      for (const at of [0, 30, sealed.length - 1]) {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] ?? 0) ^ 1;
        expect(parts.unseal(key, changed, associated)).toBeUndefined();
      }
      expect(parts.unseal(key, sealed, Buffer.concat([associated, Buffer.from('x')]))).toBeUndefined();
    }
  });

  it('paper keys: BIP-39 with its checksum, in full or by four letters', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
        const words = paperWords(key);
        const numbered = words.map((word, i) => `${i + 1}. ${word.slice(0, 4).toUpperCase()}`).join('\n');
        expect(new Uint8Array(parts.secretBytes('paper', words.join(' ')))).toEqual(key);
        expect(new Uint8Array(parts.secretBytes('paper', numbered))).toEqual(key);
        const swapped = [words[1], words[0], ...words.slice(2)];
        if (words[0] !== words[1] && key[0] !== key[1]) fc.pre(!passes(swapped.join(' '))); // One in 256 has a fitting checksum.
      }),
      { numRuns: 50 },
    );
    expect(() => parts.secretBytes('paper', `${'abandon '.repeat(23)}ability`)).toThrow(
      /do not belong together/,
    );
  });

  const passes = (words: string): boolean => {
    try {
      parts.secretBytes('paper', words);
      return true;
    } catch (error) {
      if (error instanceof parts.Refusal) return false;
      throw error;
    }
  };
});

describe('vectors of the format', () => {
  const plain = (value: unknown): unknown =>
    JSON.parse(
      JSON.stringify(value, (_key, item: unknown) =>
        typeof item === 'object' &&
        item !== null &&
        'data' in item &&
        'type' in item &&
        item.type === 'Buffer'
          ? Buffer.from(item.data as number[]).toString('hex')
          : item,
      ),
    );

  test('section 1: strict CBOR', () => {
    const row = { title: z.string(), bytes };
    const cbor = readVectors(
      'cbor',
      z.looseObject({ accepted: rows({ ...row, value: z.unknown() }), rejected: rows(row) }),
    );
    for (const { title, bytes, value } of cbor.accepted)
      expect(plain(parts.decodeCbor(bytes)), title).toEqual(value);
    for (const { title, bytes } of cbor.rejected)
      expect(() => parts.decodeCbor(bytes), title).toThrow(parts.Damage);
  });

  test('section 2: objects', () => {
    const place = z.looseObject({
      kind: z.int(),
      repository: bytes,
      vm: z.nullable(bytes),
      number: z.int(),
      epoch: z.int(),
    });
    const { accepted } = readVectors(
      'objects',
      z.looseObject({ accepted: rows({ key: bytes, place, payload: bytes, object: bytes }) }),
    );
    for (const { key, place, payload, object } of accepted) {
      const { vm, ...rest } = place;
      const at = vm === null ? rest : { ...rest, vm };
      expect(parts.openObject(object, key, at)).toEqual(payload);
      const others = [
        { ...at, number: place.number === 0 ? 1 : place.number - 1 },
        { ...at, epoch: place.epoch === 0 ? 1 : place.epoch - 1 },
        { ...at, kind: place.kind + 1 },
        { ...at, vm: Buffer.alloc(16, 5) },
        { ...at, repository: Buffer.alloc(16) },
      ];
      for (const other of others) expect(() => parts.openObject(object, key, other)).toThrow(parts.Damage);
      expect(() => parts.openObject(object.subarray(0, -1), key, at)).toThrow(parts.Damage);
    }
  });

  test('section 4: the root and its fingerprint', () => {
    const root = readVectors(
      'root',
      z.looseObject({
        bytes,
        seed: bytes,
        replacedSeed: bytes,
        hash: bytes,
        fingerprint: z.string(),
        body: z.looseObject({ counter: z.int() }),
      }),
    );
    const decoded = parts.decodeRoot(root.bytes);
    expect(decoded.hash).toEqual(root.hash);
    expect(decoded.counter).toBe(root.body.counter);
    expect(parts.fingerprint(root.hash)).toBe(root.fingerprint);
    for (let at = 0; at < root.bytes.length; at++) {
      const changed = Buffer.from(root.bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => parts.decodeRoot(changed), `byte ${at}`).toThrow(parts.Damage);
    }
    expect(() => parts.decodeRoot(root.bytes.subarray(0, -1))).toThrow(parts.Damage);
    const { body } = decodeRoot(root.bytes);
    const [rotation] = body.rotations;
    if (rotation === undefined) throw new Error('the vector has no rotation');
    const signed = (rotations: RootBody['rotations']) =>
      Buffer.from(encodeRoot({ ...body, rotations }, (message) => sign(message, root.seed)).bytes);
    expect(parts.decodeRoot(signed([rotation])).hash).toEqual(root.hash);
    const refuse = (rotations: RootBody['rotations'], why: RegExp) => {
      const bytes = signed(rotations);
      expect(() => parts.decodeRoot(bytes)).toThrow(why);
    };
    refuse([{ ...rotation, signature: new Uint8Array(64) }], /a rotation is not signed/);
    refuse([{ ...rotation, counter: 1 }], /a rotation is not signed/);
    refuse([{ ...rotation, publicKey: new Uint8Array(32) }], /a rotation is not signed/);
    // Signed as they should be, in a place where they may not be.
    const key = {
      publicKey: rotation.publicKey,
      sign: (message: Uint8Array) => sign(message, root.replacedSeed),
    };
    const at = (counter: number, previous = body.previous, nextKey = body.publicKey) =>
      signRotation({ repository: body.repository, counter, previous }, nextKey, key);
    expect(at(2)).toEqual(rotation);
    expect(parts.decodeRoot(signed([at(1)])).counter).toBe(2);
    refuse([at(3)], /out of place/);
    refuse([at(2, NO_ROOT)], /out of place/);
    refuse([at(2, body.previous, key.publicKey), at(2)], /out of place/);
    refuse([at(2, body.previous, key.publicKey), at(1)], /out of place/);
  });

  test('section 2: padding of another size, or with anything in it', () => {
    const [key, repository] = [Buffer.alloc(32, 1), Buffer.alloc(16, 2)];
    const associated = Buffer.concat([Buffer.from('QIB1'), Buffer.of(1), repository, Buffer.alloc(28)]);
    const open = (length: number, size: number, fill = 0) => {
      const padded = Buffer.alloc(size, fill);
      padded.fill(0, 0, Math.min(size, 4 + length)).writeUInt32BE(length);
      const nonce = Buffer.alloc(24, 3);
      const sealed = xchacha20poly1305(key, nonce, associated).encrypt(padded);
      return () => parts.openObject(Buffer.concat([nonce, sealed]), key, { kind: 1, repository });
    };
    const MiB = 2 ** 20;
    for (const [length, size] of [
      [0, 4096],
      [4092, 4096],
      [4093, 4352],
      [MiB - 4, MiB],
      [MiB - 3, MiB + 2 ** 18],
      [16 * MiB - 4, 16 * MiB],
    ] as const) {
      expect(open(length, size)()).toHaveLength(length);
      if (length < size - 4) expect(open(length, size, 1)).toThrow(/fill is not zero/);
      for (const other of [size - 1, size + 1, size + 4096])
        expect(open(length, other)).toThrow(parts.Damage);
    }
    expect(open(5000, 4096)).toThrow(/length is wrong/);
    expect(open(2 ** 32 - 1, 4096)).toThrow(/length is wrong/);
  });

  test('section 6: number sets', () => {
    const runs = z.array(z.tuple([z.int(), z.int()]));
    const row = { title: z.string(), bytes };
    const numbers = readVectors(
      'numbers',
      z.looseObject({ accepted: rows({ ...row, runs }), rejected: rows(row) }),
    );
    for (const { bytes, runs } of numbers.accepted) expect(parts.decodeNumbers(bytes)).toEqual(runs);
    for (const { title, bytes } of numbers.rejected)
      expect(() => parts.decodeNumbers(bytes), title).toThrow(parts.Damage);
  });

  test('sections 7 and 8: a pack and the top of a tree', () => {
    const segment = z.strictObject({ codec: z.int(), start: z.int(), length: z.int() });
    const leafOfTop = z.looseObject({ firstPath: bytes, skip: z.int(), number: z.int() });
    const tree = readVectors(
      'tree',
      z.looseObject({
        pack: z.looseObject({ blob: bytes, raw: bytes, segments: z.array(segment) }),
        leaf: z.looseObject({ blob: bytes, raw: bytes }),
        top: z.looseObject({
          blob: bytes,
          totalEntries: z.int(),
          totalBytes: z.int(),
          leaves: z.array(leafOfTop),
        }),
      }),
    );
    const pack = parts.readPack(tree.pack.blob);
    expect(pack.size).toBe(tree.pack.raw.length);
    expect(pack.segments.map(({ codec, start, length }) => ({ codec, start, length }))).toEqual(
      tree.pack.segments,
    );
    for (let end = 0; end < tree.pack.blob.length; end++)
      expect(() => parts.readPack(tree.pack.blob.subarray(0, end))).toThrow(parts.Damage);
    expect(parts.readTreeBlob(tree.leaf.blob)).toEqual(tree.leaf.raw);
    const raw = parts.readTreeBlob(tree.top.blob);
    const top = parts.readTop(raw);
    expect([top.entries, top.bytes]).toEqual([tree.top.totalEntries, tree.top.totalBytes]);
    const lines = top.leaves.map(({ path, skip, number }) => ({
      firstPath: Buffer.from(path, 'latin1'),
      skip,
      number,
    }));
    expect(lines).toEqual(
      tree.top.leaves.map(({ firstPath, skip, number }) => ({ firstPath, skip, number })),
    );
    for (let end = 0; end < raw.length; end++)
      expect(() => parts.readTop(raw.subarray(0, end))).toThrow(parts.Damage);
  });
});
