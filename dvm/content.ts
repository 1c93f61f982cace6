/**
 * Reads files: whole, as chunks with their hashes, and again in part, to hold them against what is known.
 */

import { hash } from 'node:crypto';
import { messageOf } from '../shared/errors.ts';
import { MAX_CHUNK } from '../shared/limits.ts';
import { Chunker } from './chunker.ts';
import type { ChunkContent } from './digest.ts';
import { sameState } from './describe.ts';
import type { OpenFile } from './access.ts';
import { isLibcError } from './libc.ts';
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

/** A file that changes while it is read is read so many times before it is kept as doubtful. */
const ATTEMPTS = 2;

export class ContentReader {
  readonly #note: Noter;
  readonly #tick: Tick;
  readonly #chunker = new Chunker();
  readonly #piece = Buffer.alloc(MAX_CHUNK);
  #bytesRead = 0;

  constructor(note: Noter, tick: Tick) {
    this.#note = note;
    this.#tick = tick;
  }

  /** Bytes read from files so far. */
  get bytesRead(): number {
    return this.#bytesRead + this.#chunker.bytesRead;
  }

  /**
   * All chunks of a regular file, each as `keep` returned it; the bytes that `keep` gets are good until it settles. What
   * goes wrong with the file is noted; what `keep` throws passes through.
   */
  async read<T>(
    found: Found,
    keep: (chunk: ChunkContent, bytes: Uint8Array) => T | Promise<T>,
  ): Promise<Content<T>> {
    for (let attempt = 1; ; attempt++) {
      const content = await this.#tryRead(found, keep);
      if (content.kind !== 'read' || !content.changed) return content;
      if (attempt < ATTEMPTS) continue;
      this.#note('changed', found.path, 'it changed while it was read: what is stored may mix two states');
      return content;
    }
  }

  async #tryRead<T>(
    found: Found,
    keep: (chunk: ChunkContent, bytes: Uint8Array) => T | Promise<T>,
  ): Promise<Content<T>> {
    let file: OpenFile | undefined;
    try {
      file = found.access.open();
      const stat = file.stat();
      if (stat.inode !== found.stat.inode || stat.mode >> 12 !== found.stat.mode >> 12)
        return this.#vanished(found);
      const chunks: T[] = [];
      let position = 0;
      for (const { gap, bytes } of this.#chunker.chunks(file, stat.size)) {
        if (bytes.length > 0) {
          const chunk = { gap, length: bytes.length, hash: sha256(bytes) };
          const kept = keep(chunk, bytes);
          chunks.push(kept instanceof Promise ? await kept : kept);
          position += gap + bytes.length;
        }
        const turn = this.#tick(position);
        if (turn !== undefined) await turn;
      }
      const changed = !sameState(stat, file.stat());
      const doubtful = changed || file.isLossy === true;
      return { kind: 'read', stat, flags: file.flags(), chunks, changed, doubtful };
    } catch (error) {
      if (isLibcError(error, 'ENOENT', 'ESTALE', 'ELOOP')) return this.#vanished(found);
      if (!isSystemError(error)) throw error;
      this.#note('unreadable', found.path, messageOf(error));
      return { kind: 'unreadable' };
    } finally {
      file?.close();
    }
  }

  #vanished(found: Found): { readonly kind: 'vanished' } {
    this.#note('vanished', found.path, 'it disappeared, or another took its place, while it was read');
    return { kind: 'vanished' };
  }

  /** Opens a file for {@link reread}; undefined if that fails. */
  reopen(found: Found): OpenFile | undefined {
    try {
      return found.access.open();
    } catch (error) {
      if (isLibcError(error)) return undefined; // A full read follows, which names the reason.
      throw error;
    }
  }

  /** The bytes at `position`, as a view good until the next call, if they still have the chunk's hash. */
  reread(file: OpenFile, position: number, chunk: ChunkContent): Uint8Array | undefined {
    const bytes = this.#piece.subarray(0, chunk.length);
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
    return Buffer.compare(sha256(bytes), chunk.hash) === 0 ? bytes : undefined;
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer');
}

/** True for a failed system call, of libc or of Node. */
function isSystemError(error: unknown): boolean {
  return isLibcError(error) || (error instanceof Error && 'syscall' in error);
}
