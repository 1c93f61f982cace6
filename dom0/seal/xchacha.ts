/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): HChaCha20 from `@noble/ciphers` derives a subkey from the
 * first 16 nonce bytes, Node's native ChaCha20-Poly1305 (RFC 8439) does the bulk with the last 8.
 * Tests hold it against `@noble/ciphers`' own xchacha20poly1305 and published vectors.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Cipheriv, Decipheriv } from 'node:crypto';
import { hchacha } from '@noble/ciphers/chacha.js';
import { lengthOf } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { usedBuffers } from '../../shared/young-memory.ts';

const KEY_SIZE = 32;
export const NONCE_SIZE = 24;
const TAG_SIZE = 16;

const ALGORITHM = 'chacha20-poly1305';
const OPTIONS = { authTagLength: TAG_SIZE };
/** "expand 32-byte k", the ChaCha constant, as little-endian words. */
const SIGMA = Uint32Array.of(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574);

/** Gives so many bytes of memory. */
export type Allocate = (length: number) => Uint8Array;

const allocateAnew: Allocate = (length) => Buffer.allocUnsafeSlow(length);

/**
 * Bytes given to a cipher at once. Node.js answers in memory that it allocates, one byte too long, and so copies: of large ones
 * the kernel has to zero every page of both.
 */
const STEP = 64 * 1024;

/**
 * Encrypts the concatenation of `pieces`. `nonce` (24 bytes) must be fresh and random for each call.
 * Answers the ciphertext, of the same total length, and the tag. `allocate` gives its memory, of whatever content.
 */
export function encrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  pieces: readonly Uint8Array[],
  allocate: Allocate = allocateAnew,
): [Uint8Array, Uint8Array] {
  const { subkey, shortNonce } = derive(key, nonce);
  const cipher = createCipheriv(ALGORITHM, subkey, shortNonce, OPTIONS);
  subkey.fill(0);
  cipher.setAAD(associated, { plaintextLength: lengthOf(pieces) });
  const sealed = allocate(lengthOf(pieces));
  let at = 0;
  for (const piece of pieces) {
    transform(cipher, piece, sealed.subarray(at));
    at += piece.length;
  }
  cipher.final();
  return [sealed, cipher.getAuthTag()];
}

/** What `cipher` makes of `bytes`, into the beginning of `target`. */
function transform(cipher: Cipheriv | Decipheriv, bytes: Uint8Array, target: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += STEP)
    target.set(cipher.update(bytes.subarray(at, at + STEP)), at);
  usedBuffers(3 * bytes.length);
}

/**
 * Decrypts and verifies. Throws `store-damaged` on a wrong tag; nothing of the plaintext leaves this function
 * before the tag was verified (Node's `update` would release it). `allocate` gives the plaintext's memory, of whatever content.
 */
export function decrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
  allocate: Allocate = allocateAnew,
): Uint8Array {
  if (sealed.length < TAG_SIZE) throw new BackupError('store-damaged', 'sealed data is too short');
  const { subkey, shortNonce } = derive(key, nonce);
  const decipher = createDecipheriv(ALGORITHM, subkey, shortNonce, OPTIONS);
  subkey.fill(0);
  decipher.setAAD(associated, { plaintextLength: sealed.length - TAG_SIZE });
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_SIZE));
  const unverified = allocate(sealed.length - TAG_SIZE);
  transform(decipher, sealed.subarray(0, unverified.length), unverified);
  try {
    decipher.final();
  } catch (cause) {
    unverified.fill(0);
    throw new BackupError('store-damaged', 'sealed data fails its authentication', { cause });
  }
  return unverified;
}

function derive(key: Uint8Array, nonce: Uint8Array): { subkey: Uint8Array; shortNonce: Uint8Array } {
  if (key.length !== KEY_SIZE || nonce.length !== NONCE_SIZE)
    throw new BackupError('internal', 'wrong key or nonce size');
  const words = new Uint32Array(8);
  hchacha(SIGMA, wordsOf(key), wordsOf(nonce.subarray(0, 16)), words);
  const shortNonce = new Uint8Array(12);
  shortNonce.set(nonce.subarray(16), 4);
  return { subkey: new Uint8Array(words.buffer), shortNonce };
}

/** A copy as words: views of another buffer need not be aligned. Little-endian, as every machine Qubes runs on. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(new Uint8Array(bytes).buffer);
}
