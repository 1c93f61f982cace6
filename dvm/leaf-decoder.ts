/**
 * Decodes one leaf (docs/format.md, section 8.1), record by record. Accepts only what the encoder writes for
 * the same records: every bound is checked before use, and every encoding is the canonical one.
 */

import { hash } from 'node:crypto';
import { ByteReader, byteString, equalBytes } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import {
  MAX_BLOB_NUMBER,
  MAX_CHUNK,
  MAX_LEAF_RECORD,
  MAX_PATH,
  MAX_SEGMENT,
  MAX_SEGMENTS,
} from '../shared/limits.ts';
import { ALL_FILE_FLAGS, TYPE } from './entry.ts';
import type { Attribute, Chunk, Entry, EntryType, Timestamp } from './entry.ts';
import {
  ALL_FLAGS,
  FLAG,
  MAX_NANOSECONDS,
  MAX_U32,
  TAG,
  damagedTree,
  namesAreValid,
  orderOf,
} from './leaf.ts';
import type { TreeRecord } from './leaf.ts';
import { unwrapTreeBlob } from './tree-blob.ts';

const NO_ATTRIBUTES: readonly Attribute[] = [];
const NO_DEVICE = [0, 0] as const;
const NO_TARGET = '' as ByteString;

/**
 * The records of an untrusted leaf blob. Chunks' hashes and attributes' values are views into the decompressed
 * leaf. Throws `store-damaged` if the raw bytes do not have `expectedHash` or are not exactly one leaf.
 */
export function* decodeLeaf(untrustedBlob: Uint8Array, expectedHash: Uint8Array): Generator<TreeRecord> {
  const raw = unwrapTreeBlob(untrustedBlob);
  if (!equalBytes(hash('sha256', raw, 'buffer'), expectedHash))
    throw damagedTree('a leaf has another hash than the top says');
  yield* decodeRawLeaf(raw);
}

/** The records of a leaf's raw bytes. */
export function* decodeRawLeaf(untrustedRaw: Uint8Array): Generator<TreeRecord> {
  const decoder = new LeafDecoder(untrustedRaw);
  for (let record = decoder.next(); record !== undefined; record = decoder.next()) yield record;
}

interface Pack {
  readonly number: number;
  readonly size: number;
}

class LeafDecoder {
  readonly #reader: ByteReader;
  readonly #packs: readonly Pack[];
  #packsUsed = 0;
  /** The path of the last entry. Bytes of it are rewritten in place, as suffixes come in. */
  #path = Buffer.alloc(4096);
  #pathLength = 0;
  #started = false;
  /** Chunk records that the last entry still announces; undefined before the first entry. */
  #chunksLeft: number | undefined;
  #lastPack = -1;
  #lastEnd = 0;

  constructor(untrustedRaw: Uint8Array) {
    this.#reader = new ByteReader(untrustedRaw);
    this.#packs = readPacks(this.#reader);
    if (this.#reader.atEnd) throw damagedTree('a leaf is empty');
  }

  /** The next record, or undefined at the end of the leaf. */
  next(): TreeRecord | undefined {
    const reader = this.#reader;
    if (reader.atEnd) {
      if (this.#packsUsed < this.#packs.length) throw damagedTree('a leaf lists a pack that it does not use');
      return undefined;
    }
    const before = reader.remaining;
    const tag = reader.u8();
    let record: TreeRecord;
    if (tag === TAG.entry) record = this.#entry();
    else if (tag === TAG.chunk) record = { kind: 'chunk', chunk: this.#chunk() };
    else throw damagedTree('a record has an unknown tag');
    if (before - reader.remaining > MAX_LEAF_RECORD) throw damagedTree('a record is too long');
    return record;
  }

  #entry(): TreeRecord {
    if (this.#chunksLeft !== undefined && this.#chunksLeft > 0)
      throw damagedTree('chunks of a file are missing');
    const reader = this.#reader;
    const path = this.#readPath();
    const type = reader.u8();
    if (type < TYPE.file || type > TYPE.skipped) throw damagedTree('an entry has an unknown type');
    const flags = bounded(reader.varint(), ALL_FLAGS, 'flags');
    if ((flags & FLAG.linked) !== 0 && type === TYPE.directory)
      throw damagedTree('a directory is marked as hard-linked');
    const mode = bounded(reader.varint(), 0o7777, 'a mode');
    const uid = this.#owner((flags & FLAG.ownerUnknown) !== 0);
    const gid = this.#owner((flags & FLAG.groupUnknown) !== 0);
    const mtime = this.#time();
    const ctime = this.#time();
    const inode = reader.varint();
    const size = type === TYPE.file ? reader.varint() : 0;
    const chunkCount = type === TYPE.file ? reader.varint() : 0;
    if (chunkCount > size) throw damagedTree('a file has more chunks than bytes');
    const target = type === TYPE.symlink || type === TYPE.skipped ? this.#target() : NO_TARGET;
    const device = type === TYPE.characterDevice || type === TYPE.blockDevice ? this.#device() : NO_DEVICE;
    const attributes = (flags & FLAG.attributes) === 0 ? NO_ATTRIBUTES : this.#attributes();
    const fileFlags = (flags & FLAG.fileFlags) === 0 ? 0 : this.#fileFlags(type);
    this.#chunksLeft = chunkCount;
    const entry: Entry = {
      path,
      type: type as EntryType,
      mode,
      uid,
      gid,
      mtime,
      ctime,
      inode,
      linked: (flags & FLAG.linked) !== 0,
      doubtful: (flags & FLAG.doubtful) !== 0,
      unreadable: (flags & FLAG.unreadable) !== 0,
      attributes,
      size,
      target,
      device,
      flags: fileFlags,
    };
    if (type === TYPE.skipped) checkSkipped(entry, flags);
    return { kind: 'entry', entry, chunkCount };
  }

  /** Checks names and order on the way: the shared part was checked with the entry before. */
  #readPath(): ByteString {
    const shared = bounded(this.#reader.varint(), this.#pathLength, 'a shared prefix');
    const suffixLength = bounded(this.#reader.varint(), MAX_PATH - shared, 'a path');
    const suffix = this.#reader.take(suffixLength);
    const first = suffix[0];
    if (this.#started) {
      if (first === undefined) throw damagedTree('a path occurs twice or out of order');
      // The first byte that differs decides; an equal one means that more is shared than was said.
      if (shared < this.#pathLength && orderOf(first) <= orderOf(this.#path[shared] ?? 0)) {
        throw damagedTree('paths are out of order');
      }
    }
    this.#started = true;
    const length = shared + suffixLength;
    if (length > this.#path.length) this.#path = Buffer.concat([this.#path], Math.min(MAX_PATH, 2 * length));
    this.#path.set(suffix, shared);
    this.#pathLength = length;
    if (!namesAreValid(this.#path, length, shared)) throw damagedTree('a path has an impossible name in it');
    return this.#path.toString('latin1', 0, length) as ByteString;
  }

  #owner(unknown: boolean): number | undefined {
    const id = bounded(this.#reader.varint(), MAX_U32, 'an owner');
    if (!unknown) return id;
    if (id !== 0) throw damagedTree('an unknown owner has a number');
    return undefined;
  }

  #time(): Timestamp {
    const seconds = zigzag(this.#reader);
    return { seconds, nanoseconds: bounded(this.#reader.varint(), MAX_NANOSECONDS, 'a time') };
  }

  #target(): ByteString {
    const target = this.#reader.take(bounded(this.#reader.varint(), MAX_PATH, 'a symlink'));
    if (target.includes(0)) throw damagedTree('a symlink has a NUL in its target');
    return byteString(target);
  }

  #device(): readonly [number, number] {
    const major = bounded(this.#reader.varint(), MAX_U32, 'a device');
    return [major, bounded(this.#reader.varint(), MAX_U32, 'a device')];
  }

  #fileFlags(type: number): number {
    if (type !== TYPE.file && type !== TYPE.directory) throw damagedTree('an entry has flags it cannot have');
    const flags = this.#reader.varint();
    if (flags === 0 || (flags & ~ALL_FILE_FLAGS) !== 0 || flags > ALL_FILE_FLAGS)
      throw damagedTree('file flags are out of range');
    return flags;
  }

  #attributes(): readonly Attribute[] {
    const reader = this.#reader;
    const count = bounded(reader.varint(), reader.remaining / 3, 'a number of attributes'); // Three bytes at least, each.
    if (count === 0) throw damagedTree('an entry is marked as having attributes and has none');
    const attributes: Attribute[] = [];
    for (let i = 0; i < count; i++) {
      const name = byteString(reader.take(bounded(reader.varint(), reader.remaining, 'an attribute')));
      const value = reader.take(bounded(reader.varint(), reader.remaining, 'an attribute'));
      const before = attributes.at(-1);
      if (name === '' || name.includes('\0')) throw damagedTree('an attribute has an impossible name');
      if (before !== undefined && before.name >= name) throw damagedTree('attributes are not sorted');
      attributes.push({ name, value });
    }
    return attributes;
  }

  #chunk(): Chunk {
    if (this.#chunksLeft !== undefined) {
      if (this.#chunksLeft === 0) throw damagedTree('a chunk belongs to no file');
      this.#chunksLeft -= 1;
    }
    const reader = this.#reader;
    const gap = reader.varint();
    const reference = reader.varint();
    const follows = reference % 2 === 1;
    const index = (reference - (follows ? 1 : 0)) / 2;
    const pack = this.#packs[index];
    // In order of first use: the next one may be a new one, none may be skipped.
    if (pack === undefined || index > this.#packsUsed)
      throw damagedTree('a chunk refers to a pack that is not listed');
    if (index === this.#packsUsed) this.#packsUsed += 1;
    const same = index === this.#lastPack;
    if (follows && !same) throw damagedTree('a chunk follows on nothing');
    const offset = follows ? this.#lastEnd : reader.varint();
    if (!follows && same && offset === this.#lastEnd)
      throw damagedTree('a chunk’s place is not in canonical form');
    const length = bounded(reader.varint(), MAX_CHUNK, 'a chunk');
    if (length === 0 || offset + length > pack.size) throw damagedTree('a chunk lies outside of its pack');
    this.#lastPack = index;
    this.#lastEnd = offset + length;
    return { gap, length, hash: reader.take(32), place: { blob: pack.number, offset, packSize: pack.size } };
  }
}

function readPacks(reader: ByteReader): Pack[] {
  const count = bounded(reader.varint(), reader.remaining / 2, 'a number of packs'); // Two bytes at least, each.
  const packs: Pack[] = [];
  const seen = new Set<number>();
  let number = 0;
  for (let i = 0; i < count; i++) {
    number += zigzag(reader);
    if (number < 0 || number > MAX_BLOB_NUMBER) throw damagedTree('a pack has an impossible number');
    if (seen.has(number)) throw damagedTree('a leaf lists a pack twice');
    seen.add(number);
    const size = bounded(reader.varint(), MAX_SEGMENT * MAX_SEGMENTS, 'a pack’s size');
    packs.push({ number, size });
  }
  return packs;
}

/** Of a skipped path nothing is kept but the reason. */
function checkSkipped(entry: Entry, flags: number): void {
  const { mode, uid, gid, mtime, ctime, inode, target } = entry;
  const numbers = [
    flags,
    mode,
    uid,
    gid,
    mtime.seconds,
    mtime.nanoseconds,
    ctime.seconds,
    ctime.nanoseconds,
    inode,
  ];
  if (target === '' || numbers.some((number) => number !== 0))
    throw damagedTree('a skipped path has no reason, or more than that');
}

/** A signed integer: 2n for n >= 0, else -2n - 1. */
export function zigzag(reader: ByteReader): number {
  const value = reader.varint();
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** `value`, at most `max`. */
export function bounded(value: number, max: number, what: string): number {
  if (value > max) throw damagedTree(`${what} is out of range`);
  return value;
}
