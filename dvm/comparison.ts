/** What a comparison of two trees, or of a tree with a volume, finds, path by path. */

import type { ByteString } from '../shared/bytes.ts';
import type { Field } from '../shared/protocol/browse.ts';
import { TYPE } from './entry.ts';
import type { Entry, EntryType } from './entry.ts';
import { isWithin } from './tree.ts';

/** The part of an entry that a difference tells. */
export type Side = Pick<Entry, 'type' | 'size'>;

/** A path that differs. */
export interface Differing {
  readonly path: ByteString;
  /** Undefined where the path is not there. */
  readonly before: Side | undefined;
  readonly after: Side | undefined;
  /** Empty if the path is on one side only, or its type differs. */
  readonly fields: readonly Field[];
}

/** Paths that are not compared, because one side leaves them out. They have to come in path order. */
export class LeftOut {
  #directory: ByteString | undefined;
  /** Entries so far that were there on one side, and left out on the other. */
  count = 0;

  /** Nothing below `directory`, which comes before all of it, is compared. */
  below(directory: ByteString): void {
    this.#directory = directory;
  }

  /** True if `path` is not compared: either side skips it, or it is below what is left out. */
  covers(path: ByteString, before: EntryType | undefined, after: EntryType | undefined): boolean {
    const isBelow = this.#directory !== undefined && isWithin(path, this.#directory);
    if (!isBelow && before !== TYPE.skipped && after !== TYPE.skipped) return false;
    if (!isBelow) this.#directory = path;
    if (isThere(before) || isThere(after)) this.count += 1;
    return true;
  }
}

function isThere(type: EntryType | undefined): boolean {
  return type !== undefined && type !== TYPE.skipped;
}

/** The difference that `fields` make between two sides of one path; undefined if there is none. */
export function differing(
  path: ByteString,
  before: Side | undefined,
  after: Side | undefined,
  fields: readonly Field[] = [],
): Differing | undefined {
  const equal = before !== undefined && before.type === after?.type && fields.length === 0;
  return equal ? undefined : { path, before, after, fields: before?.type === after?.type ? fields : [] };
}
