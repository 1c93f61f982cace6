/**
 * The root: the one small public record that a store serves as current (docs/format.md, "Root"). dom0 signs
 * it; the storage VM checks it with the same code. Its signature covers, through hashes, every byte of every VM.
 */

import * as z from 'zod';
import { concat, equalBytes, readU32, u32, utf8 } from './bytes.ts';
import { decodeWith, encodeWith } from './cbor.ts';
import { verify } from './ed25519.ts';
import { BackupError } from './errors.ts';
import { objectIdCodec, repositoryIdCodec, rootHashCodec, rootHashOf } from './ids.ts';
import type { RootHash } from './ids.ts';
import { MAX_LIVE_PARTS, MAX_ROOT, MAX_ROTATIONS, MAX_SLOTS } from './limits.ts';
import { badRotation, rotation } from './rotation.ts';
import { bytesOfLength, printable } from './schema.ts';

/** The format version this program writes, and the only one it reads. */
export const FORMAT_VERSION = 4;

/** A key wrapped by another: nonce (24), sealed key (32), tag (16). */
export const wrappedKey = bytesOfLength(72);

const passphraseSlot = z.strictObject({
  kind: z.literal('passphrase'),
  label: printable(64),
  salt: bytesOfLength(16),
  /** Argon2id: memory in KiB, passes, lanes. Bounds are dom0's business: it refuses before it runs. */
  memory: z.int().min(1),
  passes: z.int().min(1),
  lanes: z.int().min(1),
  wrapped: wrappedKey,
});

/** Of 32 random bytes, which need no stretching: a key file, or words on paper. */
const randomSlot = z.strictObject({
  kind: z.enum(['keyFile', 'paper']),
  label: printable(64),
  salt: bytesOfLength(16),
  wrapped: wrappedKey,
});

/** One way to the master key. */
const keySlot = z.discriminatedUnion('kind', [passphraseSlot, randomSlot]);

const rootBody = z.strictObject({
  version: z.literal(FORMAT_VERSION),
  repository: repositoryIdCodec,
  counter: z.int().min(1),
  /** Milliseconds since 1970, dom0's clock. */
  time: z.int().min(0),
  previous: rootHashCodec,
  publicKey: bytesOfLength(32),
  /** The keys before `publicKey`, oldest first. */
  rotations: z.array(rotation).max(MAX_ROTATIONS),
  /** The Ed25519 seed, sealed under the master key. */
  signingSeed: wrappedKey,
  slots: z.array(keySlot).min(1).max(MAX_SLOTS),
  catalog: objectIdCodec,
  /** Parts of the live list (shared/live-list.ts); null if this root says nothing about what is still needed. */
  live: z.nullable(z.array(objectIdCodec).max(MAX_LIVE_PARTS)),
});

export type KeySlot = z.output<typeof keySlot>;
export type RootBody = z.output<typeof rootBody>;

/** A decoded root, the bytes it came from, and their hash. */
export interface Root {
  readonly body: RootBody;
  readonly bytes: Uint8Array;
  readonly hash: RootHash;
}

/** The last byte is the version, as a digit. */
const ROOT_MAGIC = Buffer.from(`QIBROOT${FORMAT_VERSION}`, 'latin1');
const SIGNATURE_SIZE = 64;
const SIGNATURE_DOMAIN = utf8(`qubes-incremental-backup root ${FORMAT_VERSION}\0`);

/** What a root's signature covers: a domain prefix and the encoded body. */
function signedBytes(encodedBody: Uint8Array): Uint8Array {
  return concat([SIGNATURE_DOMAIN, encodedBody]);
}

/** Encodes and signs `body`. `sign` is given the message and answers 64 bytes. */
export function encodeRoot(body: RootBody, sign: (message: Uint8Array) => Uint8Array): Root {
  const encoded = encodeWith(rootBody, body);
  const root = concat([ROOT_MAGIC, u32(encoded.length), encoded, sign(signedBytes(encoded))]);
  if (root.length > MAX_ROOT)
    throw new BackupError('limit', `the root would be ${root.length} bytes, ${MAX_ROOT} are allowed`);
  return { body, bytes: root, hash: rootHashOf(root) };
}

/**
 * Decodes untrusted bytes and verifies their signature by the public key they carry, and that key's descent from those
 * before it. That proves integrity, not origin: the caller compares with the key it pinned (descendsFromKey in rotation.ts).
 * Throws `store-version` for another version of the format, `store-damaged` for everything else.
 */
export function decodeRoot(untrusted: Uint8Array): Root {
  const overhead = ROOT_MAGIC.length + 4 + SIGNATURE_SIZE;
  if (untrusted.length > MAX_ROOT || untrusted.length < overhead)
    throw damagedRoot('its length is impossible');
  const magic = untrusted.subarray(0, ROOT_MAGIC.length);
  if (!equalBytes(magic, ROOT_MAGIC)) {
    if (equalBytes(magic.subarray(0, 7), ROOT_MAGIC.subarray(0, 7)) && !isOurs(untrusted))
      throw wrongVersion(magic[7] ?? 0);
    throw damagedRoot('it does not start with the root’s magic');
  }
  const length = readU32(untrusted, ROOT_MAGIC.length);
  if (length !== untrusted.length - overhead) throw damagedRoot('its length field is wrong');
  const encoded = untrusted.subarray(ROOT_MAGIC.length + 4, ROOT_MAGIC.length + 4 + length);
  const signature = untrusted.subarray(untrusted.length - SIGNATURE_SIZE);
  const body = decodeBody(encoded);
  if (!verify(signature, signedBytes(encoded), body.publicKey)) throw damagedRoot('its signature is wrong');
  const wrong = badRotation(body);
  if (wrong !== undefined) throw damagedRoot(wrong);
  const own = new Uint8Array(untrusted);
  return { body, bytes: own, hash: rootHashOf(own) };
}

/** True if all but the magic is of this version, and signed as such: then the magic is damaged. */
function isOurs(untrusted: Uint8Array): boolean {
  try {
    decodeRoot(concat([ROOT_MAGIC, untrusted.subarray(ROOT_MAGIC.length)]));
    return true;
  } catch (error) {
    if (error instanceof BackupError) return false;
    throw error;
  }
}

function decodeBody(encoded: Uint8Array): RootBody {
  try {
    return decodeWith(rootBody, encoded);
  } catch (cause) {
    throw new BackupError('store-damaged', 'the root is damaged: its fields are malformed', { cause });
  }
}

/** `digit`: the last byte of the magic. */
function wrongVersion(digit: number): BackupError {
  const own = ROOT_MAGIC[7] ?? 0;
  if (digit > own)
    return new BackupError(
      'store-version',
      'the store was written by a newer version of this program: update this one',
    );
  if (digit < 0x31) return damagedRoot('it does not start with the root’s magic');
  return new BackupError(
    'store-version',
    `the store is of format ${digit - 0x30}, this program reads format ${FORMAT_VERSION}: read it with the version that wrote it, and begin a new store with this one`,
  );
}

function damagedRoot(what: string): BackupError {
  return new BackupError('store-damaged', `the root is damaged: ${what}`);
}
