/**
 * The libc calls that Node.js lacks. Everything works on a directory descriptor and one name below it, so paths may be
 * of any length and no symlink on the way is ever followed.
 *
 * Calls are synchronous (0.2 to 1 microsecond over the system call itself). Every function throws
 * {@link LibcError}. A descriptor is a plain number that the caller closes.
 */

import koffi from 'koffi';
import { byteString } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { ALL_FILE_FLAGS, FILE_FLAGS } from './entry.ts';
import type { Timestamp } from './entry.ts';

const libc = koffi.load('libc.so.6');

/** A call of libc that answers an integer; -1 sets errno. A bigint stands for one beyond 2^53. */
type Call = (...args: (number | bigint | Uint8Array | null)[]) => number | bigint;
const bind = (signature: string): Call => libc.func(signature);

const calls = {
  openat: bind('int openat(int, void *, int, uint32_t)'),
  close: bind('int close(int)'),
  getdents64: bind('int64_t getdents64(int, void *, size_t)'),
  statx: bind('int statx(int, void *, int, uint32_t, void *)'),
  readlinkat: bind('int64_t readlinkat(int, void *, void *, size_t)'),
  fchdir: bind('int fchdir(int)'),
  llistxattr: bind('int64_t llistxattr(void *, void *, size_t)'),
  lgetxattr: bind('int64_t lgetxattr(void *, void *, void *, size_t)'),
  lsetxattr: bind('int lsetxattr(void *, void *, void *, size_t, int)'),
  lremovexattr: bind('int lremovexattr(void *, void *)'),
  mkdirat: bind('int mkdirat(int, void *, uint32_t)'),
  symlinkat: bind('int symlinkat(void *, int, void *)'),
  linkat: bind('int linkat(int, void *, int, void *, int)'),
  mknodat: bind('int mknodat(int, void *, uint32_t, uint64_t)'),
  fchownat: bind('int fchownat(int, void *, uint32_t, uint32_t, int)'),
  fchmodat: bind('int fchmodat(int, void *, uint32_t, int)'),
  utimensat: bind('int utimensat(int, void *, void *, int)'),
  renameat: bind('int renameat(int, void *, int, void *)'),
  unlinkat: bind('int unlinkat(int, void *, int)'),
  lseek: bind('int64_t lseek(int, int64_t, int)'),
  memfd_create: bind('int memfd_create(void *, uint32_t)'),
  fchown: bind('int fchown(int, uint32_t, uint32_t)'),
  ioctl: bind('int ioctl(int, unsigned long, void *)'),
};

/** Linux x86-64 constants (asm-generic fcntl.h, stat.h). */
const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const O_WRONLY = 0o1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_NONBLOCK = 0o4000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_NOATIME = 0o1000000;
const O_CLOEXEC = 0o2000000;
/** linux/fs.h. */
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const EINVAL = 22;
/** "Leave it as it is" for an owner or group. */
const KEEP = 0xffffffff;

const ERROR_NAMES = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));

/** A failed system call: the symbolic errno (`ENOENT`, …), the name of the call, and `why`: what the errno does not tell. */
export class LibcError extends Error {
  readonly code: string;
  readonly call: string;

  constructor(call: string, errno: number, why?: string) {
    const code = ERROR_NAMES.get(errno) ?? `errno ${errno}`;
    super(`${call}: ${code}${why === undefined ? '' : ` (${why})`}`);
    this.name = 'LibcError';
    this.code = code;
    this.call = call;
  }
}

/** True if `error` is a {@link LibcError} of one of `codes`. */
export function isLibcError(error: unknown, ...codes: string[]): error is LibcError {
  return error instanceof LibcError && (codes.length === 0 || codes.includes(error.code));
}

/** Runs one call; -1 becomes an exception. */
export function run(name: keyof typeof calls, ...args: (number | bigint | Uint8Array | null)[]): number {
  const result = Number(calls[name](...args));
  if (result === -1) throw new LibcError(name, koffi.errno());
  return result;
}

/** `name` with the NUL that C expects. Throws on a NUL inside, which would silently name something else. */
export function cString(name: string): Uint8Array {
  if (name.includes('\0')) throw new LibcError('name', EINVAL);
  return Buffer.from(`${name}\0`, 'latin1');
}

const sharedName = new Uint8Array(4096);

/** Like {@link cString}, good until the next call of this: for the calls of which there are millions, with one name each. */
export function sharedCString(name: string): Uint8Array {
  if (name.length >= sharedName.length) return cString(name);
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code === 0) throw new LibcError('name', EINVAL);
    sharedName[i] = code;
  }
  sharedName[name.length] = 0;
  return sharedName;
}

// ---- Descriptors ---------------------------------------------------------------------------------------

/** Opens without touching the access time where the kernel permits that (owner or CAP_FOWNER). */
function openQuietly(directory: number, name: string, flags: number): number {
  const path = cString(name);
  try {
    return run('openat', directory, path, flags | O_NOATIME | O_CLOEXEC, 0);
  } catch (error) {
    if (!isLibcError(error, 'EPERM')) throw error;
    return run('openat', directory, path, flags | O_CLOEXEC, 0);
  }
}

/** Opens the directory at an absolute path; symlinks on the way are followed: for the root of a volume only. */
export function openDirectory(path: string): number {
  return openQuietly(AT_FDCWD, byteString(Buffer.from(path, 'utf8')), O_DIRECTORY);
}

export function openDirectoryAt(directory: number, name: ByteString): number {
  return openQuietly(directory, name, O_DIRECTORY | O_NOFOLLOW);
}

/** Opens for reading. Never blocks on a FIFO that took the file's place. */
export function openFileAt(directory: number, name: ByteString): number {
  return openQuietly(directory, name, O_NOFOLLOW | O_NONBLOCK);
}

/** Creates a file for writing; throws EEXIST if anything has that name. */
export function createFileAt(directory: number, name: ByteString, mode: number): number {
  return run('openat', directory, cString(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
}

export function close(descriptor: number): void {
  run('close', descriptor);
}

/** Bytes of an open file or block device. Moves its position. */
export function sizeOf(descriptor: number): number {
  return run('lseek', descriptor, 0, SEEK_END);
}

/** The start of the next data at or after `position`, or undefined if only a hole follows. */
export function seekData(descriptor: number, position: number): number | undefined {
  try {
    return run('lseek', descriptor, position, SEEK_DATA);
  } catch (error) {
    if (isLibcError(error, 'ENXIO')) return undefined;
    throw error;
  }
}

/** The start of the next hole at or after `position` (the end of the file counts as one), or undefined beyond the end. */
export function seekHole(descriptor: number, position: number): number | undefined {
  try {
    return run('lseek', descriptor, position, SEEK_HOLE);
  } catch (error) {
    if (isLibcError(error, 'ENXIO')) return undefined;
    throw error;
  }
}

// ---- Reading metadata ----------------------------------------------------------------------------------

const namesBuffer = Buffer.alloc(256 * 1024);

/** All names of an open directory but `.` and `..`, in no order. Rewinds first. */
export function readDirectory(descriptor: number): ByteString[] {
  const names: ByteString[] = [];
  run('lseek', descriptor, 0, 0);
  for (;;) {
    const filled = run('getdents64', descriptor, namesBuffer, namesBuffer.length);
    if (filled === 0) return names;
    // struct linux_dirent64: u64 inode, s64 offset, u16 length of the record, u8 type, name, NUL.
    for (let at = 0; at < filled; at += namesBuffer.readUInt16LE(at + 16)) {
      const name = namesBuffer.toString('latin1', at + 19, namesBuffer.indexOf(0, at + 19));
      if (name !== '.' && name !== '..') names.push(name as ByteString);
    }
  }
}

/** Runs `call` with growing buffers until the answer fits in full. */
function grown(start: number, call: (buffer: Buffer) => number): Buffer {
  for (let size = start; ; size *= 2) {
    const buffer = Buffer.alloc(size);
    try {
      const length = call(buffer);
      if (length < size) return buffer.subarray(0, length); // A full buffer may be a cut answer.
    } catch (error) {
      if (!isLibcError(error, 'ERANGE')) throw error;
    }
  }
}

export function readLinkAt(directory: number, name: ByteString): ByteString {
  const path = cString(name);
  return byteString(grown(256, (buffer) => run('readlinkat', directory, path, buffer, buffer.length)));
}

/**
 * Names of the extended attributes of `name` below `directory`, sorted; of a symlink, its own. There is no
 * "at" variant of these calls in older kernels, and no /proc in a sandbox: the process changes its working
 * directory for the call. Nothing else in a disposable uses relative paths. `name` is `.` for the directory itself.
 */
export function listAttributesAt(directory: number, name: ByteString): ByteString[] {
  run('fchdir', directory);
  const path = cString(name);
  const list = grown(1024, (buffer) => run('llistxattr', path, buffer, buffer.length));
  const names = byteString(list).split('\0') as ByteString[];
  names.pop(); // Every name ends with a NUL.
  return names.sort();
}

/** The value of one extended attribute. Throws ENODATA if it is not there. */
export function getAttributeAt(directory: number, name: ByteString, attribute: ByteString): Uint8Array {
  run('fchdir', directory);
  const path = cString(name);
  const key = cString(attribute);
  return new Uint8Array(grown(1024, (buffer) => run('lgetxattr', path, key, buffer, buffer.length)));
}

/** The FILE_FLAGS that statx(2) tells as well, as the same bits. */
export const STAT_FLAGS = FILE_FLAGS.immutable | FILE_FLAGS.appendOnly | FILE_FLAGS.noDump;

const flagsBuffer = Buffer.alloc(8);

/** All flags of an open file or directory, as the file system has them; 0 where it has none. */
function readFlags(descriptor: number): number {
  try {
    run('ioctl', descriptor, FS_IOC_GETFLAGS, flagsBuffer);
  } catch (error) {
    if (isLibcError(error, 'ENOTTY', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS')) return 0;
    throw error;
  }
  return flagsBuffer.readUInt32LE(0);
}

/** The portable flags of an open file or directory. */
export function getFlags(descriptor: number): number {
  return readFlags(descriptor) & ALL_FILE_FLAGS;
}

// ---- Writing -------------------------------------------------------------------------------------------

export function setAttributeAt(
  directory: number,
  name: ByteString,
  attribute: ByteString,
  value: Uint8Array,
): void {
  run('fchdir', directory);
  run('lsetxattr', cString(name), cString(attribute), value, value.length, 0);
}

export function removeAttributeAt(directory: number, name: ByteString, attribute: ByteString): void {
  run('fchdir', directory);
  run('lremovexattr', cString(name), cString(attribute));
}

/** {@link setFlags} of the regular file `name`. */
export function setFlagsAt(directory: number, name: ByteString, flags: number): void {
  const descriptor = openFileAt(directory, name);
  try {
    setFlags(descriptor, flags);
  } finally {
    close(descriptor);
  }
}

/** Sets the portable flags of an open file or directory and leaves its others (extents, …) alone. */
export function setFlags(descriptor: number, flags: number): void {
  flagsBuffer.writeUInt32LE(((readFlags(descriptor) & ~ALL_FILE_FLAGS) | flags) >>> 0, 0);
  run('ioctl', descriptor, FS_IOC_SETFLAGS, flagsBuffer);
}

export function makeDirectoryAt(directory: number, name: ByteString, mode: number): void {
  run('mkdirat', directory, cString(name), mode);
}

export function symlinkAt(target: ByteString, directory: number, name: ByteString): void {
  run('symlinkat', cString(target), directory, cString(name));
}

/** A second name for a file (never for a symlink's target). */
export function linkAt(oldDirectory: number, oldName: ByteString, directory: number, name: ByteString): void {
  run('linkat', oldDirectory, cString(oldName), directory, cString(name), 0);
}

/** Creates a FIFO, socket or device node; `mode` includes the type bits. */
export function makeNodeAt(
  directory: number,
  name: ByteString,
  mode: number,
  major: number,
  minor: number,
): void {
  // Encoding of dev_t in glibc (sys/sysmacros.h).
  const device =
    (BigInt(major & 0xfff) << 8n) |
    (BigInt(major >>> 12) << 44n) |
    BigInt(minor & 0xff) |
    (BigInt(minor >>> 8) << 20n);
  run('mknodat', directory, cString(name), mode, device);
}

/** Sets owner and group; undefined leaves one as it is. Clears setuid bits and capabilities: call before those are set. */
export function chownAt(
  directory: number,
  name: ByteString,
  uid: number | undefined,
  gid: number | undefined,
): void {
  run('fchownat', directory, cString(name), uid ?? KEEP, gid ?? KEEP, AT_SYMLINK_NOFOLLOW);
}

/** Sets the low 12 bits of the mode. Not for symlinks: this call follows them. */
export function chmodAt(directory: number, name: ByteString, mode: number): void {
  run('fchmodat', directory, cString(name), mode, 0);
}

/** Sets the modification time, to the nanosecond, of a symlink itself too; the access time becomes the same. */
export function utimesAt(directory: number, name: ByteString, mtime: Timestamp): void {
  const times = Buffer.alloc(32);
  for (const at of [0, 16]) {
    times.writeBigInt64LE(BigInt(mtime.seconds), at);
    times.writeBigInt64LE(BigInt(mtime.nanoseconds), at + 8);
  }
  run('utimensat', directory, cString(name), times, AT_SYMLINK_NOFOLLOW);
}

export function renameAt(
  oldDirectory: number,
  oldName: ByteString,
  directory: number,
  name: ByteString,
): void {
  run('renameat', oldDirectory, cString(oldName), directory, cString(name));
}

export function unlinkAt(directory: number, name: ByteString): void {
  run('unlinkat', directory, cString(name), 0);
}

export function removeDirectoryAt(directory: number, name: ByteString): void {
  run('unlinkat', directory, cString(name), AT_REMOVEDIR);
}

// ---- Durability ----------------------------------------------------------------------------------------

const syncfs = libc.func('int syncfs(int)');

/** Writes out everything of the file system that `descriptor` is on. Off the main thread: this may take minutes. */
export function syncFileSystem(descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    syncfs.async(descriptor, (error: Error | null, result: number) => {
      if (error !== null) reject(error);
      else if (result !== 0)
        reject(new LibcError('syncfs', koffi.os.errno['EIO'] ?? 5)); // The thread's own errno is out of reach.
      else resolve();
    });
  });
}

// ---- Owners --------------------------------------------------------------------------------------------

/** What the kernel shows for an owner or group that this user namespace cannot map. */
export const OVERFLOW_ID = 65534;

export interface MappedOwners {
  readonly user: boolean;
  readonly group: boolean;
}

/**
 * Whether the overflow id itself is a real owner (and group) here. Asked of the kernel, as a sandbox may have no
 * /proc/self/uid_map: changing the owner of an anonymous file to an unmapped id is EINVAL, to a mapped one
 * at worst EPERM.
 */
export function overflowIdMapped(): MappedOwners {
  const descriptor = run('memfd_create', cString('owner-probe'), 1);
  const mapped = (uid: number, gid: number) => {
    try {
      run('fchown', descriptor, uid, gid);
    } catch (error) {
      if (isLibcError(error, 'EINVAL')) return false;
      if (!isLibcError(error, 'EPERM')) throw error;
    }
    return true;
  };
  try {
    return { user: mapped(OVERFLOW_ID, KEEP), group: mapped(KEEP, OVERFLOW_ID) };
  } finally {
    close(descriptor);
  }
}
