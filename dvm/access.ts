/**
 * How one entry of a volume is read beyond its metadata. A walk over a mounted file system answers by descriptors; other
 * readers of volumes answer in their own way.
 */

import { readSync } from 'node:fs';
import type { ByteString } from '../shared/bytes.ts';
import type { Source } from './chunker.ts';
import type { Attribute } from './entry.ts';
import {
  LibcError,
  STAT_FLAGS,
  close,
  getAttributeAt,
  getFlags,
  isLibcError,
  listAttributesAt,
  openDirectoryAt,
  openFileAt,
  readLinkAt,
  seekData,
} from './libc.ts';
import { statDescriptor } from './stat.ts';
import type { Stat } from './stat.ts';

/** How xfs shows CAP_SYS_ADMIN the access control lists once more, beside system.posix_acl_*, which all have. */
const XFS_ACL_PREFIX = 'trusted.SGI_ACL_';

function isOwn(name: ByteString): boolean {
  return !name.startsWith(XFS_ACL_PREFIX);
}

/** Good until the walk goes on. Every method throws LibcError. */
export interface Access {
  /** Opens a regular file; the caller closes it. */
  open(): OpenFile;
  /** The target of a symlink. */
  readLink(): ByteString;
  /** Extended attributes, sorted by name; none where the file system has none. */
  attributes(): Attribute[];
  /** The portable chattr flags (see FILE_FLAGS) of a regular file or directory. */
  flags(): number;
}

export interface OpenFile extends Source {
  /** Its open descriptor, if it is the kernel that reads it. */
  readonly descriptor?: number;
  /** True if some bytes could not be read and were taken as zeros, which is noted by then. */
  readonly isLossy?: boolean;
  stat(): Stat;
  flags(): number;
  close(): void;
}

/** Attributes of one entry that are kept, in bytes: below the tree's MAX_LEAF_RECORD with room for a path. */
export const MAX_ATTRIBUTES = 2 * 1024 * 1024;
const E2BIG = 7;

/** How what the kernel says of an entry is told. */
export type Identify = (stat: Stat) => Stat;
export const asItIs: Identify = (stat) => stat;

/** An entry of a mounted file system: `name` below the open `directory`, `.` for the directory itself. */
export class MountedAccess implements Access {
  readonly #directory: number;
  readonly #name: ByteString;
  readonly #stat: Stat;
  readonly #isDirectory: boolean;
  readonly #identify: Identify;

  constructor(
    directory: number,
    name: ByteString,
    stat: Stat,
    isDirectory: boolean,
    identify: Identify = asItIs,
  ) {
    this.#directory = directory;
    this.#name = name;
    this.#stat = stat;
    this.#isDirectory = isDirectory;
    this.#identify = identify;
  }

  open(): OpenFile {
    return new MountedFile(openFileAt(this.#directory, this.#name), this.#identify);
  }

  readLink(): ByteString {
    return readLinkAt(this.#directory, this.#name);
  }

  /** Throws LibcError E2BIG above what one entry may hold. */
  attributes(): Attribute[] {
    let names: ByteString[];
    try {
      names = listAttributesAt(this.#directory, this.#name);
    } catch (error) {
      if (isLibcError(error, 'EOPNOTSUPP')) return []; // A file system without attributes.
      throw error;
    }
    let size = 0;
    return names.filter(isOwn).flatMap((name) => {
      const value = this.#attribute(name);
      if (value === undefined) return [];
      size += name.length + value.length;
      if (size > MAX_ATTRIBUTES) throw new LibcError('lgetxattr', E2BIG);
      return [{ name, value }];
    });
  }

  /** Undefined for one that is gone by now, or listed (by btrfs) but shown to CAP_SYS_ADMIN only: `trusted.*`. */
  #attribute(name: ByteString): Uint8Array | undefined {
    try {
      return getAttributeAt(this.#directory, this.#name, name);
    } catch (error) {
      if (isLibcError(error, 'ENODATA')) return undefined;
      throw error;
    }
  }

  flags(): number {
    let descriptor: number;
    try {
      descriptor = (this.#isDirectory ? openDirectoryAt : openFileAt)(this.#directory, this.#name);
    } catch (error) {
      // Closed to this reader: what stat(2) tells is better than nothing, and that it is closed is noted elsewhere.
      if (isLibcError(error, 'EACCES', 'EPERM')) return this.#stat.attributes & STAT_FLAGS;
      throw error;
    }
    try {
      return getFlags(descriptor);
    } finally {
      close(descriptor);
    }
  }
}

class MountedFile implements OpenFile {
  readonly descriptor: number;
  readonly #identify: Identify;
  readonly #holes: (position: number) => number | undefined;

  constructor(descriptor: number, identify: Identify) {
    this.descriptor = descriptor;
    this.#identify = identify;
    this.#holes = holeFinder(descriptor);
  }

  read(target: Uint8Array, position: number): number {
    return readSync(this.descriptor, target, 0, target.length, position);
  }

  seekData(position: number): number | undefined {
    return this.#holes(position);
  }

  stat(): Stat {
    return this.#identify(statDescriptor(this.descriptor));
  }

  flags(): number {
    return getFlags(this.descriptor);
  }

  close(): void {
    close(this.descriptor);
  }
}

/** Source.seekData of an open file. Where nobody can tell where data is (a device), everything is data. */
export function holeFinder(descriptor: number): (position: number) => number | undefined {
  let tells = true;
  return (position) => {
    if (!tells) return position;
    try {
      return seekData(descriptor, position);
    } catch (error) {
      if (!isLibcError(error, 'EINVAL', 'EOPNOTSUPP')) throw error;
      tells = false;
      return position;
    }
  };
}
