/** The conditions of `find`, as one question about an entry. */

import { byteString } from '../shared/bytes.ts';
import type { Filter, Moment } from '../shared/protocol/browse.ts';
import { TYPE } from './entry.ts';
import type { Entry, Timestamp } from './entry.ts';
import { compileGlob } from './glob.ts';
import { TYPE_NAMES } from './list-entry.ts';
import { nameOf } from './tree.ts';

/** True for entries that meet every condition of `filter`. */
export function compileFilter(filter: Filter): (entry: Entry) => boolean {
  const { types, minSize, maxSize, newer, older } = filter;
  const names = filter.names.map((glob) => compileGlob(byteString(glob)));
  const paths = filter.paths.map((glob) => compileGlob(byteString(glob)));
  const hasSize = ({ type, size }: Entry) =>
    type === TYPE.file && size >= (minSize ?? 0) && size <= (maxSize ?? Infinity);
  return (entry) =>
    (types.length === 0 ? entry.type !== TYPE.skipped : types.includes(TYPE_NAMES[entry.type])) &&
    ((minSize === null && maxSize === null) || hasSize(entry)) &&
    (newer === null || isAfter(entry.mtime, newer)) &&
    (older === null || isBefore(entry.mtime, older)) &&
    (!filter.doubtful || entry.doubtful || entry.unreadable) &&
    (names.length === 0 || names.some((matches) => matches(nameOf(entry.path)))) &&
    (paths.length === 0 || paths.some((matches) => matches(entry.path)));
}

function secondsOf({ seconds, beforeEpoch }: Moment): number {
  return beforeEpoch ? -seconds : seconds;
}

function isAfter({ seconds, nanoseconds }: Timestamp, moment: Moment): boolean {
  const limit = secondsOf(moment);
  return seconds > limit || (seconds === limit && nanoseconds > 0);
}

function isBefore({ seconds }: Timestamp, moment: Moment): boolean {
  return seconds < secondsOf(moment);
}
