/**
 * Reads files: whole, as chunks with their hashes, and again in part, to hold them against what is known.
 */

import { equalBytes } from '../shared/bytes.ts';
import { messageOf } from '../shared/errors.ts';
import { MAX_CHUNK } from '../shared/limits.ts';
import { Chunker } from './chunker.ts';
import type { Piece } from './chunker.ts';
import type { ChunkContent } from './digest.ts';
import { sameState } from './describe.ts';
import type { OpenFile } from './access.ts';
import { isLibcError } from './libc.ts';
import { sha256, sha256Aside } from './sha256.ts';
import type { Stat } from './stat.ts';
import type { Found, Noter } from './walk.ts';

/** What came of reading a file. */
export type Content<T> =
  | {
      readonly kind: 'read';
      /** The file's metadata just before it was read. */
      readonly stat: Stat;
      /** Its portable chattr flags. */
      readonly flags: number;
      readonly chunks: readonly T[];
      /** It changed while it was read, twice. */
      readonly changed: boolean;
      /** Changed, or some of its bytes could not be read. */
      readonly doubtful: boolean;
    }
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'vanished' };

/** Called often, with how far the open file was read; its promise is waited for. */
export type Tick = (position: number) => Promise<void> | undefined;

/** What becomes of a chunk; its bytes are good until that settles. */
type Keeper<T> = (chunk: ChunkContent, bytes: Uint8Array) => T | Promise<T>;

/** What there is of a file before it is read. */
interface ReadStart {
  /** Chunks of an earlier state: makes it faster where they still are what the file consists of, and changes nothing of what comes of it. */
  readonly known?: readonly ChunkContent[] | undefined;
  /** The open file, which stays open; also if it changes, it is not opened again. */
  readonly opened?: OpenFile | undefined;
}

/** A piece that is being hashed. */
interface Hashing {
  readonly piece: Piece;
  readonly hash: Uint8Array | Promise<Uint8Array>;
}

/** So many chunks that are read again may wait for their hashes. */
const REREAD_AT_ONCE = 4;

/** A file that changes while it is read is read so many times before it is kept as doubtful. */
const ATTEMPTS = 2;

export class ContentReader {
  readonly #note: Noter;
  readonly #tick: Tick;
  readonly #pool: 'idle' | 'busy';
  readonly #chunker = new Chunker();
  /** Memory of a chunk that is read again to be stored anew. */
  readonly #piece = Buffer.alloc(MAX_CHUNK);
  /** Of those that are read again to be compared, in turn. */
  readonly #pieces = Array.from({ length: REREAD_AT_ONCE }, () => Buffer.alloc(MAX_CHUNK));
  #nextPiece = 0;
  #bytesRead = 0;

  /** `pool`: whether the thread pool has other work where what is read is new. Then it is hashed sooner than by a detour. */
  constructor(note: Noter, tick: Tick, pool: 'idle' | 'busy') {
    this.#note = note;
    this.#tick = tick;
    this.#pool = pool;
  }

  /** Bytes read from files so far. */
  get bytesRead(): number {
    return this.#bytesRead + this.#chunker.bytesRead;
  }

  /**
   * All chunks of a regular file, each as `keep` returned it; the bytes that `keep` gets are good until it settles. What
   * goes wrong with the file is noted; what `keep` throws passes through.
   */
  async read<T>(found: Found, keep: Keeper<T>, start: ReadStart = {}): Promise<Content<T>> {
    for (let attempt = 1; ; attempt++) {
      const content = await this.#tryRead(found, keep, start);
      if (content.kind !== 'read' || !content.changed) return content;
      if (attempt < ATTEMPTS) continue;
      this.#note('changed', found.path, 'it changed while it was read: what is stored may mix two states');
      return content;
    }
  }

  async #tryRead<T>(found: Found, keep: Keeper<T>, { known = [], opened }: ReadStart): Promise<Content<T>> {
    let file = opened;
    try {
      file ??= found.access.open();
      const stat = file.stat();
      if (stat.inode !== found.stat.inode || stat.mode >> 12 !== found.stat.mode >> 12)
        return this.#vanished(found);
      const chunks = await this.#readChunks(file, stat.size, keep, known);
      const changed = !sameState(stat, file.stat());
      const doubtful = changed || file.isLossy === true;
      return { kind: 'read', stat, flags: file.flags(), chunks, changed, doubtful };
    } catch (error) {
      if (isLibcError(error, 'ENOENT', 'ESTALE', 'ELOOP')) return this.#vanished(found);
      if (!isSystemError(error)) throw error;
      this.#note('unreadable', found.path, messageOf(error));
      return { kind: 'unreadable' };
    } finally {
      if (file !== opened) file?.close();
    }
  }

  /** A chunk may be hashed on the thread pool, while the next one is read and cut. */
  async #readChunks<T>(
    file: OpenFile,
    size: number,
    keep: Keeper<T>,
    known: readonly ChunkContent[],
  ): Promise<readonly T[]> {
    const chunks: T[] = [];
    let position = 0;
    let last: Hashing | undefined;
    for (const piece of this.#chunker.chunks(file, size, known)) {
      const next = piece.bytes.length > 0 ? { piece, hash: this.#hash(piece) } : undefined;
      if (next !== undefined) position = piece.start + piece.bytes.length;
      const turn = this.#tick(position);
      if (turn !== undefined) await turn;
      const isChunk = last === undefined || (await this.#keepHashed(last, keep, chunks));
      last = isChunk ? next : undefined;
    }
    if (last !== undefined) await this.#keepHashed(last, keep, chunks);
    return chunks;
  }

  #hash({ bytes, isGuess }: Piece): Uint8Array | Promise<Uint8Array> {
    return isGuess || this.#pool === 'idle' ? sha256Aside(bytes) : sha256(bytes);
  }

  /** Adds what was hashed to `chunks`; answers false if it is no chunk. */
  async #keepHashed<T>({ piece, hash }: Hashing, keep: Keeper<T>, chunks: T[]): Promise<boolean> {
    const { gap, bytes } = piece;
    const chunk = { gap, length: bytes.length, hash: hash instanceof Promise ? await hash : hash };
    if (!this.#chunker.confirm(piece, chunk.hash)) return false;
    const kept = keep(chunk, bytes);
    chunks.push(kept instanceof Promise ? await kept : kept);
    return true;
  }

  #vanished(found: Found): { readonly kind: 'vanished' } {
    this.#note('vanished', found.path, 'it disappeared, or another took its place, while it was read');
    return { kind: 'vanished' };
  }

  /** Opens a file to be read in another way than by {@link read}; undefined if that fails. */
  reopen(found: Found): OpenFile | undefined {
    try {
      return found.access.open();
    } catch (error) {
      if (isLibcError(error)) return undefined; // A full read follows, which names the reason.
      throw error;
    }
  }

  /** The bytes at `position`, if they still have the chunk's hash; good until the next is read. */
  reread(file: OpenFile, position: number, chunk: ChunkContent): Uint8Array | undefined {
    const bytes = this.#readInto(this.#piece.subarray(0, chunk.length), file, position);
    return bytes !== undefined && equalBytes(sha256(bytes), chunk.hash) ? bytes : undefined;
  }

  /** Chunks of `file` that are read again, several at a time; those of one file at a time. */
  rereads(file: OpenFile): Rereads {
    return new Rereads((position, chunk) => {
      const piece = this.#pieces[this.#nextPiece] as Buffer;
      const bytes = this.#readInto(piece.subarray(0, chunk.length), file, position);
      if (bytes === undefined) return false;
      const hash = sha256Aside(bytes);
      if (!(hash instanceof Promise)) return equalBytes(hash, chunk.hash);
      // Only what is still being hashed keeps its memory: of so many in turn, the next one's hash is settled.
      this.#nextPiece = (this.#nextPiece + 1) % REREAD_AT_ONCE;
      return hash.then((settled) => equalBytes(settled, chunk.hash));
    });
  }

  /** `bytes`, filled with what is at `position`; undefined if that is not to be had. */
  #readInto(bytes: Uint8Array, file: OpenFile, position: number): Uint8Array | undefined {
    try {
      for (let filled = 0; filled < bytes.length;) {
        const count = file.read(bytes.subarray(filled), position + filled);
        if (count === 0) return undefined;
        filled += count;
        this.#bytesRead += count;
      }
    } catch (error) {
      if (isSystemError(error)) return undefined; // A full read follows, which names the reason.
      throw error;
    }
    return bytes;
  }
}

/** Whether chunks are as they were: an answer may come a few chunks later. */
export class Rereads {
  readonly #check: (position: number, chunk: ChunkContent) => boolean | Promise<boolean>;
  readonly #waiting: Promise<boolean>[] = [];

  constructor(check: (position: number, chunk: ChunkContent) => boolean | Promise<boolean>) {
    this.#check = check;
  }

  /** Reads a chunk again. False if it, or one before it, is known not to be as it was. */
  add(position: number, chunk: ChunkContent): boolean | Promise<boolean> {
    const check = this.#check(position, chunk);
    if (!(check instanceof Promise)) return check;
    this.#waiting.push(check);
    return this.#waiting.length < REREAD_AT_ONCE || (this.#waiting.shift() as Promise<boolean>);
  }

  /** Whether all are. */
  async finish(): Promise<boolean> {
    return (await Promise.all(this.#waiting)).every(Boolean);
  }
}

/** True for a failed system call, of libc or of Node. */
function isSystemError(error: unknown): boolean {
  return isLibcError(error) || (error instanceof Error && 'syscall' in error);
}
