/**
 * What a storage VM needs of the place that holds its data: small files by name, nothing else. Every back end passes the same
 * contract suite (test/storagevm/back-end-contract.ts). Everything that is the same for all of them (roots, ledger, quota) is
 * written once, on top of this (store.ts).
 *
 * "Durable" means: survives a power cut at the next instant. All methods may be called concurrently, from any number of
 * processes of one storage VM, without locks. Failures are BackupError: `store-full` (no room), `io`, and `store-replaced` where
 * another storage VM was found to write to the same place.
 */

import type { ObjectId } from '../shared/ids.ts';

/** The name of a file in a store, and its path where a store is a folder (docs/format.md, section 12). */
export type StoreName = `objects/${string}/${string}` | `roots/${string}` | 'format' | 'key' | 'owner';

/** What can be listed: all objects, those of one shard (the first two digits of their names), all roots. */
export type Listed = 'objects' | `objects/${string}` | 'roots';

/** A file as a listing reports it; `size` in bytes, unverified. */
export interface StoredFile {
  readonly name: StoreName;
  readonly size: number;
}

export interface BackEnd {
  /**
   * Stores `bytes` (at most MAX_OBJECT) under `name`. All or nothing: no reader ever sees a part. False if exactly these bytes
   * were there already; others are replaced. Durable only after {@link sync}. A failure leaves nothing behind. Once it has
   * settled it does not look at `bytes` again: their memory may be gone.
   */
  write(name: StoreName, bytes: Uint8Array): Promise<boolean>;

  /**
   * Stores `bytes` under `name` if nothing is there, durably. The compare-and-set: of all calls with the same name one answers
   * true, as long as it is not removed. The others answer false and change nothing.
   */
  create(name: StoreName, bytes: Uint8Array): Promise<boolean>;

  /** Makes what is stored under `names` durable, whichever process did it and whether or not it stored anything. */
  sync(names: readonly StoreName[]): Promise<void>;

  /**
   * The bytes under `name` as they are, or undefined if there are none. Throws `io` if they cannot be delivered: unreadable, or
   * more than `max`, which are not read.
   */
  read(name: StoreName, max: number): Promise<Uint8Array | undefined>;

  /** All files of one kind in batches, sorted by name over all of them; one that is written meanwhile may be left out. */
  list(what: Listed): AsyncIterable<readonly StoredFile[]>;

  /**
   * Removes files; those that are not there are no failure. Answers those that the place keeps for now, by a lock against deletion
   * that its owner asked for. Not durable: after a power cut a file may be there again.
   */
  remove(names: readonly StoreName[]): Promise<readonly StoreName[]>;

  /** Bytes that can still be stored, where the place has a known end. */
  room(): Promise<number | undefined>;
}

/** Where an object is. */
export function objectName(id: ObjectId): StoreName {
  return `objects/${shardOf(id)}/${id}`;
}

/** Objects are spread over 256 shards by the first byte of their names. */
export function shardOf(id: ObjectId): string {
  return id.slice(0, 2);
}

/** All shards, in order. */
export const SHARDS: readonly string[] = Array.from({ length: 256 }, (_, shard) =>
  shard.toString(16).padStart(2, '0'),
);

const HEX_32 = /^[0-9a-f]{64}$/;

/** The object of that name, or undefined if it is none of an object. */
export function objectOf(name: string): ObjectId | undefined {
  const [folder, shard, id = '', ...rest] = name.split('/');
  const isObject =
    folder === 'objects' && rest.length === 0 && HEX_32.test(id) && id.startsWith(shard ?? '/');
  return isObject && shard?.length === 2 ? (id as ObjectId) : undefined;
}

/** Digits of a root's number: names sort as their numbers do. */
const DIGITS = 12;
const ROOT_NAME = /^roots\/(\d{12})$/;

/** Where the root of this number is: 1 is the first that the store got. */
export function rootName(number: number): StoreName {
  return `roots/${String(number).padStart(DIGITS, '0')}`;
}

/** The number of a root by its name, or undefined if it is none. */
export function rootNumber(name: string): number | undefined {
  const digits = ROOT_NAME.exec(name)?.[1];
  return digits === undefined || Number(digits) === 0 ? undefined : Number(digits);
}
