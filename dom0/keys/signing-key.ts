/** The private side of Ed25519 (RFC 8032), by Node.js' own code, as the public one (shared/ed25519.ts). */

import { createPrivateKey, createPublicKey, sign as signNatively } from 'node:crypto';
import type { PrivateKeyInput } from 'node:crypto';

/** RFC 8410: what stands before a bare seed. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The public key (32 bytes) of `seed` (32 bytes). */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  const der = withKey(seed, (key) =>
    createPublicKey(createPrivateKey(key)).export({ format: 'der', type: 'spki' }),
  );
  return new Uint8Array(der.subarray(-32));
}

/** The signature (64 bytes) of `message` by the key of `seed`. */
export function sign(message: Uint8Array, seed: Uint8Array): Uint8Array {
  // Given the key itself, and no object of it, Node.js keeps none after the call.
  return new Uint8Array(withKey(seed, (key) => signNatively(null, message, key)));
}

function withKey(seed: Uint8Array, use: (key: PrivateKeyInput) => Buffer): Buffer {
  const der = Buffer.concat([PKCS8, seed]);
  try {
    return use({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}
