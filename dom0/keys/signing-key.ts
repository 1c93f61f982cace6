/** The private side of Ed25519 (RFC 8032), by Node.js' own code, as the public one (shared/ed25519.ts). */

import { createPrivateKey, createPublicKey, sign as signNatively } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** RFC 8410: what stands before a bare seed. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The public key (32 bytes) of `seed` (32 bytes). */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  const der = createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' });
  return new Uint8Array(der.subarray(-32));
}

/** The signature (64 bytes) of `message` by the key of `seed`. */
export function sign(message: Uint8Array, seed: Uint8Array): Uint8Array {
  return new Uint8Array(signNatively(null, message, privateKeyOf(seed)));
}

/** OpenSSL zeroes its copy once this is dropped. */
function privateKeyOf(seed: Uint8Array): KeyObject {
  const der = Buffer.concat([PKCS8, seed]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}
