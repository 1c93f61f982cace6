import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { concat, hex, u32, utf8 } from '../../shared/bytes.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { NO_ROOT, newRepositoryId, objectIdOf, rootHashOf } from '../../shared/ids.ts';
import { MAX_ROOT } from '../../shared/limits.ts';
import { FORMAT_VERSION, decodeRoot, encodeRoot } from '../../shared/root.ts';
import type { KeySlot, RootBody } from '../../shared/root.ts';
import { publicKeyOf, sign } from '../../dom0/keys/signing-key.ts';
import { fingerprint } from '../../dom0/words.ts';
import { failure } from '../support/failure.ts';
import { readVectors } from '../support/vectors.ts';
import { verify } from '../support/noble-ed25519.ts';

const SEED = new Uint8Array(32).fill(7);
const OTHER_SEED = new Uint8Array(32).fill(8);
const signer = (seed: Uint8Array) => (message: Uint8Array) => sign(message, seed);

const slot: KeySlot = {
  kind: 'passphrase',
  label: 'passphrase',
  salt: new Uint8Array(16).fill(1),
  memory: 131_072,
  passes: 3,
  lanes: 4,
  wrapped: new Uint8Array(72).fill(2),
};

const body: RootBody = {
  version: FORMAT_VERSION,
  repository: newRepositoryId(),
  counter: 1,
  time: 1_700_000_000_000,
  previous: NO_ROOT,
  publicKey: publicKeyOf(SEED),
  rotations: [],
  signingSeed: new Uint8Array(72).fill(3),
  slots: [
    slot,
    { kind: 'keyFile', label: 'key file', salt: new Uint8Array(16), wrapped: new Uint8Array(72) },
  ],
  catalog: objectIdOf(utf8('catalog')),
  live: null,
};

/** A root of any body, well-formed or not, with a good signature. */
function rawRoot(encodedBody: Uint8Array): Uint8Array {
  const signature = sign(concat([utf8('qubes-incremental-backup root 4\0'), encodedBody]), SEED);
  return concat([utf8('QIBROOT4'), u32(encodedBody.length), encodedBody, signature]);
}

/** The body as it is encoded: ids as bytes. */
function wireBody(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const bytes = (hexText: string) => new Uint8Array(Buffer.from(hexText, 'hex'));
  return {
    ...body,
    repository: bytes(body.repository),
    previous: bytes(body.previous),
    catalog: bytes(body.catalog),
    ...changes,
  };
}

const root = encodeRoot(body, signer(SEED));

const rotationEntry = {
  counter: 1,
  previous: new Uint8Array(32),
  publicKey: publicKeyOf(OTHER_SEED),
  signature: new Uint8Array(64),
};

test('round trip', () => {
  const read = decodeRoot(root.bytes);
  expect(read.body).toEqual(body);
  expect(read.hash).toBe(root.hash);
  expect(read.hash).toBe(rootHashOf(root.bytes));
  expect(Buffer.compare(rawRoot(encodeCbor(wireBody())), root.bytes)).toBe(0);
});

test('the decoded root shares no memory with what was read', () => {
  const input = new Uint8Array(root.bytes);
  const read = decodeRoot(input);
  input.fill(0);
  expect(Buffer.compare(read.bytes, root.bytes)).toBe(0);
  expect(read.body).toEqual(body);
});

test('another implementation of Ed25519 (noble) accepts the signature over the bytes that docs/format.md names', () => {
  const encoded = root.bytes.subarray(12, root.bytes.length - 64);
  const message = concat([utf8('qubes-incremental-backup root 4\0'), encoded]);
  expect(verify(root.bytes.subarray(-64), message, body.publicKey)).toBe(true);
});

test('vector: the root, its hash and fingerprint, what is signed, the signature, and a rotation', () => {
  const vector = readVectors(
    'root',
    z.strictObject({
      section: z.string(),
      replacedSeed: z.string(),
      rotationMessage: z.string(),
      seed: z.string(),
      fingerprint: z.string(),
      body: z.record(z.string(), z.unknown()),
      bytes: z.string(),
      hash: z.string(),
      message: z.string(),
      signature: z.string(),
    }),
  );
  const bytes = Buffer.from(vector.bytes, 'hex');
  const read = decodeRoot(bytes);
  const asJson: unknown = JSON.parse(
    JSON.stringify(read.body, (_key, value: unknown) => (value instanceof Uint8Array ? hex(value) : value)),
  );
  expect(asJson).toEqual(vector.body);
  expect(read.hash).toBe(vector.hash);
  expect(fingerprint(read.hash)).toBe(vector.fingerprint);
  const replacedSeed = Buffer.from(vector.replacedSeed, 'hex');
  expect(hex(sign(Buffer.from(vector.rotationMessage, 'hex'), replacedSeed))).toBe(
    hex(read.body.rotations[0]?.signature ?? new Uint8Array(0)),
  );
  const seed = Buffer.from(vector.seed, 'hex');
  expect(hex(sign(Buffer.from(vector.message, 'hex'), seed))).toBe(vector.signature);
  expect(hex(encodeRoot(read.body, (message) => sign(message, seed)).bytes)).toBe(vector.bytes);
});

describe('R05: a root is damaged if', () => {
  const code = (bytes: Uint8Array) => failure(() => decodeRoot(bytes)).code;

  test('any byte is another', () => {
    for (let at = 0; at < root.bytes.length; at++) {
      for (const flip of at < 20 || at > root.bytes.length - 70 ? [0x01, 0x80] : [0x01]) {
        const bytes = new Uint8Array(root.bytes);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        expect(code(bytes), `byte ${at}`).toBe('store-damaged'); // Also the digit of the version: all else is of this one.
      }
    }
  }, 60_000);

  test('it is cut, or longer', () => {
    for (let length = 0; length < root.bytes.length; length += 1)
      expect(code(root.bytes.subarray(0, length))).toBe('store-damaged');
    expect(code(concat([root.bytes, utf8('x')]))).toBe('store-damaged');
    expect(code(new Uint8Array(MAX_ROOT + 1))).toBe('store-damaged');
    expect(code(new Uint8Array(0))).toBe('store-damaged');
  });

  test('another key signed it', () => {
    expect(code(encodeRoot(body, signer(OTHER_SEED)).bytes)).toBe('store-damaged');
  });

  test('the signature covers the body without its domain', () => {
    const encoded = encodeCbor(wireBody());
    expect(code(concat([utf8('QIBROOT4'), u32(encoded.length), encoded, sign(encoded, SEED)]))).toBe(
      'store-damaged',
    );
  });

  test('the signature is zero', () => {
    expect(code(encodeRoot(body, () => new Uint8Array(64)).bytes)).toBe('store-damaged');
  });

  test.each<[string, Record<string, unknown>]>([
    ['an unknown field', { extra: 1 }],
    ['another version', { version: 1 }],
    ['a counter of 0', { counter: 0 }],
    ['a short repository id', { repository: new Uint8Array(15) }],
    ['a long previous hash', { previous: new Uint8Array(33) }],
    ['no slot', { slots: [] }],
    ['17 slots', { slots: new Array(17).fill(slot) }],
    ['a slot of an unknown kind', { slots: [{ ...slot, kind: 'token' }] }],
    ['a key-file slot with Argon2 parameters', { slots: [{ ...slot, kind: 'keyFile' }] }],
    ['a paper slot with Argon2 parameters', { slots: [{ ...slot, kind: 'paper' }] }],
    ['17 parts of a live list', { live: new Array(17).fill(new Uint8Array(32)) }],
    ['a rotation that the key before did not sign', { rotations: [rotationEntry] }],
    ['33 rotations', { rotations: new Array(33).fill(rotationEntry) }],
    ['a slot label that moves the cursor', { slots: [{ ...slot, label: '\x1b[2J' }] }],
    ['a short public key', { publicKey: new Uint8Array(31) }],
    ['a public key that is no point', { publicKey: new Uint8Array(32).fill(0xff) }],
  ])('well signed, it holds %s', (_name, changes) => {
    expect(code(rawRoot(encodeCbor(wireBody(changes))))).toBe('store-damaged');
  });

  test('well signed, its body is not canonical', () => {
    const encoded = encodeCbor(wireBody());
    const longer = concat([
      Uint8Array.of(0xb8),
      Uint8Array.of((encoded[0] ?? 0) & 0x1f),
      encoded.subarray(1),
    ]);
    expect(code(rawRoot(longer))).toBe('store-damaged');
  });
});

test.each([
  ['0', 'store-damaged', 'damaged'],
  ['1', 'store-version', 'format 1'],
  ['2', 'store-version', 'format 2'],
  ['3', 'store-version', 'format 3'],
  ['5', 'store-version', 'newer version'],
] as const)('version %s of the format is told apart: %s', (digit, expected, text) => {
  const other = new Uint8Array(root.bytes);
  other.set(utf8(digit), 7);
  other.set(utf8(digit), root.bytes.length - 1); // Another version signs something else.
  const failed = failure(() => decodeRoot(other));
  expect(failed.code).toBe(expected);
  expect(failed.message).toContain(text);
});
