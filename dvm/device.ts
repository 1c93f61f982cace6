/**
 * A raw device or image as a volume: a folder with one file, `volume`, whose content is the whole device. All metadata is
 * fixed, so that the digest is of the content alone.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError, systemCode } from '../shared/errors.ts';
import { holeFinder } from './access.ts';
import type { Access, OpenFile } from './access.ts';
import { TYPE } from './entry.ts';
import { LibcError, sizeOf } from './libc.ts';
import type { Stat } from './stat.ts';
import type { Found, Noter } from './walk.ts';

/** The name of the one file. */
export const DEVICE_ENTRY = 'volume' as ByteString;

/** What disks and images can fail to read at a time, in bytes. */
const BLOCK = 4096;
/** Faulty places of a device that are named one by one. */
const MAX_NAMED = 100;

const FIXED = {
  uid: 0,
  gid: 0,
  blocks: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  // Later than any snapshot: no time stamp proves that a device is unchanged, so it is always read.
  ctime: { seconds: 2 ** 40, nanoseconds: 0 },
  links: 1,
  fileSystem: '',
  device: [0, 0],
  mountRoot: false,
  attributes: 0,
} as const;
const ROOT: Stat = { ...FIXED, mode: 0o040700, inode: 1, size: 0 };

function statOf(size: number): Stat {
  return { ...FIXED, mode: 0o100600, inode: 2, size };
}

/** Opens the device or image at `path`. Throws `io` if it is neither. */
export function openDevice(path: string, flags: 'r' | 'r+'): { descriptor: number; isDevice: boolean } {
  const descriptor = openSync(path, flags);
  const stats = fstatSync(descriptor);
  if (stats.isFile() || stats.isBlockDevice()) return { descriptor, isDevice: stats.isBlockDevice() };
  closeSync(descriptor);
  throw new BackupError('io', 'what is attached is neither a block device nor an image');
}

/** Bytes of the device or image at `path`. Throws as {@link openDevice}. */
export function deviceSize(path: string): number {
  const { descriptor } = openDevice(path, 'r');
  try {
    return sizeOf(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The entries of the device at `path`, or of its first `size` bytes. What cannot be read of it goes to `note`. Throws `io`, or a system
 * error.
 */
export function* deviceEntries(path: string, note: Noter, size?: number): Generator<Found, void, undefined> {
  const access = new DeviceAccess(path, note, size);
  const stat = statOf(Math.min(deviceSize(path), size ?? Infinity));
  const common = { unreadable: false, flags: 0, ownerless: true, access } as const;
  yield { path: '' as ByteString, type: TYPE.directory, stat: ROOT, ...common };
  yield { path: DEVICE_ENTRY, type: TYPE.file, stat, ...common };
}

class DeviceAccess implements Access {
  readonly #path: string;
  readonly #note: Noter;
  readonly #size: number;

  constructor(path: string, note: Noter, size = Infinity) {
    this.#path = path;
    this.#note = note;
    this.#size = size;
  }

  open(): OpenFile {
    const { descriptor } = openDevice(this.#path, 'r');
    const read = (target: Uint8Array, position: number) =>
      readSync(descriptor, target, 0, Math.max(0, Math.min(target.length, this.#size - position)), position);
    return new DeviceFile(descriptor, read, this.#note, this.#size);
  }

  readLink(): ByteString {
    throw new LibcError('readlink', 22);
  }

  attributes(): [] {
    return [];
  }

  flags(): number {
    return 0;
  }
}

/** Bytes from a device: answers how many, 0 at its end; throws a system error. */
export type ReadDevice = (target: Uint8Array, position: number) => number;

/** An open device that goes on after what it cannot read: that is taken as zeros, and noted. Exported for tests. */
export class DeviceFile implements OpenFile {
  readonly #descriptor: number;
  readonly #read: ReadDevice;
  readonly #note: Noter;
  readonly #size: number;
  readonly #holes: (position: number) => number | undefined;
  /** The faulty place that was met last; it may go on. */
  #fault: { readonly start: number; end: number; readonly code: string } | undefined;
  #faults = 0;

  /** `size`: its bytes from there on are nobody's. */
  constructor(descriptor: number, read: ReadDevice, note: Noter, size = Infinity) {
    this.#descriptor = descriptor;
    this.#read = read;
    this.#note = note;
    this.#size = size;
    this.#holes = holeFinder(descriptor);
  }

  get isLossy(): boolean {
    return this.#faults > 0;
  }

  read(target: Uint8Array, position: number): number {
    try {
      return this.#read(target, position);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    }
    // Somewhere in there: up to the next block only.
    const piece = target.subarray(0, BLOCK - (position % BLOCK));
    try {
      return this.#read(piece, position);
    } catch (error) {
      const code = systemCode(error);
      if (code === undefined) throw error;
      piece.fill(0);
      this.#add(position, position + piece.length, code);
      return piece.length;
    }
  }

  seekData(position: number): number | undefined {
    return this.#holes(position);
  }

  stat(): Stat {
    return statOf(Math.min(sizeOf(this.#descriptor), this.#size));
  }

  flags(): number {
    return 0;
  }

  close(): void {
    this.#tell();
    const unnamed = this.#faults - MAX_NAMED;
    if (unnamed > 0) this.#note('unreadable', DEVICE_ENTRY, `${unnamed} more places could not be read`);
    closeSync(this.#descriptor);
  }

  #add(start: number, end: number, code: string): void {
    if (this.#fault?.end === start && this.#fault.code === code) {
      this.#fault.end = end;
      return;
    }
    this.#tell();
    this.#faults += 1;
    this.#fault = { start, end, code };
  }

  #tell(): void {
    if (this.#fault === undefined) return;
    const { start, end, code } = this.#fault;
    this.#fault = undefined;
    if (this.#faults > MAX_NAMED) return;
    this.#note(
      'unreadable',
      DEVICE_ENTRY,
      `${end - start} bytes at ${start} could not be read (${code}): zeros are stored in their place`,
    );
  }
}
