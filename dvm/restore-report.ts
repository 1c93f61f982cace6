/**
 * What a reading job tells dom0 while it works: notes and progress. Also keeps the session alive: a job that
 * works on without ever waiting would send no pings.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type * as z from 'zod';
import { escapeText } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_NOTES, MAX_TEXT } from '../shared/limits.ts';
import type { NoteCode, restore } from '../shared/protocol/disposable.ts';
import { printableText } from '../shared/format.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import type { Top } from './tree.ts';

/** Milliseconds of work between two turns of the event loop, each of which takes in what was sent meanwhile: 256 KiB at most. */
const TURN = 2;
/** Milliseconds between progress messages. */
const PROGRESS_INTERVAL = 500;

/** A session of any job that has these messages. */
interface Sender {
  send(name: 'note', value: Note): Promise<void>;
  send(name: 'progress', value: Progress): Promise<void>;
}

type Progress = z.output<typeof restore.toCaller.progress.schema>;

interface Note {
  readonly code: NoteCode;
  readonly path: string;
  readonly detail: string;
}

/** `path` as dom0 may show it. */
export function shownPath(path: ByteString): string {
  // Cut first: a long path of odd bytes would be four times as long when escaped.
  const text = escapeText(path.length > MAX_TEXT ? (path.slice(0, MAX_TEXT) as ByteString) : path);
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 3)}...`;
}

export class Report {
  readonly #session: Sender;
  #notes: Note[] = [];
  #noted = 0;
  readonly #unnamed = new Map<NoteCode, number>();
  #turned = performance.now(); // The time of day may jump.
  #progressed = performance.now();
  #total = { totalFiles: 0, totalBytes: 0 };
  /** Entries done. */
  entries = 0;
  /** Regular files done. */
  files = 0;
  /** Bytes of content done. */
  bytes = 0;

  constructor(session: Sender) {
    this.#session = session;
  }

  /** Sets what there is to do, for progress. */
  expect(top: Pick<Top, 'totalEntries' | 'totalBytes'>): void {
    this.#total = { totalFiles: top.totalEntries, totalBytes: top.totalBytes };
  }

  /** All that is done, for the result. */
  get counts(): { readonly entries: number; readonly files: number; readonly bytes: number } {
    const { entries, files, bytes } = this;
    return { entries, files, bytes };
  }

  /** Counts an entry of which all is read. */
  count({ type, size }: Pick<Entry, 'type' | 'size'>): void {
    this.entries += 1;
    this.bytes += size;
    if (type === TYPE.file) this.files += 1;
  }

  /** Queues a note; tick() or flush() sends it. After MAX_NOTES only their number is told. */
  note(code: NoteCode, path: ByteString, detail: string): void {
    this.#noted += 1;
    if (this.#noted > MAX_NOTES) this.#unnamed.set(code, (this.#unnamed.get(code) ?? 0) + 1);
    else this.#notes.push({ code, path: shownPath(path), detail: printableText(detail) });
  }

  /**
   * Sends what is due; to be called often. `position`: bytes done of a file that is not counted yet. Undefined if there is
   * nothing to wait for.
   */
  tick(position = 0): Promise<void> | undefined {
    const now = performance.now();
    if (now - this.#turned < TURN && this.#notes.length === 0) return undefined;
    return this.#turn(now, position);
  }

  /** Sends all notes. */
  async flush(): Promise<void> {
    const notes = this.#notes;
    this.#notes = [];
    for (const note of notes) await this.#session.send('note', note);
  }

  /** Sends the last notes, and how many there were beside the named ones. */
  async finish(): Promise<void> {
    await this.flush();
    for (const [code, count] of this.#unnamed) {
      await this.#session.send('note', { code, path: '', detail: `${count} more, not named` });
    }
    this.#unnamed.clear();
  }

  async #turn(now: number, position: number): Promise<void> {
    this.#turned = now;
    await this.flush();
    if (now - this.#progressed >= PROGRESS_INTERVAL) {
      this.#progressed = now;
      const bytes = this.bytes + position;
      await this.#session.send('progress', { files: this.entries, bytes, ...this.#total });
    }
    await nextTurn();
  }
}
