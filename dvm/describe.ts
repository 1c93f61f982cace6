/**
 * From what the walk found to an entry: owners as far as they can be mapped, link targets, attributes.
 */

import type { ByteString } from '../shared/bytes.ts';
import { attributesDiffer, idDiffers } from './compare-entries.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { OVERFLOW_ID } from './libc.ts';
import type { MappedOwners } from './libc.ts';
import type { Stat } from './stat.ts';
import { attempt } from './walk.ts';
import type { Found, Noter } from './walk.ts';

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

/** Hashes that the kernel's integrity checks keep at a file: it renews them when the file is written. */
const HASHES: ReadonlySet<string> = new Set(['security.ima', 'security.evm']);

/** True if of two entries of one path nothing differs but times, links, content and what follows from it. */
export function hasSameMetadata(a: Entry, b: Entry): boolean {
  const ownAttributes = (entry: Entry) => entry.attributes.filter(({ name }) => !HASHES.has(name));
  return (
    a.mode === b.mode &&
    !idDiffers(a.uid, b.uid) &&
    !idDiffers(a.gid, b.gid) &&
    a.flags === b.flags &&
    !attributesDiffer(ownAttributes(a), ownAttributes(b))
  );
}

/** Setuid and setgid. */
const SET_ID = 0o6000;
const CAPABILITIES = 'security.capability';

/** True if privileges are gone that the kernel takes from a file whenever it is written. */
export function lostPrivileges(before: Entry, after: Entry): boolean {
  const isCapable = ({ attributes }: Entry) => attributes.some(({ name }) => name === CAPABILITIES);
  return (before.mode & ~after.mode & SET_ID) !== 0 || (isCapable(before) && !isCapable(after));
}

/** Makes entries, and counts the owners that this machine cannot map. */
export class Describer {
  readonly #note: Noter;
  readonly #mapped: MappedOwners;
  #unmapped = 0;
  #firstUnmapped: ByteString | undefined;
  #lastUnmapped: ByteString | undefined;

  /** `mapped`: whether OVERFLOW_ID is an owner's own number. */
  constructor(note: Noter, mapped: MappedOwners) {
    this.#note = note;
    this.#mapped = mapped;
  }

  /** True if some owner or group was not mapped. */
  get ownersUnknown(): boolean {
    return this.#unmapped > 0;
  }

  /**
   * The entry for `found`. `known` is an earlier description in the same state, whose attributes, target and device are
   * taken over without asking the file system again: a change of them changes the ctime or the inode. It is answered itself if it
   * is as right now. Undefined, with a note, for a symlink that cannot be read.
   */
  describe(found: Found, known?: Entry): Entry | undefined {
    const { stat, type, path } = found;
    const details = known ?? this.#readDetails(found);
    if (details === undefined) return undefined;
    const { unreadable, ownerless = false } = found;
    const uid = ownerless || (stat.uid === OVERFLOW_ID && !this.#mapped.user) ? undefined : stat.uid;
    const gid = ownerless || (stat.gid === OVERFLOW_ID && !this.#mapped.group) ? undefined : stat.gid;
    if (!ownerless && (uid === undefined || gid === undefined) && path !== this.#lastUnmapped) {
      this.#unmapped += 1;
      this.#firstUnmapped ??= path;
      this.#lastUnmapped = path; // An entry that is read again is described again.
    }
    const mode = stat.mode & 0o7777;
    const linked = isLinked(stat, type);
    const isKnown = known?.mode === mode && known.uid === uid && known.gid === gid && known.linked === linked;
    if (isKnown && known.unreadable === unreadable) return known;
    return {
      path,
      type,
      mode,
      uid,
      gid,
      mtime: stat.mtime,
      ctime: stat.ctime,
      inode: stat.inode,
      linked,
      doubtful: details.doubtful,
      unreadable,
      attributes: details.attributes,
      size: type === TYPE.file ? stat.size : 0,
      target: details.target,
      device: type === TYPE.characterDevice || type === TYPE.blockDevice ? stat.device : [0, 0],
      flags: details.flags,
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
  #readDetails(found: Found): Pick<Entry, 'attributes' | 'target' | 'flags' | 'doubtful'> | undefined {
    const { path, type, access } = found;
    let target: ByteString | undefined = '' as ByteString;
    if (type === TYPE.symlink) target = attempt(() => access.readLink(), path, this.#note);
    if (target === undefined) return undefined;
    const attributes = attempt(() => access.attributes(), path, this.#note);
    const mayHaveFlags = type === TYPE.file || type === TYPE.directory;
    const flags = mayHaveFlags ? (found.flags ?? attempt(() => access.flags(), path, this.#note)) : 0;
    return {
      attributes: attributes ?? [],
      target,
      flags: flags ?? 0,
      doubtful: attributes === undefined || flags === undefined,
    };
  }
}

function isLinked(stat: Stat, type: Entry['type']): boolean {
  return stat.links > 1 && type !== TYPE.directory;
}
