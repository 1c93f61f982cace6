/**
 * From what the walk found to an entry: owners as far as they can be mapped, link targets, attributes.
 */

import type { ByteString } from '../shared/bytes.ts';
import { TYPE } from './entry.ts';
import type { Attribute, Entry } from './entry.ts';
import { LibcError, OVERFLOW_ID, getAttributeAt, isLibcError } from './libc.ts';
import { listAttributesAt, overflowIdMapped, readLinkAt } from './libc.ts';
import type { Stat } from './libc.ts';
import { attempt } from './walk.ts';
import type { Found, Noter } from './walk.ts';

/** Attributes of one entry that are kept, in bytes: below the tree's MAX_LEAF_RECORD with room for a path. */
const MAX_ATTRIBUTES = 2 * 1024 * 1024;
const E2BIG = 7;

/** True if `a` and `b` are the same content of the same file: nothing that a write changes differs. */
export function sameState(a: Pick<Entry, 'size' | 'inode' | 'mtime' | 'ctime'>, b: typeof a): boolean {
  return (
    a.size === b.size &&
    a.inode === b.inode &&
    a.mtime.seconds === b.mtime.seconds &&
    a.mtime.nanoseconds === b.mtime.nanoseconds &&
    a.ctime.seconds === b.ctime.seconds &&
    a.ctime.nanoseconds === b.ctime.nanoseconds
  );
}

/** Makes entries, and counts the owners that this machine cannot map. */
export class Describer {
  readonly #note: Noter;
  readonly #mapped = overflowIdMapped();
  #unmapped = 0;
  #firstUnmapped: ByteString | undefined;

  constructor(note: Noter) {
    this.#note = note;
  }

  /** True if some owner or group was not mapped. */
  get ownersUnknown(): boolean {
    return this.#unmapped > 0;
  }

  /**
   * The entry for `found`. `known` is an earlier description in the same state, whose attributes and target are
   * taken over without asking the file system again: a change of them changes the ctime. Undefined, with a note, for
   * a symlink that cannot be read.
   */
  describe(found: Found, known?: Entry): Entry | undefined {
    const { stat, type, path } = found;
    const details = known ?? this.#readDetails(found);
    if (details === undefined) return undefined;
    const uid = stat.uid === OVERFLOW_ID && !this.#mapped.user ? undefined : stat.uid;
    const gid = stat.gid === OVERFLOW_ID && !this.#mapped.group ? undefined : stat.gid;
    if (uid === undefined || gid === undefined) {
      this.#unmapped += 1;
      this.#firstUnmapped ??= path;
    }
    return {
      path,
      type,
      mode: stat.mode & 0o7777,
      uid,
      gid,
      mtime: stat.mtime,
      ctime: stat.ctime,
      inode: stat.inode,
      linked: isLinked(stat, found.type),
      doubtful: details.doubtful,
      unreadable: found.unreadable,
      attributes: details.attributes,
      size: type === TYPE.file ? stat.size : 0,
      target: details.target,
      device: type === TYPE.characterDevice || type === TYPE.blockDevice ? stat.device : [0, 0],
    };
  }

  /** One note for all owners that could not be mapped. */
  finish(): void {
    if (this.#firstUnmapped === undefined) return;
    const others = this.#unmapped > 1 ? `, nor those of ${this.#unmapped - 1} other entries` : '';
    this.#note(
      'owner-unknown',
      this.#firstUnmapped,
      `owner or group cannot be mapped on this machine${others}`,
    );
  }

  /** Doubtful means here: attributes are missing, so the next run asks again. */
  #readDetails(found: Found): Pick<Entry, 'attributes' | 'target' | 'doubtful'> | undefined {
    const { path, directory, name } = found;
    let target: ByteString | undefined = '' as ByteString;
    if (found.type === TYPE.symlink) target = attempt(() => readLinkAt(directory, name), path, this.#note);
    if (target === undefined) return undefined;
    const attributes = attempt(() => readAttributes(directory, name), path, this.#note);
    return { attributes: attributes ?? [], target, doubtful: attributes === undefined };
  }
}

function isLinked(stat: Stat, type: Entry['type']): boolean {
  return stat.links > 1 && type !== TYPE.directory;
}

/** All extended attributes, sorted by name. Throws LibcError E2BIG above what one entry may hold. */
function readAttributes(directory: number, name: ByteString): Attribute[] {
  let names: ByteString[];
  try {
    names = listAttributesAt(directory, name);
  } catch (error) {
    if (isLibcError(error, 'EOPNOTSUPP')) return []; // A file system without attributes.
    throw error;
  }
  let size = 0;
  return names.map((attribute) => {
    const value = getAttributeAt(directory, name, attribute);
    size += attribute.length + value.length;
    if (size > MAX_ATTRIBUTES) throw new LibcError('lgetxattr', E2BIG);
    return { name: attribute, value };
  });
}
