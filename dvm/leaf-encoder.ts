/**
 * Encodes one leaf (docs/format.md, section 8.1). A function of its records alone: the same records give the
 * same bytes, so an unchanged region of a volume is the same leaf again.
 */

import type { ByteString } from '../shared/bytes.ts';
import { escapeText } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_LEAF_RECORD } from '../shared/limits.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { FLAG, TAG, endsAfterChunk, endsAfterEntry, sharedPrefix } from './leaf.ts';

/** Appends bytes, varints and text to a buffer that grows. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** A copy of what was written. */
  toBytes(): Uint8Array {
    return new Uint8Array(this.#bytes.subarray(0, this.#length));
  }

  reset(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** An unsigned integer up to 2^53 - 1. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new BackupError('limit', `the number ${value} cannot be stored`);
    this.#reserve(8);
    let rest = value;
    if (value < 2 ** 31) {
      for (; rest >= 0x80; rest >>>= 7) this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      this.#bytes[this.#length++] = rest;
      return;
    }
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A signed integer: 2n for n >= 0, else -2n - 1. */
  zigzag(value: number): void {
    this.varint(value >= 0 ? 2 * value : -2 * value - 1);
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Length and bytes of `text`. */
  text(text: ByteString, from = 0): void {
    const length = text.length - from;
    this.varint(length);
    this.#reserve(length);
    for (let i = from; i < text.length; i++) this.#bytes[this.#length++] = text.charCodeAt(i);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * needed);
  }
}

/** Collects the records of a leaf; {@link ended} says when it is time to take() it. */
export class LeafEncoder {
  readonly #records = new ByteWriter();
  readonly #packs = new ByteWriter();
  readonly #packIndex = new Map<number, number>();
  #lastNumber = 0;
  #lastPath = '' as ByteString;
  #lastPack = -1;
  #lastEnd = 0;
  #ended = false;

  /** True after a record that ends a leaf. */
  get ended(): boolean {
    return this.#ended;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** Another encoder that holds the same records. */
  copy(): LeafEncoder {
    const copy = new LeafEncoder();
    copy.#records.bytes(this.#records.toBytes());
    copy.#packs.bytes(this.#packs.toBytes());
    for (const [number, index] of this.#packIndex) copy.#packIndex.set(number, index);
    copy.#lastNumber = this.#lastNumber;
    copy.#lastPath = this.#lastPath;
    copy.#lastPack = this.#lastPack;
    copy.#lastEnd = this.#lastEnd;
    copy.#ended = this.#ended;
    return copy;
  }

  /** The raw leaf. The encoder is empty afterwards. */
  take(): Uint8Array {
    const whole = new ByteWriter();
    whole.varint(this.#packIndex.size);
    whole.bytes(this.#packs.toBytes());
    whole.bytes(this.#records.toBytes());
    this.#records.reset();
    this.#packs.reset();
    this.#packIndex.clear();
    this.#lastNumber = 0;
    this.#lastPath = '' as ByteString;
    this.#lastPack = -1;
    this.#ended = false;
    return whole.toBytes();
  }

  /** Adds an entry that `chunkCount` chunks will follow. Throws `limit` if the entry is too large for a tree. */
  addEntry(entry: Entry, chunkCount: number): void {
    const out = this.#records;
    const before = out.length;
    const shared = sharedPrefix(this.#lastPath, entry.path);
    out.u8(TAG.entry);
    out.varint(shared);
    out.text(entry.path, shared);
    out.u8(entry.type);
    out.varint(flagsOf(entry));
    out.varint(entry.mode);
    out.varint(entry.uid ?? 0);
    out.varint(entry.gid ?? 0);
    out.zigzag(entry.mtime.seconds);
    out.varint(entry.mtime.nanoseconds);
    out.zigzag(entry.ctime.seconds);
    out.varint(entry.ctime.nanoseconds);
    out.varint(entry.inode);
    if (entry.type === TYPE.file) {
      out.varint(entry.size);
      out.varint(chunkCount);
    } else if (entry.type === TYPE.symlink || entry.type === TYPE.skipped) {
      out.text(entry.target);
    } else if (entry.type === TYPE.characterDevice || entry.type === TYPE.blockDevice) {
      out.varint(entry.device[0]);
      out.varint(entry.device[1]);
    }
    if (entry.attributes.length > 0) this.#addAttributes(entry);
    if (entry.flags !== 0) out.varint(entry.flags);
    if (out.length - before > MAX_LEAF_RECORD) {
      throw new BackupError(
        'limit',
        `${escapeText(entry.path).slice(0, 200)}: its name and attributes are too long to be stored`,
      );
    }
    this.#lastPath = entry.path;
    this.#ended = endsAfterEntry(out.length, entry.path);
  }

  #addAttributes(entry: Entry): void {
    const out = this.#records;
    out.varint(entry.attributes.length);
    for (const { name, value } of entry.attributes) {
      out.text(name);
      out.varint(value.length);
      out.bytes(value);
    }
  }

  addChunk(chunk: Chunk): void {
    const out = this.#records;
    const { blob, offset, packSize } = chunk.place;
    const index = this.#packIndex.get(blob) ?? this.#addPack(blob, packSize);
    const follows = index === this.#lastPack && offset === this.#lastEnd;
    out.u8(TAG.chunk);
    out.varint(chunk.gap);
    out.varint(2 * index + (follows ? 1 : 0));
    if (!follows) out.varint(offset);
    out.varint(chunk.length);
    out.bytes(chunk.hash);
    this.#lastPack = index;
    this.#lastEnd = offset + chunk.length;
    this.#ended = endsAfterChunk(out.length, chunk.hash);
  }

  #addPack(number: number, size: number): number {
    const index = this.#packIndex.size;
    this.#packIndex.set(number, index);
    this.#packs.zigzag(number - this.#lastNumber);
    this.#packs.varint(size);
    this.#lastNumber = number;
    return index;
  }
}

function flagsOf(entry: Entry): number {
  return (
    (entry.linked ? FLAG.linked : 0) |
    (entry.uid === undefined ? FLAG.ownerUnknown : 0) |
    (entry.gid === undefined ? FLAG.groupUnknown : 0) |
    (entry.doubtful ? FLAG.doubtful : 0) |
    (entry.unreadable ? FLAG.unreadable : 0) |
    (entry.attributes.length > 0 ? FLAG.attributes : 0) |
    (entry.flags !== 0 ? FLAG.fileFlags : 0)
  );
}
