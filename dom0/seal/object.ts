/**
 * Sealed objects (docs/format.md, section 2): what a store holds. seal() and open() are the only way between
 * plaintext and store; everything an object is for is in its associated data, so none can stand for another (R05).
 */

import { randomBytes } from 'node:crypto';
import { readU32, u32, u64, utf8, concat } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { idBytes, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId, RepositoryId, VmId } from '../../shared/ids.ts';
import { MAX_BLOB, MAX_OBJECT, MIN_PADDED, SEAL_OVERHEAD } from '../../shared/limits.ts';
import { sizeClass } from './size-class.ts';
import { NONCE_SIZE, decrypt, encrypt } from './xchacha.ts';
import type { Allocate } from './xchacha.ts';

/** What an object is; part of its associated data. */
export const KIND = {
  catalog: 1,
  rootSegment: 2,
  vmRecord: 3,
  tableLeaf: 4,
  snapshot: 5,
  snapshotSegment: 6,
  config: 7,
  liveSet: 8,
  content: 16,
  tree: 17,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];
export type BlobKind = typeof KIND.content | typeof KIND.tree;

/** The place an object belongs to: all of it must be the same to open it. */
export interface Place {
  readonly kind: Kind;
  readonly repository: RepositoryId;
  /** Undefined for records of the repository. */
  readonly vm: VmId | undefined;
  readonly number: number;
  readonly epoch: number;
}

/** An object ready to be stored: its bytes in pieces, to spare a copy, and their hash. */
export interface SealedObject {
  readonly id: ObjectId;
  readonly pieces: readonly Uint8Array[];
  readonly size: number;
}

const FORMAT = utf8('QIB1');
const NO_VM = new Uint8Array(16);
const zeros = new Uint8Array(256 * 1024);

/**
 * Seals at most MAX_BLOB bytes under `key` (32 bytes), with a fresh nonce (R09). `allocate` gives the ciphertext's memory: it must be
 * none that may hold a plaintext later, as a store may still be sent what is in it.
 */
export function seal(key: Uint8Array, place: Place, payload: Uint8Array, allocate?: Allocate): SealedObject {
  if (payload.length > MAX_BLOB)
    throw new BackupError('limit', `a ${place.kind} object of ${payload.length} bytes is too large`);
  const padded = sizeClass(4 + payload.length);
  const nonce = randomBytes(NONCE_SIZE);
  const plaintext = [u32(payload.length), payload, zeros.subarray(0, padded - payload.length - 4)];
  const pieces = [nonce, ...encrypt(key, nonce, associatedData(place), plaintext, allocate)];
  return { id: objectIdOf(...pieces), pieces, size: padded + SEAL_OVERHEAD };
}

/**
 * Opens the bytes of an object that is asked for by `id`. Throws `store-damaged` unless hash, tag, size class and
 * fill are all right. The result is memory of its own, or of `allocate`, which must give none that a ciphertext is still sent from.
 */
export function open(
  key: Uint8Array,
  place: Place,
  id: ObjectId,
  untrusted: Uint8Array,
  allocate?: Allocate,
): Uint8Array {
  if (untrusted.length < MIN_PADDED + SEAL_OVERHEAD || untrusted.length > MAX_OBJECT)
    throw damaged(id, 'has an impossible size');
  if (objectIdOf(untrusted) !== id) throw damaged(id, 'is not what its name says');
  let plaintext: Uint8Array;
  try {
    plaintext = decrypt(
      key,
      untrusted.subarray(0, NONCE_SIZE),
      associatedData(place),
      untrusted.subarray(NONCE_SIZE),
      allocate,
    );
  } catch (cause) {
    throw damaged(id, 'was not sealed for this place', cause);
  }
  const length = readU32(plaintext, 0);
  if (length > plaintext.length - 4 || sizeClass(4 + length) !== plaintext.length)
    throw damaged(id, 'is padded wrongly');
  if (!isZero(plaintext.subarray(4 + length))) throw damaged(id, 'is padded with data');
  return plaintext.subarray(4, 4 + length);
}

function associatedData(place: Place): Uint8Array {
  const vm = place.vm === undefined ? NO_VM : idBytes(place.vm);
  return concat([
    FORMAT,
    Uint8Array.of(place.kind),
    idBytes(place.repository),
    vm,
    u64(place.number),
    u32(place.epoch),
  ]);
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const piece = bytes.subarray(at, at + zeros.length);
    if (Buffer.compare(piece, zeros.subarray(0, piece.length)) !== 0) return false;
  }
  return true;
}

function damaged(id: ObjectId, what: string, cause?: unknown): BackupError {
  return new BackupError(
    'store-damaged',
    `object ${id.slice(0, 16)}… ${what}: the store is damaged or was tampered with`,
    { cause },
  );
}
