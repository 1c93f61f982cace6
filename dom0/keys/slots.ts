/** Key slots: each leads from one secret to the master key. They travel with every root (R35). */

import { randomBytes } from 'node:crypto';
import { equalBytes, utf8 } from '../../shared/bytes.ts';
import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { RepositoryId } from '../../shared/ids.ts';
import type { KeySlot, RootBody } from '../../shared/root.ts';
import { argon2id, calibrate, checkCosts, hkdf } from './derive.ts';
import type { Argon2Cost } from './derive.ts';
import { Keyring, masterContext } from './keyring.ts';
import { SECRET_NAMES } from './secret.ts';
import type { Secret } from './secret.ts';
import { unwrapKey } from './wrap.ts';

/** The key of one slot, which a secret was turned into earlier. */
export interface SlotKey {
  readonly kind: 'slotKey';
  /** Of the slot, which is known by it: 16 bytes that no other slot has. */
  readonly salt: Uint8Array;
  readonly bytes: Uint8Array;
}

/** What opens a repository. */
export type Opener = Secret | SlotKey;

/** What people call a slot. */
export function slotName({ kind, label }: Pick<KeySlot, 'kind' | 'label'>): string {
  return `${SECRET_NAMES[kind]} "${label}"`;
}

const RANDOM_INFO = { keyFile: utf8('QIB1 key file'), paper: utf8('QIB1 paper key') };

/** A slot of `keyring`'s master key for `secret`. A passphrase's cost is measured here unless it is given. */
export async function createSlot(
  keyring: Keyring,
  secret: Secret,
  label: string,
  cost?: Argon2Cost,
): Promise<KeySlot> {
  const { kind } = secret;
  const salt = randomBytes(16);
  const wrap = (slotKey: Uint8Array) => {
    const wrapped = keyring.wrapMaster(slotKey, salt);
    slotKey.fill(0);
    return wrapped;
  };
  if (kind !== 'passphrase') return { kind, label, salt, wrapped: wrap(randomSlotKey(kind, secret, salt)) };
  const { memory, passes, lanes } = cost ?? (await calibrate());
  const slotKey = await argon2id(secret.bytes, salt, { memory, passes, lanes });
  return { kind, label, salt, memory, passes, lanes, wrapped: wrap(slotKey) };
}

/**
 * The keys of a root, and the first slot that `opener` opens. Every slot's cost is checked before any is run.
 * Throws `wrong-secret` if none opens, `store-damaged` if the root contradicts itself.
 */
export async function openKeyring(
  body: RootBody,
  opener: Opener,
): Promise<{ readonly keyring: Keyring; readonly slot: KeySlot }> {
  const { repository, slots } = body;
  checkCosts(slots.filter((slot) => slot.kind === 'passphrase'));
  for (const slot of slots) {
    const master = await openSlot(repository, slot, opener);
    if (master !== undefined) return { keyring: Keyring.open(body, master), slot };
  }
  if (opener.kind === 'slotKey')
    throw new BackupError(
      'wrong-secret',
      'what "unlock" left in the keyring does not open the repository; the store itself is intact: run "qubes-backup unlock" again',
    );
  const name = SECRET_NAMES[opener.kind];
  if (slots.some(({ kind }) => kind === opener.kind))
    throw new BackupError(
      'wrong-secret',
      `${opener.source ?? `this ${name}`} does not open the repository; the store itself is intact`,
    );
  const others = [...new Set(slots.map(({ kind }) => `a ${SECRET_NAMES[kind]}`))];
  throw new BackupError(
    'wrong-secret',
    `the repository has no slot for ${opener.source ?? `a ${name}`}: it opens with ${others.join(' or ')}`,
  );
}

/** True if `secret` opens `slot` of the repository. */
export async function opensSlot(repository: RepositoryId, slot: KeySlot, secret: Secret): Promise<boolean> {
  const master = await openSlot(repository, slot, secret);
  master?.fill(0);
  return master !== undefined;
}

/** The master key; undefined if the secret is not this slot's. */
async function openSlot(
  repository: RepositoryId,
  slot: KeySlot,
  opener: Opener,
): Promise<Uint8Array | undefined> {
  const slotKey = await slotKeyOf(slot, opener);
  if (slotKey === undefined) return undefined;
  try {
    return unwrapKey(slotKey, 'master', masterContext(repository, slot.salt), slot.wrapped);
  } catch (error) {
    if (isBackupError(error, 'store-damaged')) return undefined;
    throw error;
  } finally {
    slotKey.fill(0);
  }
}

/** A fresh copy of the key of `slot`, if `opener` is of its kind; nothing says yet whether it is right. */
export async function slotKeyOf(slot: KeySlot, opener: Opener): Promise<Uint8Array | undefined> {
  if (opener.kind === 'slotKey') return isOf(slot, opener) ? new Uint8Array(opener.bytes) : undefined;
  if (slot.kind !== opener.kind) return undefined;
  return slot.kind === 'passphrase'
    ? argon2id(opener.bytes, slot.salt, slot)
    : randomSlotKey(slot.kind, opener, slot.salt);
}

/** True if `key` is that of `slot`. */
export function isOf(slot: KeySlot, key: SlotKey): boolean {
  return equalBytes(slot.salt, key.salt);
}

/** Slot key of 32 random bytes, which need no stretching. */
function randomSlotKey(kind: keyof typeof RANDOM_INFO, { bytes }: Secret, salt: Uint8Array): Uint8Array {
  return hkdf(bytes, salt, RANDOM_INFO[kind]);
}
