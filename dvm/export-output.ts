/** What the streams of an export have in common: few, large frames, and entries that no stream can carry. */

import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import type { Report } from './restore-report.ts';

/** Bytes handed on at once. */
const BATCH = 256 * 1024;
/** Most bytes handed on at once: the cap of a `data` frame. */
const MAX_PIECE = 1024 * 1024;

export type Send = (pieces: Uint8Array[]) => Promise<void>;

/** Gathers small pieces and cuts large ones. */
export class StreamOutput {
  readonly #send: Send;
  #batch: Uint8Array[] = [];
  #size = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Takes the next bytes, which must not change afterwards; resolves when more are wanted. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += MAX_PIECE) {
      const piece = bytes.subarray(at, at + MAX_PIECE);
      if (this.#size + piece.length > MAX_PIECE) await this.flush();
      this.#batch.push(piece);
      this.#size += piece.length;
    }
    if (this.#size >= BATCH) await this.flush();
  }

  /** Hands on what is left. */
  async flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#size = 0;
    if (batch.length > 0) await this.#send(batch);
  }
}

/** True, with a note where something is lost, for an entry that no stream can carry. */
export function leftOut(report: Report, entry: Entry): boolean {
  if (entry.type === TYPE.skipped) return true;
  if (entry.type === TYPE.socket) {
    report.note('skipped-socket', entry.path, 'sockets are made by the programs that use them');
    return true;
  }
  if (!entry.unreadable) return false;
  const what = entry.type === TYPE.file ? 'content' : 'names';
  report.note('not-restored', entry.path, `its ${what} could not be read when it was backed up`);
  return entry.type === TYPE.file;
}
