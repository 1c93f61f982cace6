/** Entries as dom0 may show them: printable ASCII and small numbers, a page at a time. */

import { escapeText } from '../shared/bytes.ts';
import { MAX_REQUEST, MAX_TEXT } from '../shared/limits.ts';
import type { EntryTypeName, FlagName, ListEntry } from '../shared/protocol/browse.ts';
import { FILE_FLAGS, TYPE } from './entry.ts';
import type { Entry, EntryType } from './entry.ts';
import { shownPath } from './restore-report.ts';

export const TYPE_NAMES: Readonly<Record<EntryType, EntryTypeName>> = {
  [TYPE.file]: 'file',
  [TYPE.directory]: 'directory',
  [TYPE.symlink]: 'symlink',
  [TYPE.fifo]: 'fifo',
  [TYPE.socket]: 'socket',
  [TYPE.characterDevice]: 'character-device',
  [TYPE.blockDevice]: 'block-device',
  [TYPE.skipped]: 'skipped',
};

const FLAG_NAMES: readonly (readonly [number, FlagName])[] = [
  [FILE_FLAGS.synchronous, 'synchronous'],
  [FILE_FLAGS.immutable, 'immutable'],
  [FILE_FLAGS.appendOnly, 'append-only'],
  [FILE_FLAGS.noDump, 'no-dump'],
  [FILE_FLAGS.noAccessTime, 'no-access-time'],
];

export function listEntryOf(entry: Entry): ListEntry {
  const { seconds, nanoseconds } = entry.mtime;
  const hasTarget = entry.type === TYPE.symlink || entry.type === TYPE.skipped;
  return {
    path: shownPath(entry.path),
    type: TYPE_NAMES[entry.type],
    mode: entry.mode,
    uid: entry.uid ?? null,
    gid: entry.gid ?? null,
    size: entry.size,
    mtime: Math.abs(seconds),
    beforeEpoch: seconds < 0,
    mtimeNanoseconds: nanoseconds,
    target: hasTarget ? escapeText(entry.target).slice(0, MAX_TEXT) : null,
    flags: FLAG_NAMES.flatMap(([flag, name]) => ((entry.flags & flag) === 0 ? [] : [name])),
    linked: entry.linked,
    attributes: entry.attributes.length,
    doubtful: entry.doubtful,
    unreadable: entry.unreadable,
  };
}

/** Bytes of text in one page: half of its cap. */
const MAX_BATCH = 2 * 1024 * 1024;

/** Gathers rows into pages that fit the protocol. */
export class Pages<Row> {
  readonly #send: (rows: Row[]) => Promise<void>;
  readonly #textOf: (row: Row) => number;
  #rows: Row[] = [];
  #text = 0;

  /** `textOf` tells the characters of free text in a row. */
  constructor(send: (rows: Row[]) => Promise<void>, textOf: (row: Row) => number) {
    this.#send = send;
    this.#textOf = textOf;
  }

  /** Adds a row; once a page is full, resolves when dom0 has room for it. */
  async add(row: Row): Promise<void> {
    const text = this.#textOf(row);
    if (this.#rows.length === MAX_REQUEST || (this.#rows.length > 0 && this.#text + text > MAX_BATCH))
      await this.flush();
    this.#rows.push(row);
    this.#text += text;
  }

  async flush(): Promise<void> {
    const rows = this.#rows;
    this.#rows = [];
    this.#text = 0;
    if (rows.length > 0) await this.#send(rows);
  }
}

/** Characters of free text in a line of a listing. */
export function textOf({ path, target }: ListEntry): number {
  return path.length + (target?.length ?? 0);
}
