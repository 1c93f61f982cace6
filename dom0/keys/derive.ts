/** Key derivation: HKDF-SHA-256 (RFC 5869) for subkeys, Argon2id (RFC 9106) for passphrases. */

import crypto, { hkdfSync, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { argon2id as argon2idReference } from '@noble/hashes/argon2.js';
import { concat, utf8 } from '../../shared/bytes.ts';
import { BackupError, systemCode } from '../../shared/errors.ts';
import {
  ARGON2_MAX_LANES,
  ARGON2_MAX_MEMORY,
  ARGON2_MAX_OWN_MEMORY,
  ARGON2_MAX_PASSES,
  ARGON2_MAX_WORK,
  ARGON2_MIN_MEMORY,
  ARGON2_MIN_PASSES,
} from '../../shared/limits.ts';

/** Undefined in a Node.js that has none. */
const argon2Native = 'argon2' in crypto ? promisify(crypto.argon2) : undefined;

/** Cost of a passphrase slot: memory in KiB, passes over it, lanes. */
export interface Argon2Cost {
  readonly memory: number;
  readonly passes: number;
  readonly lanes: number;
}

/** 32 bytes by HKDF-SHA-256. */
export function hkdf(secret: Uint8Array, salt: Uint8Array, ...info: Uint8Array[]): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, concat(info), 32));
}

/** Throws `store-damaged`, before anything is run, on a cost that is too weak to trust or high enough to stop dom0. */
export function checkCost({ memory, passes, lanes }: Argon2Cost): void {
  if (memory < ARGON2_MIN_MEMORY || passes < ARGON2_MIN_PASSES) {
    throw new BackupError(
      'store-damaged',
      'the store offers a passphrase slot weaker than this program ever makes: do not trust it',
    );
  }
  if (memory > ARGON2_MAX_MEMORY || passes > ARGON2_MAX_PASSES || lanes > ARGON2_MAX_LANES) {
    throw new BackupError(
      'store-damaged',
      'the store offers a passphrase slot of an absurd cost: do not trust it',
    );
  }
}

/** Throws `store-damaged`, before any is run, if one of a root's passphrase slots may not be run, or all of them would take too long. */
export function checkCosts(slots: readonly Argon2Cost[]): void {
  for (const slot of slots) checkCost(slot);
  const work = slots.reduce((sum, { memory, passes }) => sum + memory * passes, 0);
  if (work > ARGON2_MAX_WORK) {
    throw new BackupError(
      'store-damaged',
      'the store offers passphrase slots that would take absurdly long together: do not trust it',
    );
  }
}

/**
 * 32 bytes by Argon2id, version 0x13. `passphrase` is NFC-normalised UTF-8. Runs on another thread, or, several times
 * slower, by `@noble/hashes` on this one where neither Node.js nor its OpenSSL has it.
 */
export async function argon2id(
  passphrase: Uint8Array,
  salt: Uint8Array,
  cost: Argon2Cost,
  native: typeof argon2Native | null = argon2Native,
): Promise<Uint8Array> {
  checkCost(cost);
  const { memory, passes, lanes: parallelism } = cost;
  if (native) {
    const parameters = { message: passphrase, nonce: salt, memory, passes, parallelism, tagLength: 32 };
    try {
      return await native('argon2id', parameters);
    } catch (error) {
      if (systemCode(error) !== 'ERR_CRYPTO_ARGON2_NOT_SUPPORTED') throw error;
    }
  }
  return argon2idReference(passphrase, salt, { m: memory, t: passes, p: parallelism, dkLen: 32 });
}

const TARGET_MILLISECONDS = 1_000;
const MIB = 1024;
/** KiB that a new slot takes: on slow machines less, on fast ones more. */
const MEMORY = { least: 64 * MIB, usual: 128 * MIB, most: ARGON2_MAX_OWN_MEMORY } as const;
const LANES = 4;

/** A cost that takes about one second on this machine. */
export async function calibrate(): Promise<Argon2Cost> {
  const probe = { memory: MEMORY.usual, passes: ARGON2_MIN_PASSES, lanes: LANES };
  const start = performance.now();
  await argon2id(utf8('calibration'), randomBytes(16), probe);
  return costFor((performance.now() - start) / probe.passes);
}

/**
 * The cost that takes about one second where one pass over the usual memory takes so many milliseconds. Passes adapt first;
 * memory only where they are at their least or most.
 */
export function costFor(perPass: number): Argon2Cost {
  const wanted = Math.round(TARGET_MILLISECONDS / perPass);
  const passes = Math.min(ARGON2_MAX_PASSES, Math.max(ARGON2_MIN_PASSES, wanted));
  if (passes === wanted) return { memory: MEMORY.usual, passes, lanes: LANES };
  const fitting = Math.floor((MEMORY.usual * TARGET_MILLISECONDS) / (passes * perPass) / MIB) * MIB;
  return { memory: Math.min(MEMORY.most, Math.max(MEMORY.least, fitting)), passes, lanes: LANES };
}
