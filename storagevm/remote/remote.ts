/**
 * A place elsewhere that keeps files by name: what an S3 bucket and an rclone remote have in common. Everything that a back end
 * promises beyond this (compare-and-set, one owner, retries) is written once, on top of it (back-end.ts).
 */

import { BackupError } from '../../shared/errors.ts';
import type { BackEnd, Listed, StoreName, StoredFile } from '../back-end.ts';
import type { Attempts } from './retry.ts';

/** A piece of a listing. */
export interface Page {
  /** Sorted by name, over all pages. */
  readonly files: readonly StoredFile[];
  /** Where the next page starts; undefined if there is none. */
  readonly next: string | undefined;
}

/**
 * Methods answer once the place says that it is done: what it acknowledged it is trusted to keep. One call is one attempt. They
 * throw {@link Transient} for what may pass, else BackupError: `usage` where the settings are wrong, and those of a back end.
 */
export interface Remote extends Pick<BackEnd, 'read' | 'room'> {
  /** What it is to a person, and what tells it from others: `the S3 bucket NAME at URL`. */
  readonly place: string;

  /**
   * Stores `bytes` under `name`. No reader ever sees a part. With `replacing` false nothing was there an instant ago, or these
   * bytes; with true others are replaced, and a reader, or a crash, may find nothing in between.
   */
  put(name: StoreName, bytes: Uint8Array, replacing: boolean): Promise<void>;

  /**
   * The same, if nothing is there: false if something is. A service that ignores the condition, or does not know it, answers
   * true whatever is there. Undefined where there is no such request at all.
   */
  readonly putIfAbsent: ((name: StoreName, bytes: Uint8Array) => Promise<boolean>) | undefined;

  /** The files of one kind from `start` on, which an earlier page named as its next. */
  page(what: Listed, start: string | undefined): Promise<Page>;

  /** Removes a file, which need not be there. False if the place keeps it: a lock against deletion that its owner asked for. */
  remove(name: StoreName): Promise<boolean>;
}

/** A failure that may pass. `message` is that of `cause`, which is thrown if it does not. */
export class Transient extends Error {
  override readonly cause: Error;

  constructor(cause: Error) {
    super(cause.message, { cause });
    this.name = 'Transient';
    this.cause = cause;
  }
}

/** All files of one kind, as a back end lists them. Throws `io` if the place lists them in no order. */
export async function* listPages(
  remote: Remote,
  attempts: Attempts,
  what: Listed,
): AsyncGenerator<readonly StoredFile[]> {
  let start: string | undefined;
  let last = '';
  do {
    const from = start;
    const page: Page = await attempts.run(() => remote.page(what, from));
    for (const { name } of page.files) {
      if (name <= last)
        throw new BackupError('io', `${remote.place} lists names in no order, or twice: ${name}`);
      last = name;
    }
    if (page.files.length > 0) yield page.files;
    start = page.next;
  } while (start !== undefined);
}
