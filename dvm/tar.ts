/**
 * A pax tar stream: each member is its pax records, if it needs any, its header and its content. Read by GNU tar
 * (`--xattrs --xattrs-include='*' --acls`) and libarchive; what either of them loses is in test/dvm/tar-readers.process.test.ts.
 */

import { bytesOf } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import type { StreamOutput } from './export-output.ts';
import { BLOCK, FLAG, encodeHeader, fillOf } from '../shared/tar-header.ts';
import type { Flag, Header } from '../shared/tar-header.ts';
import { paxBody } from './tar-pax.ts';
import type { Member } from './tar-pax.ts';

const SET_ID = 0o6000;
const NO_NAME = '' as ByteString;
/** What bsdtar takes off the beginning of names. */
const TAKEN_OFF = /^(?:\\|[A-Za-z]:)/;

/** Bytes of a sparse file that are in the archive; the others are holes. In order, none touching another. */
export interface Extent {
  readonly start: number;
  readonly length: number;
}

/** Writes members, one after the other. Finish with finish(). */
export class TarWriter {
  readonly #output: StreamOutput;
  /** Bytes of content that the last member still needs, and its size. */
  #left = 0;
  #size = 0;

  constructor(output: StreamOutput) {
    this.#output = output;
  }

  /** A directory, symlink, FIFO or device node; for anything with `linkTo`, the path of a member before: a hard link to it. */
  async add(entry: Entry, linkTo?: ByteString): Promise<void> {
    const isLink = linkTo !== undefined;
    const target = isLink ? memberName(linkTo) : entry.type === TYPE.symlink ? entry.target : NO_NAME;
    await this.#begin(entry, { name: nameOf(entry), target, size: 0, realSize: undefined, isLink });
  }

  /**
   * A regular file. Its bytes follow through write(), then endFile(): all `entry.size` of them, or with `extents` only
   * those of the extents, which end at the file's size (the last one may be empty).
   */
  async addFile(entry: Entry, extents?: readonly Extent[]): Promise<void> {
    const map = extents === undefined ? new Uint8Array(0) : sparseMap(extents);
    const content = extents?.reduce((sum, { length }) => sum + length, 0) ?? entry.size;
    const realSize = extents === undefined ? undefined : entry.size;
    const size = map.length + content;
    await this.#begin(entry, { name: nameOf(entry), target: NO_NAME, size, realSize, isLink: false });
    await this.#output.write(map);
    this.#left = content;
    this.#size = size;
  }

  /** The next bytes of the file; resolves when more are wanted. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#left -= bytes.length;
    if (this.#left < 0) throw new BackupError('internal', 'a file has more bytes than announced');
    await this.#output.write(bytes);
  }

  async endFile(): Promise<void> {
    if (this.#left !== 0) throw new BackupError('internal', 'a file has fewer bytes than announced');
    await this.#output.write(fillOf(this.#size));
  }

  /** Writes the end of the archive; resolves when all of it was sent. */
  async finish(): Promise<void> {
    await this.#output.write(new Uint8Array(2 * BLOCK));
    await this.#output.flush();
  }

  async #begin(entry: Entry, member: Member): Promise<void> {
    const pax = paxBody(entry, member);
    if (pax.length > 0) {
      const name = `PaxHeaders/${member.name}` as ByteString;
      const header = { name, flag: FLAG.pax, mode: 0o644, uid: 0, gid: 0, size: pax.length, mtime: 0 };
      await this.#output.write(encodeHeader(header));
      await this.#output.write(pax);
      await this.#output.write(fillOf(pax.length));
    }
    await this.#output.write(encodeHeader(headerOf(entry, member)));
  }
}

function headerOf(entry: Entry, member: Member): Header {
  const known = entry.uid !== undefined && entry.gid !== undefined;
  return {
    // A reader that does not know sparse files leaves the map and the data under this name.
    name: member.realSize === undefined ? member.name : (`GNUSparseFile.0/${member.name}` as ByteString),
    flag: member.isLink ? FLAG.hardLink : flagOf(entry),
    // Setuid and setgid: not for a file that gets another owner than it had.
    mode: known ? entry.mode : entry.mode & ~SET_ID,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    size: member.size,
    mtime: entry.mtime.seconds,
    target: member.target,
    device: entry.device,
  };
}

function flagOf(entry: Entry): Flag {
  switch (entry.type) {
    case TYPE.file:
      return FLAG.file;
    case TYPE.directory:
      return FLAG.directory;
    case TYPE.symlink:
      return FLAG.symlink;
    case TYPE.fifo:
      return FLAG.fifo;
    case TYPE.characterDevice:
      return FLAG.characterDevice;
    case TYPE.blockDevice:
      return FLAG.blockDevice;
    case TYPE.socket:
    case TYPE.skipped:
      throw new BackupError('internal', 'an entry that no stream can carry');
  }
}

/** Directories end with a slash. */
function nameOf(entry: Entry): ByteString {
  const name = memberName(entry.path);
  return entry.type === TYPE.directory ? (`${name}/` as ByteString) : name;
}

/** The volume's root is `.`. */
function memberName(path: ByteString): ByteString {
  if (path === '') return '.' as ByteString;
  return TAKEN_OFF.test(path) ? (`./${path}` as ByteString) : path;
}

/** The map of GNU.sparse 1.0: decimal lines, the number of extents and each one's start and length; whole blocks. */
function sparseMap(extents: readonly Extent[]): Uint8Array {
  const numbers = [extents.length, ...extents.flatMap(({ start, length }) => [start, length])];
  const text = `${numbers.join('\n')}\n`;
  return bytesOf(text.padEnd(text.length + fillOf(text.length).length, '\0') as ByteString);
}
