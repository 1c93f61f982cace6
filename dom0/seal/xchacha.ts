/**
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): HChaCha20 from `@noble/ciphers` derives a subkey from the
 * first 16 nonce bytes, Node's native ChaCha20-Poly1305 (RFC 8439) does the bulk with the last 8.
 * Tests hold it against `@noble/ciphers`' own xchacha20poly1305 and published vectors.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { hchacha } from '@noble/ciphers/chacha.js';
import { lengthOf } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';

const KEY_SIZE = 32;
export const NONCE_SIZE = 24;
const TAG_SIZE = 16;

const ALGORITHM = 'chacha20-poly1305';
const OPTIONS = { authTagLength: TAG_SIZE };
/** "expand 32-byte k", the ChaCha constant, as little-endian words. */
const SIGMA = Uint32Array.of(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574);

/**
 * Encrypts the concatenation of `pieces`. `nonce` (24 bytes) must be fresh and random for each call.
 * Answers ciphertext pieces of the same total length, and the tag as the last piece.
 */
export function encrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  pieces: readonly Uint8Array[],
): Uint8Array[] {
  const { subkey, shortNonce } = derive(key, nonce);
  const cipher = createCipheriv(ALGORITHM, subkey, shortNonce, OPTIONS);
  subkey.fill(0);
  cipher.setAAD(associated, { plaintextLength: lengthOf(pieces) });
  const out: Uint8Array[] = pieces.map((piece) => cipher.update(piece));
  cipher.final();
  out.push(cipher.getAuthTag());
  return out;
}

/**
 * Decrypts and verifies. Throws `store-damaged` on a wrong tag; nothing of the plaintext leaves this function
 * before the tag was verified (Node's `update` would release it).
 */
export function decrypt(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
): Uint8Array {
  if (sealed.length < TAG_SIZE) throw new BackupError('store-damaged', 'sealed data is too short');
  const { subkey, shortNonce } = derive(key, nonce);
  const decipher = createDecipheriv(ALGORITHM, subkey, shortNonce, OPTIONS);
  subkey.fill(0);
  decipher.setAAD(associated, { plaintextLength: sealed.length - TAG_SIZE });
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_SIZE));
  const unverified = decipher.update(sealed.subarray(0, sealed.length - TAG_SIZE));
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
