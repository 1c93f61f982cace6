/** What a session reports while it runs: progress and notes, already checked by schema. */

import { MAX_NOTES } from '../../shared/limits.ts';
import type { NoteCode } from '../../shared/protocol/disposable.ts';

export interface Progress {
  readonly files: number;
  readonly bytes: number;
  /** 0 while unknown. */
  readonly totalFiles: number;
  readonly totalBytes: number;
}

export interface Note {
  readonly code: NoteCode;
  /** Escaped path. */
  readonly path: string;
  readonly detail: string;
}

export interface Listener {
  progress(progress: Progress): void;
  note(note: Note): void;
  /** A checkpoint is being committed; the promise never rejects. */
  committing?(checkpoint: Promise<unknown>): void;
}

/** Counts the notes of one session, and passes on at most MAX_NOTES of them. */
export class NoteCounter {
  readonly #listener: Listener;
  #seen = 0;
  #warnings = 0;

  constructor(listener: Listener) {
    this.#listener = listener;
  }

  /** Notes that make a run incomplete: all but the expected omissions. */
  get warnings(): number {
    return this.#warnings;
  }

  take(note: Note): void {
    this.#seen += 1;
    if (!note.code.startsWith('skipped-')) this.#warnings += 1;
    if (this.#seen <= MAX_NOTES) this.#listener.note(note);
  }
}
