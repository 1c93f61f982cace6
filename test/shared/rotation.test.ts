import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import { NO_ROOT, newRepositoryId, rootHashOf } from '../../shared/ids.ts';
import { FORMAT_VERSION } from '../../shared/root.ts';
import { badRotation, descendsFromKey, signRotation } from '../../shared/rotation.ts';
import type { KeyHistory, Rotation } from '../../shared/rotation.ts';
import { getPublicKey, sign } from '../support/noble-ed25519.ts';

/** A key as the owner of a repository has it. */
function keyOf(number: number) {
  const seed = new Uint8Array(32).fill(number);
  return { publicKey: getPublicKey(seed), sign: (message: Uint8Array) => sign(message, seed) };
}

const repository = newRepositoryId();
const previousOf = (counter: number) => rootHashOf(utf8(`root ${counter - 1}`));
// Signatures are slow here, and the same few do.
const KEYS = Array.from({ length: 5 }, (_, i) => keyOf(i + 1));

/** The history after `counters.length` rotations, each at its counter, seen from a root `later` counters after the last. */
function historyOf(counters: readonly number[], later = 0): KeyHistory {
  const rotations: Rotation[] = counters.map((counter, index) =>
    signRotation(
      { repository, counter, previous: previousOf(counter) },
      KEYS[index + 1]!.publicKey,
      KEYS[index]!,
    ),
  );
  const counter = (counters.at(-1) ?? 1) + later;
  const { publicKey } = KEYS[counters.length]!;
  return { repository, counter, previous: previousOf(counter), publicKey, rotations };
}

test('a chain of keys leads from the first to the current one', () => {
  for (const counters of [[], [2], [2, 3], [5, 9, 40, 41]]) {
    const history = historyOf(counters, 3);
    expect(badRotation(history)).toBeUndefined();
    KEYS.slice(0, counters.length + 1).forEach(({ publicKey }, index) => {
      // A root signed by this key can only be older than the rotation that ended it.
      expect(descendsFromKey(history, publicKey, 1)).toBe(true);
      const ended = counters[index];
      if (ended === undefined) return;
      expect(descendsFromKey(history, publicKey, ended - 1)).toBe(true);
      expect(descendsFromKey(history, publicKey, ended)).toBe(false);
    });
    expect(descendsFromKey(history, keyOf(99).publicKey, 1)).toBe(false);
  }
});

describe('a chain is broken by', () => {
  const good = historyOf([4, 9], 0);
  const [one, two] = good.rotations as [Rotation, Rotation];
  test.each<[string, Partial<KeyHistory>]>([
    ['another repository', { repository: newRepositoryId() }],
    ['another key at its end', { publicKey: keyOf(99).publicKey }],
    ['a missing link', { rotations: [one] }],
    ['links out of order', { rotations: [two, one] }],
    ['a link twice', { rotations: [one, one, two] }],
    ['a link at another counter', { rotations: [{ ...one, counter: 5 }, two] }],
    ['a link after another root', { rotations: [{ ...one, previous: NO_ROOT }, two] }],
    ['a link of another key', { rotations: [{ ...one, publicKey: keyOf(99).publicKey }, two] }],
    ['a signature of another link', { rotations: [{ ...one, signature: two.signature }, two] }],
    ['a root before its last link', { counter: 8 }],
    ['a root at its last link in another history', { previous: NO_ROOT }],
  ])('%s', (_what, changes) => {
    expect(badRotation(good)).toBeUndefined();
    expect(badRotation({ ...good, ...changes })).toBeTypeOf('string');
  });

  test('any flipped bit of a signature', () => {
    fc.assert(
      fc.property(fc.nat(63), fc.nat(7), (at, bit) => {
        const signature = new Uint8Array(one.signature);
        signature[at] = (signature[at] ?? 0) ^ (1 << bit);
        expect(badRotation({ ...good, rotations: [{ ...one, signature }, two] })).toBeTypeOf('string');
      }),
      { numRuns: 50 },
    );
  });
});

test('what is signed names the version of the format', () => {
  let message = '';
  const key = {
    publicKey: new Uint8Array(32),
    sign: (bytes: Uint8Array) => ((message = Buffer.from(bytes).toString('latin1')), new Uint8Array(64)),
  };
  signRotation({ repository, counter: 2, previous: NO_ROOT }, new Uint8Array(32), key);
  expect(message.startsWith(`qubes-incremental-backup rotation ${FORMAT_VERSION}\0`)).toBe(true);
});
