/** Key slots: each leads from one secret to the master key. They travel with every root (R35). */

import { randomBytes } from 'node:crypto';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { RepositoryId } from '../../shared/ids.ts';
import type { KeySlot, RootBody } from '../../shared/root.ts';
import { argon2id, calibrate, checkCost, hkdf } from './derive.ts';
import type { Argon2Cost } from './derive.ts';
import { Keyring, masterContext } from './keyring.ts';
import type { Secret } from './secret.ts';
import { unwrapKey } from './wrap.ts';

const KEY_FILE_INFO = utf8('QIB1 key file');

/** A slot of `keyring`'s master key for `secret`. A passphrase's cost is measured here unless it is given. */
export async function createSlot(
  keyring: Keyring,
  secret: Secret,
  label: string,
  cost?: Argon2Cost,
): Promise<KeySlot> {
  const salt = randomBytes(16);
  const chosen = secret.kind === 'passphrase' ? (cost ?? (await calibrate())) : undefined;
  const slotKey = await slotKeyOf(secret, salt, chosen);
  const wrapped = keyring.wrapMaster(slotKey, salt);
  slotKey.fill(0);
  return chosen === undefined
    ? { kind: 'keyFile', label, salt, wrapped }
    : { kind: 'passphrase', label, salt, ...chosen, wrapped };
}

/**
 * The keys of a root, by the first slot that `secret` opens. Every slot's cost is checked before any is run.
 * Throws `wrong-secret` if none opens, `store-damaged` if the root contradicts itself.
 */
export async function openKeyring(body: RootBody, secret: Secret): Promise<Keyring> {
  for (const slot of body.slots) if (slot.kind === 'passphrase') checkCost(slot);
  const slots = body.slots.filter((slot) => slot.kind === secret.kind);
  for (const slot of slots) {
    const slotKey = await slotKeyOf(secret, slot.salt, slot.kind === 'passphrase' ? slot : undefined);
    const master = tryUnwrap(slotKey, body.repository, slot);
    slotKey.fill(0);
    if (master !== undefined) return Keyring.open(body, master);
  }
  const name = secret.kind === 'passphrase' ? 'passphrase' : 'key file';
  if (slots.length > 0)
    throw new BackupError(
      'wrong-secret',
      `this ${name} does not open the repository; the store itself is intact`,
    );
  const others = [
    ...new Set(body.slots.map((slot) => (slot.kind === 'passphrase' ? 'a passphrase' : 'a key file'))),
  ];
  throw new BackupError(
    'wrong-secret',
    `the repository has no slot for a ${name}: it opens with ${others.join(' or ')}`,
  );
}

function slotKeyOf(secret: Secret, salt: Uint8Array, cost: Argon2Cost | undefined): Promise<Uint8Array> {
  if (cost !== undefined) return argon2id(secret.bytes, salt, cost);
  return Promise.resolve(hkdf(secret.bytes, salt, KEY_FILE_INFO));
}

/** The master key, or undefined if the slot key is not this slot's. */
function tryUnwrap(slotKey: Uint8Array, repository: RepositoryId, slot: KeySlot): Uint8Array | undefined {
  try {
    return unwrapKey(slotKey, 'master', masterContext(repository, slot.salt), slot.wrapped);
  } catch (error) {
    if (isBackupError(error, 'store-damaged')) return undefined;
    throw error;
  }
}
