/** Wrapped keys (docs/format.md, section 3): a key sealed under another, bound to its purpose and context. */

import { randomBytes } from 'node:crypto';
import { concat, utf8 } from '../../shared/bytes.ts';
import { NONCE_SIZE, decrypt, encrypt } from '../seal/xchacha.ts';

export type WrapPurpose = 'master' | 'signing seed' | 'vm';

export function wrapKey(
  under: Uint8Array,
  purpose: WrapPurpose,
  context: Uint8Array,
  key: Uint8Array,
): Uint8Array {
  const nonce = randomBytes(NONCE_SIZE);
  return concat([nonce, ...encrypt(under, nonce, associatedData(purpose, context), [key])]);
}

/** Throws `store-damaged` unless `wrapped` was wrapped under this key for this purpose and context. */
export function unwrapKey(
  under: Uint8Array,
  purpose: WrapPurpose,
  context: Uint8Array,
  wrapped: Uint8Array,
): Uint8Array {
  const sealed = wrapped.subarray(NONCE_SIZE);
  return decrypt(under, wrapped.subarray(0, NONCE_SIZE), associatedData(purpose, context), sealed);
}

function associatedData(purpose: WrapPurpose, context: Uint8Array): Uint8Array {
  return concat([utf8(`QIB1 wrap ${purpose}\0`), context]);
}
