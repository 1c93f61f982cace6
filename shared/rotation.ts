/**
 * How one signing key replaces another (docs/format.md, section 4): the key that goes signs the one that comes, for one
 * place in the history of roots. Every later root carries these signatures, so that a machine or a store that knows an
 * earlier key can follow to the current one before it uses anything else of the root.
 */

import * as z from 'zod';
import { concat, equalBytes, utf8 } from './bytes.ts';
import { encodeWith } from './cbor.ts';
import { verify } from './ed25519.ts';
import { repositoryIdCodec, rootHashCodec } from './ids.ts';
import type { RepositoryId, RootHash } from './ids.ts';
import { bytesOfLength } from './schema.ts';

/** A replaced key, and the root that replaced it. */
export const rotation = z.strictObject({
  /** Counter of the first root signed by the next key, and the hash of the root before that one. */
  counter: z.int().min(1),
  previous: rootHashCodec,
  /** Ed25519, the key that was replaced. */
  publicKey: bytesOfLength(32),
  /** By that key, of the statement below. */
  signature: bytesOfLength(64),
});
export type Rotation = z.output<typeof rotation>;

const statement = z.strictObject({
  counter: z.int().min(1),
  nextKey: bytesOfLength(32),
  previous: rootHashCodec,
  repository: repositoryIdCodec,
});

const DOMAIN = utf8('qubes-incremental-backup rotation 4\0');

/** The part of a root's body that says which keys it descends from. */
export interface KeyHistory {
  readonly repository: RepositoryId;
  readonly counter: number;
  readonly previous: RootHash;
  readonly publicKey: Uint8Array;
  readonly rotations: readonly Rotation[];
}

/** The entry by which `key` hands over to `nextKey` with the root `counter` that follows `previous`. */
export function signRotation(
  place: Pick<KeyHistory, 'repository' | 'counter' | 'previous'>,
  nextKey: Uint8Array,
  key: { readonly publicKey: Uint8Array; sign(message: Uint8Array): Uint8Array },
): Rotation {
  const { repository, counter, previous } = place;
  const message = messageOf({ counter, nextKey, previous, repository });
  return { counter, previous, publicKey: key.publicKey, signature: key.sign(message) };
}

/** What is wrong with the rotations of a root, or undefined if they lead to its key. */
export function badRotation({ repository, counter, previous, publicKey, rotations }: KeyHistory) {
  let last = 0;
  for (const [index, entry] of rotations.entries()) {
    if (entry.counter <= last || entry.counter > counter) return 'its keys are out of order';
    if (entry.counter === counter && entry.previous !== previous)
      return 'its key was replaced in another history';
    const nextKey = rotations[index + 1]?.publicKey ?? publicKey;
    const message = messageOf({ counter: entry.counter, nextKey, previous: entry.previous, repository });
    if (!verify(entry.signature, message, entry.publicKey))
      return 'the signature by which its key replaced another is wrong';
    last = entry.counter;
  }
  return undefined;
}

/** True if a root that signs with `key` at `counter` may have this root among its later ones, as far as keys can tell. */
export function descendsFromKey({ publicKey, rotations }: KeyHistory, key: Uint8Array, counter: number) {
  if (equalBytes(publicKey, key)) return true;
  return rotations.some((entry) => entry.counter > counter && equalBytes(entry.publicKey, key));
}

function messageOf(value: z.output<typeof statement>): Uint8Array {
  return concat([DOMAIN, encodeWith(statement, value)]);
}
