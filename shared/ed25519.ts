/**
 * Ed25519 signatures (RFC 8032), verified by Node.js' own code: JavaScript takes the time of a whole start of a service until it is
 * compiled. Tests hold it against `@noble/ed25519` and published vectors.
 */

import { createPublicKey, verify as verifyNatively } from 'node:crypto';

/** RFC 8410: what stands before a bare public key. */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/** True if `signature` (64 bytes) is one of `message` by the key of `publicKey` (32 bytes). */
export function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' });
  return verifyNatively(null, message, key, signature);
}
