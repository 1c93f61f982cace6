/** SHA-256, of what is large on the thread pool: without a copy, which Node's own asynchronous digest makes. */

import { hash } from 'node:crypto';
import koffi from 'koffi';

/** Below that, to hand it over costs more than it takes. */
const WORTHWHILE = 64 * 1024;

/** OpenSSL's, as Node.js was built with: unsigned char *SHA256(const unsigned char *data, size_t count, unsigned char *md_buf). */
const openssl = bindOpenssl();

function bindOpenssl() {
  try {
    return koffi.load(null).func('void *SHA256(void *, size_t, void *)');
  } catch {
    return undefined; // A build that does not show it: everything is hashed here.
  }
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer');
}

/** At once, or on the thread pool: `bytes` must stay as they are until it settles. Never rejects. */
export function sha256Aside(bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
  if (openssl === undefined || bytes.length < WORTHWHILE) return sha256(bytes);
  const digest = new Uint8Array(32);
  return new Promise((resolve) => {
    openssl.async(bytes, bytes.length, digest, (error: Error | null) =>
      resolve(error === null ? digest : sha256(bytes)),
    );
  });
}
