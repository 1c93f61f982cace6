/**
 * How two states of one path differ. What a restore brings back counts: not the inode, not the ctime, not where the
 * content is stored.
 */

import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { byteString, equalBytes } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import type { Field } from '../shared/protocol/browse.ts';
import type { ChunkContent } from './digest.ts';
import { TYPE } from './entry.ts';
import type { Attribute, Entry } from './entry.ts';

/** One state of a path. */
export interface State {
  readonly path: ByteString;
  readonly entry: Entry;
  /** Equal for equal content of a regular file (see ContentMark); undefined where it is not known. */
  readonly content: ByteString | undefined;
}

/** The mark of a file whose content could not be read when it was backed up: like no content. */
export const NO_CONTENT = 'unreadable' as ByteString;

/** A short value that stands for a file's content: its chunks with their hashes, or of many chunks a hash of that. */
export class ContentMark {
  #first: ByteString | undefined;
  #hash: Hash | undefined;

  add(chunk: ChunkContent): void {
    const text = byteString(Buffer.concat([Buffer.from(`${chunk.gap} ${chunk.length} `), chunk.hash]));
    if (this.#first === undefined) {
      this.#first = text;
      return;
    }
    this.#hash ??= createHash('sha256').update(this.#first, 'latin1');
    this.#hash.update(text, 'latin1');
  }

  finish(): ByteString {
    return this.#hash === undefined ? (this.#first ?? ('' as ByteString)) : byteString(this.#hash.digest());
  }
}

/** Fields in which `after` is not what `before` was, in the order of the protocol; both are of the same type. */
export function differingFields(before: State, after: State): Field[] {
  const [a, b] = [before.entry, after.entry];
  const fields: Field[] = [];
  const check = (field: Field, differs: boolean) => {
    if (differs) fields.push(field);
  };
  check('content', contentDiffers(before, after));
  check('target', a.target !== b.target);
  check('device', a.device[0] !== b.device[0] || a.device[1] !== b.device[1]);
  check('mode', a.type !== TYPE.symlink && a.mode !== b.mode); // A symlink's mode means nothing.
  check('owner', idDiffers(a.uid, b.uid));
  check('group', idDiffers(a.gid, b.gid));
  check('mtime', a.mtime.seconds !== b.mtime.seconds || a.mtime.nanoseconds !== b.mtime.nanoseconds);
  check('attributes', attributesDiffer(a.attributes, b.attributes));
  check('flags', a.flags !== b.flags);
  check('links', a.linked !== b.linked);
  return fields;
}

function contentDiffers(before: State, after: State): boolean {
  if (before.entry.size !== after.entry.size) return true;
  return before.content !== undefined && after.content !== undefined && before.content !== after.content;
}

/** An owner that could not be mapped is unknown: it proves no difference. */
export function idDiffers(before: number | undefined, after: number | undefined): boolean {
  return before !== undefined && after !== undefined && before !== after;
}

/** Both sorted by name. */
export function attributesDiffer(before: readonly Attribute[], after: readonly Attribute[]): boolean {
  if (before.length !== after.length) return true;
  return before.some(({ name, value }, i) => {
    const other = after[i];
    return other === undefined || other.name !== name || !equalBytes(other.value, value);
  });
}

/** True if `a` and `b` have the same other names, as far as they know: every link and unlink sets a new ctime. */
export function sameLinks(a: Linkable, b: Linkable): boolean {
  return (
    a.inode === b.inode && a.ctime.seconds === b.ctime.seconds && a.ctime.nanoseconds === b.ctime.nanoseconds
  );
}

/** What hard links are told from. */
export type Linkable = Pick<Entry, 'path' | 'inode' | 'linked' | 'ctime'>;

/** The first name of each hard-link group, of entries that come in path order. */
export class LinkLeaders {
  readonly #leaders = new Map<number, ByteString>();

  /** The first name of the group that `entry` is in: its own if it is the first, or has no other. */
  leaderOf({ path, inode, linked }: Linkable): ByteString {
    if (!linked) return path;
    const leader = this.#leaders.get(inode);
    if (leader === undefined) this.#leaders.set(inode, path);
    return leader ?? path;
  }

  /** The first name of `inode` so far. */
  get(inode: number): ByteString | undefined {
    return this.#leaders.get(inode);
  }
}
