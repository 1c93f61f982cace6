/** One entry of a snapshot as people and programs see it. */

import type { FlagName, ListEntry } from '../../shared/protocol/browse.ts';
import { formatTime } from '../../shared/format.ts';
import type { Row } from '../output.ts';

const TYPE_LETTERS: Readonly<Record<ListEntry['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'character-device': 'c',
  'block-device': 'b',
  skipped: 'x',
};

/** As lsattr(1) has them. */
const FLAG_LETTERS: Readonly<Record<FlagName, string>> = {
  synchronous: 'S',
  immutable: 'i',
  'append-only': 'a',
  'no-dump': 'd',
  'no-access-time': 'A',
};

/** A row of a listing: `event` names it for programs. */
export function entryRow(event: string, entry: ListEntry): Row {
  return { event, line: `${describe(entry)}  ${nameOf(entry)}`, fields: fieldsOf(entry) };
}

/** Type, permissions, marks, owner, size and time of an entry, in columns; of a skipped path nothing but that is known. */
export function describe(entry: ListEntry): string {
  if (entry.type === 'skipped') return TYPE_LETTERS.skipped;
  const owner = `${entry.uid ?? '?'}:${entry.gid ?? '?'}`.padEnd(11);
  const mode = `${TYPE_LETTERS[entry.type]}${permissions(entry.mode)}${entry.attributes > 0 ? '+' : ' '}`;
  return `${mode}${marks(entry).padEnd(3)} ${owner}  ${String(entry.size).padStart(12)}  ${formatMtime(entry)}`;
}

/** The fields of an entry in JSON: its mtime is one signed number. */
export function fieldsOf({ mtime, beforeEpoch, ...fields }: ListEntry): Readonly<Record<string, unknown>> {
  return { ...fields, mtime: beforeEpoch ? -mtime : mtime };
}

function nameOf({ type, path, target }: ListEntry): string {
  if (target === null) return path || '.';
  return type === 'skipped' ? `${path}  (${target})` : `${path} -> ${target}`;
}

/** `!` unreadable, `~` doubtful, `=` hard-linked, and letters of chattr flags. */
function marks({ unreadable, doubtful, linked, flags }: ListEntry): string {
  const doubt = unreadable ? '!' : doubtful ? '~' : '';
  return `${doubt}${linked ? '=' : ''}${flags.map((flag) => FLAG_LETTERS[flag]).join('')}`;
}

/** Seconds that a date can hold. */
const MAX_DATE = 8.64e12;

/** The local time of its last change; `@` and seconds since 1970 where no calendar has it. */
export function formatMtime({ mtime, beforeEpoch }: ListEntry): string {
  const seconds = beforeEpoch ? -mtime : mtime;
  return mtime <= MAX_DATE ? formatTime(seconds * 1000) : `@${seconds}`;
}

/** `rwxr-sr-t` and so on, from the low 12 bits of a mode. */
function permissions(mode: number): string {
  const triple = (bits: number, special: boolean, letter: string) => {
    const execute = special
      ? (bits & 1) === 1
        ? letter
        : letter.toUpperCase()
      : (bits & 1) === 1
        ? 'x'
        : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${execute}`;
  };
  return (
    triple(mode >> 6, (mode & 0o4000) !== 0, 's') +
    triple((mode >> 3) & 7, (mode & 0o2000) !== 0, 's') +
    triple(mode & 7, (mode & 0o1000) !== 0, 't')
  );
}
