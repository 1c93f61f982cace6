/**
 * The receiving end of `qubes.Filecopy`, for VMs of the local driver: as strict as the one of Qubes OS (qrexec-lib's
 * unpack.c, called by qfile-unpacker). Everything lands below `~/QubesIncoming/CALLER`; nothing there is overwritten, no
 * symlink is followed or leads out. Descriptors 0 and 1 are the stream and the answer; the first error ends it.
 */

import { fchmodSync, fchownSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { crc32 } from 'node:zlib';
import { byteString, bytesOf } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { isBackupError, systemCode } from '../shared/errors.ts';
import { descriptorIo } from '../shared/wire/descriptor-io.ts';
import type { ByteIo } from '../shared/wire/io.ts';
import {
  HEADER_SIZE,
  KIND,
  KIND_MASK,
  MAX_NAME,
  MAX_TARGET,
  decodeFileHeader,
  isCanonical,
  isPlain,
  isSafeTarget,
} from './filecopy.ts';
import type { FileHeader } from './filecopy.ts';
import {
  chownAt,
  close,
  createFileAt,
  isLibcError,
  makeDirectoryAt,
  openDirectory,
  openDirectoryAt,
  symlinkAt,
  syncFileSystem,
  unlinkAt,
  utimesAt,
} from './libc.ts';
import { statDescriptor } from './stat.ts';

/** The argument with which names of any bytes are taken. */
const ALL_NAMES = 'allow-all-names';
const PIECE = 256 * 1024;
const NO_NAME = '' as ByteString;

/** An error of the receiver's own, by its errno. */
class Refusal extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** Serves one call; the exit status is 0 if all was received. `environment` is a qrexec service's. */
export async function receiveFiles(environment: NodeJS.ProcessEnv): Promise<void> {
  const { HOME = '/', QREXEC_REMOTE_DOMAIN: caller = '', QREXEC_SERVICE_ARGUMENT: argument } = environment;
  process.umask(0);
  const io = descriptorIo(0, 1);
  const stream = new Stream(io);
  let last = NO_NAME;
  let code = 0;
  try {
    const folder = openIncoming(`${HOME}/QubesIncoming/${caller}`);
    const unpacker = new Unpacker(folder, stream, argument === ALL_NAMES);
    for (let header = await stream.header(); header.nameSize > 0; header = await stream.header()) {
      if (header.nameSize > MAX_NAME + 1) throw new Refusal('ENAMETOOLONG');
      last = byteString((await stream.bytes(header.nameSize)).subarray(0, -1));
      await unpacker.entry(header, last);
    }
    await syncFileSystem(folder);
  } catch (error) {
    code = errnoOf(error);
    process.exitCode = 1;
  }
  await io.write([answer(code, stream.crc, last)]);
}

/** `struct result_header` and `struct result_header_ext`: the errno or 0, the CRC of what was read, the last name. */
function answer(code: number, crc: number, last: ByteString): Uint8Array {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32LE(code, 0);
  bytes.writeBigUInt64LE(BigInt(crc), 8);
  bytes.writeUInt32LE(last.length, 16);
  return Buffer.concat([bytes, bytesOf(last)]);
}

function errnoOf(error: unknown): number {
  const code = systemCode(error) ?? '';
  const known = Object.entries(constants.errno).find(([name]) => name === code)?.[1];
  if (known !== undefined) return known;
  if (isBackupError(error, 'service-died')) return constants.errno.EIO;
  throw error;
}

/** What was read of the stream so far, by its CRC, and what comes. */
class Stream {
  readonly #io: ByteIo;
  crc = 0;

  constructor(io: ByteIo) {
    this.#io = io;
  }

  async header(): Promise<FileHeader> {
    return decodeFileHeader(await this.bytes(HEADER_SIZE));
  }

  /** Exactly `count` bytes, which must be within memory. Throws where the stream ends before. */
  async bytes(count: number): Promise<Buffer> {
    const all = Buffer.alloc(count);
    for (let at = 0; at < count;) at += (await this.piece(all.subarray(at))).length;
    return all;
  }

  /** At least one byte, read into `target`. */
  async piece(target: Buffer): Promise<Buffer> {
    const count = await this.#io.read(target);
    if (count === 0) throw new Refusal('EPIPE');
    const piece = target.subarray(0, count);
    this.crc = crc32(piece, this.crc);
    return piece;
  }
}

/** A descriptor of an absolute path, each missing folder of it made with the owner of the one above. */
function openIncoming(path: string): number {
  let descriptor = openDirectory('/');
  for (const part of path.split('/').filter((name) => name !== '')) {
    const name = byteString(Buffer.from(part));
    const next = openOrMake(descriptor, name);
    close(descriptor);
    descriptor = next;
  }
  return descriptor;
}

function openOrMake(directory: number, name: ByteString): number {
  try {
    return openDirectoryAt(directory, name);
  } catch (error) {
    if (!isLibcError(error, 'ENOENT')) throw error;
  }
  makeDirectoryAt(directory, name, 0o700);
  const { uid, gid } = statDescriptor(directory);
  chownAt(directory, name, uid, gid);
  return openDirectoryAt(directory, name);
}

/** Writes entries below an open folder, as its owner. */
class Unpacker {
  readonly #folder: number;
  readonly #stream: Stream;
  readonly #allNames: boolean;
  readonly #owner: { readonly uid: number; readonly gid: number };

  constructor(folder: number, stream: Stream, allNames: boolean) {
    this.#folder = folder;
    this.#stream = stream;
    this.#allNames = allNames;
    this.#owner = statDescriptor(folder);
  }

  async entry(header: FileHeader, untrustedName: ByteString): Promise<void> {
    const name = this.#checked(untrustedName);
    if (!isCanonical(name)) throw new Refusal('EILSEQ');
    if (header.nanoseconds > 999_999_999) throw new Refusal('EINVAL');
    const slash = name.lastIndexOf('/');
    const directory = this.#open(slash < 0 ? NO_NAME : (name.slice(0, slash) as ByteString));
    const base = name.slice(slash + 1) as ByteString;
    try {
      if ((header.mode & KIND_MASK) === KIND.file) await this.#file(header, directory, base);
      else if ((header.mode & KIND_MASK) === KIND.directory) this.#directory(header, directory, base);
      else if ((header.mode & KIND_MASK) === KIND.symlink) await this.#symlink(header, directory, base, name);
      else throw new Refusal('EINVAL');
    } finally {
      close(directory);
    }
  }

  async #file(header: FileHeader, directory: number, name: ByteString): Promise<void> {
    if (!Number.isSafeInteger(header.size)) throw new Refusal('EDQUOT');
    const descriptor = createFileAt(directory, name, 0);
    try {
      const buffer = Buffer.alloc(Math.min(PIECE, header.size));
      for (let left = header.size; left > 0;) {
        const piece = await this.#stream.piece(buffer.subarray(0, Math.min(left, PIECE)));
        for (let at = 0; at < piece.length;) at += writeSync(descriptor, piece, at);
        left -= piece.length;
      }
      fchownSync(descriptor, this.#owner.uid, this.#owner.gid);
      fchmodSync(descriptor, header.mode & 0o7777);
      utimesAt(directory, name, header);
    } catch (error) {
      unlinkAt(directory, name); // Half a file is none.
      throw error;
    } finally {
      close(descriptor);
    }
  }

  /** The first time it is made, writable; the second time, when all that is in it has come, it gets its mode and time. */
  #directory(header: FileHeader, directory: number, name: ByteString): void {
    try {
      makeDirectoryAt(directory, name, 0o700);
      chownAt(directory, name, this.#owner.uid, this.#owner.gid);
      return;
    } catch (error) {
      if (!isLibcError(error, 'EEXIST')) throw error;
    }
    const descriptor = openDirectoryAt(directory, name);
    try {
      fchmodSync(descriptor, header.mode & 0o7777);
      utimesAt(directory, name, header);
    } finally {
      close(descriptor);
    }
  }

  async #symlink(header: FileHeader, directory: number, base: ByteString, name: ByteString): Promise<void> {
    if (header.size > MAX_TARGET) throw new Refusal('ENAMETOOLONG');
    const target = this.#checked(byteString(await this.#stream.bytes(header.size)));
    if (!isSafeTarget(name, target)) throw new Refusal('EILSEQ');
    symlinkAt(target, directory, base);
    chownAt(directory, base, this.#owner.uid, this.#owner.gid);
  }

  #checked(untrusted: ByteString): ByteString {
    if (untrusted.includes('\0') || !(this.#allNames || isPlain(untrusted))) throw new Refusal('EILSEQ');
    return untrusted;
  }

  /** A descriptor of the folder `path` below ours. No symlink is followed. */
  #open(path: ByteString): number {
    let descriptor = openDirectoryAt(this.#folder, '.' as ByteString);
    for (const part of path === '' ? [] : path.split('/')) {
      try {
        const next = openDirectoryAt(descriptor, part as ByteString);
        close(descriptor);
        descriptor = next;
      } catch (error) {
        close(descriptor);
        throw error;
      }
    }
    return descriptor;
  }
}
