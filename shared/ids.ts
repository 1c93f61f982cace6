/**
 * Identifiers. Each is a branded type with one way in: `parse…` for text, a zod codec for bytes on the wire.
 */

import { createHash, hash, randomBytes } from 'node:crypto';
import * as z from 'zod';
import { hex } from './bytes.ts';
import { BackupError } from './errors.ts';

type Brand<Base, Name extends string> = Base & { readonly __brand: Name };

/** SHA-256 of an object's bytes, 64 lower-case hex digits. */
export type ObjectId = Brand<string, 'ObjectId'>;
/** SHA-256 of a root's bytes, 64 lower-case hex digits. */
export type RootHash = Brand<string, 'RootHash'>;
/** 16 random bytes that name a repository, 32 hex digits. */
export type RepositoryId = Brand<string, 'RepositoryId'>;
/** 16 random bytes that name a VM within a repository for ever, 32 hex digits. Never its name (R11). */
export type VmId = Brand<string, 'VmId'>;
/** SHA-256 over a volume's canonical entry stream, 64 hex digits. */
export type ContentDigest = Brand<string, 'ContentDigest'>;
/** A Qubes VM name: at most 31 characters, `[A-Za-z][A-Za-z0-9_.-]*`. */
export type VmName = Brand<string, 'VmName'>;

/** The previous-root field of the first root. */
export const NO_ROOT = '0'.repeat(64) as RootHash;

/** Bytes of exactly `length` on the wire, hex in memory. */
function hexBytes<Id extends string>(length: number) {
  return z.codec(
    z.instanceof(Uint8Array).refine((bytes) => bytes.length === length, `must be ${length} bytes`),
    z.custom<Id>((value) => typeof value === 'string' && value.length === 2 * length),
    { decode: (bytes) => hex(bytes) as Id, encode: (id) => new Uint8Array(Buffer.from(id, 'hex')) },
  );
}

export const objectIdCodec = hexBytes<ObjectId>(32);
export const rootHashCodec = hexBytes<RootHash>(32);
export const repositoryIdCodec = hexBytes<RepositoryId>(16);
export const vmIdCodec = hexBytes<VmId>(16);
export const contentDigestCodec = hexBytes<ContentDigest>(32);

const HEX_32 = /^[0-9a-f]{64}$/;

/** Throws `protocol` unless `text` is 64 lower-case hex digits. */
export function parseObjectId(text: string): ObjectId {
  if (!HEX_32.test(text)) throw new BackupError('protocol', 'not an object name');
  return text as ObjectId;
}

/** The name of an object whose bytes are the concatenation of `pieces`. */
export function objectIdOf(...pieces: Uint8Array[]): ObjectId {
  return sha256Hex(pieces) as ObjectId;
}

/** The hash by which later roots and pins refer to a root of these bytes. */
export function rootHashOf(bytes: Uint8Array): RootHash {
  return sha256Hex([bytes]) as RootHash;
}

export function objectIdFromBytes(bytes: Uint8Array): ObjectId {
  if (bytes.length !== 32) throw new BackupError('protocol', 'not an object name');
  return hex(bytes) as ObjectId;
}

export function newRepositoryId(): RepositoryId {
  return hex(randomBytes(16)) as RepositoryId;
}

export function newVmId(): VmId {
  return hex(randomBytes(16)) as VmId;
}

export function idBytes(id: ObjectId | RootHash | RepositoryId | VmId | ContentDigest): Uint8Array {
  return Buffer.from(id, 'hex');
}

const VM_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,30}$/;

export function isVmName(text: string): text is VmName {
  return VM_NAME.test(text);
}

/** Throws `usage` with the rule when `text` is no VM name. */
export function parseVmName(text: string): VmName {
  if (!isVmName(text)) {
    throw new BackupError(
      'usage',
      `${JSON.stringify(text)} is not a VM name: use a letter, then letters, digits, "_", "." or "-", at most 31 in all`,
    );
  }
  return text;
}

function sha256Hex(pieces: readonly Uint8Array[]): string {
  if (pieces.length === 1 && pieces[0] !== undefined) return hash('sha256', pieces[0], 'hex');
  const state = createHash('sha256');
  for (const piece of pieces) state.update(piece);
  return state.digest('hex');
}
