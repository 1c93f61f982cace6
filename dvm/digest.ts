/**
 * The content digest of a volume (docs/format.md, section 10): what two independent readers of the same content must
 * agree on. Both forms, with owners and without, are built at once.
 */

import { createHash } from 'node:crypto';
import { bytesOf } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { contentDigestCodec } from '../shared/ids.ts';
import type { ContentDigest } from '../shared/ids.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';

/** The part of a chunk that content consists of: not where it is stored. */
export type ChunkContent = Pick<Chunk, 'gap' | 'length' | 'hash'>;

const LABEL = Buffer.from('qubes-incremental-backup content 2\0', 'latin1');
/** What symlinks count as: Linux shows it for all of them, other systems do not. */
const SYMLINK_MODE = 0o777;

/** Takes entries in path order, the root first. */
export class DigestWriter {
  readonly #fields = new FieldHashes();
  /** Path of the first entry of each hard-link group. */
  readonly #leaders = new Map<number, ByteString>();

  /** True if an entry so far has this inode and other links. */
  hasLinked(inode: number): boolean {
    return this.#leaders.has(inode);
  }

  /** Adds one entry with all its chunks. Sockets, skipped paths and files that could not be read do not count. */
  add(entry: Entry, chunks: readonly ChunkContent[]): void {
    if (entry.type === TYPE.socket || entry.type === TYPE.skipped) return;
    if (entry.type === TYPE.file && entry.unreadable) return;
    const leader = entry.linked ? this.#leaders.get(entry.inode) : undefined;
    if (entry.linked && leader === undefined) this.#leaders.set(entry.inode, entry.path);
    addTo(this.#fields, entry, chunks, leader);
  }

  finish(): { readonly digest: ContentDigest; readonly ownerlessDigest: ContentDigest } {
    return this.#fields.finish();
  }

  /** The one that a verifier is asked for: without owners where the snapshot does not know them. */
  finishFor(owners: boolean): ContentDigest {
    const { digest, ownerlessDigest } = this.finish();
    return owners ? digest : ownerlessDigest;
  }
}

function addTo(
  out: FieldHashes,
  entry: Entry,
  chunks: readonly ChunkContent[],
  leader: ByteString | undefined,
): void {
  out.text(entry.path);
  out.u8(entry.type);
  out.u16(entry.type === TYPE.symlink ? SYMLINK_MODE : entry.mode);
  out.owners(entry.uid ?? 0, entry.gid ?? 0);
  out.i64(entry.mtime.seconds);
  out.u32(entry.mtime.nanoseconds);
  out.u8(entry.flags);
  out.u32(entry.attributes.length);
  for (const { name, value } of entry.attributes) {
    out.text(name);
    out.u32(value.length);
    out.bytes(value);
  }
  out.text(leader ?? ('' as ByteString));
  if (leader === undefined) addContent(out, entry, chunks);
}

function addContent(out: FieldHashes, entry: Entry, chunks: readonly ChunkContent[]): void {
  switch (entry.type) {
    case TYPE.file:
      out.i64(entry.size);
      out.u32(chunks.length);
      for (const { gap, length, hash } of chunks) {
        out.i64(gap);
        out.u32(length);
        out.bytes(hash);
      }
      return;
    case TYPE.symlink:
      out.text(entry.target);
      return;
    case TYPE.characterDevice:
    case TYPE.blockDevice:
      out.u32(entry.device[0]);
      out.u32(entry.device[1]);
      return;
    default: // Directories, FIFOs and sockets have no content of their own.
  }
}

/** Bytes of an owner and a group. */
const OWNERS = 8;

/**
 * SHA-256 over big-endian fields, with the owners among them and without. Fields are gathered first: a call of a hash for each
 * would cost more than hashing; and both forms are made of one text, from which the owners are taken out.
 */
class FieldHashes {
  readonly #owned = createHash('sha256').update(LABEL);
  readonly #ownerless = createHash('sha256').update(LABEL);
  readonly #buffer = new Uint8Array(64 * 1024);
  readonly #view = new DataView(this.#buffer.buffer);
  #used = 0;
  /** Where owners start in the buffer. */
  readonly #owners: number[] = [];

  /** Fields of which only one form consists. */
  owners(uid: number, gid: number): void {
    this.#owners.push(this.#room(OWNERS));
    this.u32(uid);
    this.u32(gid);
  }

  u8(value: number): void {
    this.#view.setUint8(this.#room(1), value);
    this.#used += 1;
  }

  u16(value: number): void {
    this.#view.setUint16(this.#room(2), value);
    this.#used += 2;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#room(4), value);
    this.#used += 4;
  }

  /** A signed 64-bit integer of at most 53 bits. */
  i64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#view.setInt32(this.#room(8), high);
    this.#view.setUint32(this.#used + 4, value - high * 2 ** 32);
    this.#used += 8;
  }

  /** Byte by byte: a call of native code costs more than most names are long. */
  text(text: ByteString): void {
    this.u32(text.length);
    if (text.length > this.#buffer.length) {
      this.bytes(bytesOf(text));
      return;
    }
    const start = this.#room(text.length);
    for (let i = 0; i < text.length; i++) this.#buffer[start + i] = text.charCodeAt(i);
    this.#used = start + text.length;
  }

  bytes(bytes: Uint8Array): void {
    if (bytes.length > this.#buffer.length) {
      this.#flush();
      this.#owned.update(bytes);
      this.#ownerless.update(bytes);
    } else {
      this.#buffer.set(bytes, this.#room(bytes.length));
      this.#used += bytes.length;
    }
  }

  finish(): { readonly digest: ContentDigest; readonly ownerlessDigest: ContentDigest } {
    this.#flush();
    const [digest, ownerlessDigest] = [this.#owned, this.#ownerless].map((hash) =>
      contentDigestCodec.decode(new Uint8Array(hash.digest())),
    ) as [ContentDigest, ContentDigest];
    return { digest, ownerlessDigest };
  }

  /** The position of `size` free bytes. */
  #room(size: number): number {
    if (this.#used + size > this.#buffer.length) this.#flush();
    return this.#used;
  }

  #flush(): void {
    this.#owned.update(this.#buffer.subarray(0, this.#used));
    this.#closeGaps();
    this.#ownerless.update(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  /** Takes the owners out of the buffer. */
  #closeGaps(): void {
    const ends = [...this.#owners, this.#used];
    let end = ends[0] ?? this.#used;
    this.#owners.forEach((at, i) => {
      const next = ends[i + 1] ?? this.#used;
      this.#buffer.copyWithin(end, at + OWNERS, next);
      end += next - at - OWNERS;
    });
    this.#owners.length = 0;
    this.#used = end;
  }
}
