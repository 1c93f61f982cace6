/**
 * A pax tar stream (POSIX.1-2017, pax Interchange Format). Header blocks are tar-stream's; pax records are
 * written here, because that library loses fractions of a second, times after 2038, large owners and names that
 * are not UTF-8. Read by GNU tar (xattrs with `--xattrs --xattrs-include=*`) and libarchive.
 */

import { pack } from 'tar-stream';
import type { Header } from 'tar-stream';
import { bytesOf, concat, utf8 } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { TYPE } from './entry.ts';
import type { Entry, Timestamp } from './entry.ts';

const BLOCK = 512;
/** Bytes handed on at once: fewer, larger frames. */
const BATCH = 256 * 1024;
/** Largest piece handed on, the cap of a `data` frame. */
const MAX_PIECE = 1024 * 1024;
/** What the octal fields of a header hold as tar-stream writes them. */
const MAX_OCTAL_ID = 0o777777;
const MAX_OCTAL_SIZE = 0o77777777777;
const MAX_HEADER_TIME = 2 ** 31 - 1;
const MAX_HEADER_NAME = 99;
const SET_ID = 0o6000;
/** tar-stream takes mode 0 for "none given"; of this mode it writes the low 12 bits. */
const MODE_GIVEN = 0o10000;

const TAR_TYPE = {
  [TYPE.file]: 'file',
  [TYPE.directory]: 'directory',
  [TYPE.symlink]: 'symlink',
  [TYPE.fifo]: 'fifo',
  [TYPE.characterDevice]: 'character-device',
  [TYPE.blockDevice]: 'block-device',
} as const;

type Headers = Partial<Header> & Pick<Header, 'name'>;
/** What the library takes, though its types do not say so: the code of a pax header block. */
const PAX_HEADER = 'pax-header' as Header['type'];

type Record = readonly [key: string, value: Uint8Array];

/** Why `entry` has no place in a tar stream, or undefined. */
export function tarRefuses(entry: Entry): string | undefined {
  if (entry.type === TYPE.socket) return 'tar has no sockets';
  if (entry.type === TYPE.skipped) return 'it was left out of the backup';
  if (Math.max(...entry.device) > MAX_OCTAL_ID) return 'tar has no device numbers as large';
  return undefined;
}

/** Writes entries, one after the other, to `send`. Finish with finish(). */
export class TarWriter {
  readonly #pack = pack();
  readonly #send: (pieces: Uint8Array[]) => Promise<void>;
  readonly #pumping: Promise<void>;
  #file: ReturnType<ReturnType<typeof pack>['entry']> | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(send: (pieces: Uint8Array[]) => Promise<void>) {
    this.#send = send;
    this.#pumping = this.#pump();
    this.#pumping.catch((error: unknown) => {
      this.#pack.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  }

  /**
   * Adds an entry that {@link tarRefuses} does not refuse. A regular file's `entry.size` bytes follow through write(), then endFile();
   * with `linkTo`, the path of an earlier member of its hard-link group, no bytes follow.
   */
  async add(entry: Entry, linkTo?: ByteString): Promise<void> {
    const records = paxRecords(entry, linkTo);
    if (records.length > 0) {
      const body = paxBody(records);
      // The body is whole blocks, so what tar-stream takes for an entry without content comes out right.
      await this.#entry({
        name: `PaxHeaders/${plainName(entry.path)}`,
        type: PAX_HEADER,
        size: body.length,
        mtime: new Date(0),
      });
      this.#pack.push(body);
    }
    const header = headerOf(entry, linkTo);
    if (header.type !== 'file') await this.#entry(header);
    else {
      this.#written = new Promise((resolve, reject) => {
        this.#file = this.#pack.entry(header, (error) => (error ? reject(error) : resolve()));
        this.#file.on('error', reject);
      });
      this.#written.catch(() => undefined); // endFile() reports it.
    }
  }

  /** The next bytes of the file; resolves when more are wanted. */
  async write(bytes: Uint8Array): Promise<void> {
    const file = this.#file;
    if (file === undefined || bytes.length === 0) return;
    if (file.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))) return;
    await this.#orFailure(new Promise<void>((resolve) => file.once('drain', () => resolve())));
  }

  async endFile(): Promise<void> {
    this.#file?.end(null);
    await this.#orFailure(this.#written);
    this.#file = undefined;
  }

  /** Writes the end of the archive; resolves when all of it was sent. */
  async finish(): Promise<void> {
    this.#pack.finalize();
    await this.#pumping;
  }

  #entry(header: Headers): Promise<void> {
    return this.#orFailure(
      new Promise((resolve, reject) => {
        this.#pack.entry(header, (error) => (error ? reject(error) : resolve()));
      }),
    );
  }

  /** Of `work`, or of the sending: a stream that is never read again would wait for ever. */
  #orFailure(work: Promise<void>): Promise<void> {
    return Promise.race([work, this.#pumping]);
  }

  async #pump(): Promise<void> {
    let batch: Uint8Array[] = [];
    let size = 0;
    for await (const piece of this.#pack) {
      if (!(piece instanceof Uint8Array))
        throw new BackupError('internal', 'a tar stream of something else than bytes');
      for (let at = 0; at < piece.length; at += MAX_PIECE) {
        const part = piece.subarray(at, at + MAX_PIECE);
        if (size + part.length > MAX_PIECE) {
          await this.#send(batch);
          batch = [];
          size = 0;
        }
        batch.push(part);
        size += part.length;
      }
      if (size < BATCH) continue;
      await this.#send(batch);
      batch = [];
      size = 0;
    }
    if (size > 0) await this.#send(batch);
  }
}

function headerOf(entry: Entry, linkTo: ByteString | undefined): Headers {
  if (entry.type === TYPE.socket || entry.type === TYPE.skipped)
    throw new BackupError('internal', 'an entry that tar cannot hold');
  const target = linkTo ?? (entry.type === TYPE.symlink ? entry.target : undefined);
  const { seconds } = entry.mtime;
  const known = entry.uid !== undefined && entry.gid !== undefined;
  return {
    name: entry.path === '' ? './' : plainName(tarPath(entry)),
    type: linkTo === undefined ? TAR_TYPE[entry.type] : 'link',
    mode: MODE_GIVEN | (known ? entry.mode : entry.mode & ~SET_ID),
    uid: inHeader(entry.uid ?? 0, MAX_OCTAL_ID),
    gid: inHeader(entry.gid ?? 0, MAX_OCTAL_ID),
    size: linkTo === undefined ? entry.size : 0,
    mtime: new Date(1000 * Math.min(Math.max(seconds, 0), MAX_HEADER_TIME)),
    ...(target === undefined ? {} : { linkname: plainName(target) }),
    devmajor: entry.device[0],
    devminor: entry.device[1],
  };
}

function inHeader(value: number, max: number): number {
  return value <= max ? value : 0;
}

/** Directories end with a slash. */
function tarPath(entry: Entry): ByteString {
  return (entry.type === TYPE.directory ? `${entry.path}/` : entry.path) as ByteString;
}

/** `path` as far as a plain header can carry it; the pax record has the true one. */
function plainName(path: ByteString): string {
  return path.length <= MAX_HEADER_NAME && /^[\x01-\x7e]*$/.test(path)
    ? path
    : path.replace(/[^\x20-\x7e]/g, '_').slice(0, MAX_HEADER_NAME - 'PaxHeaders/'.length);
}

/** What a plain header cannot say about the entry. */
function paxRecords(entry: Entry, linkTo: ByteString | undefined): Record[] {
  const records: Record[] = [];
  const text = (key: string, value: string) => records.push([key, utf8(value)]);
  const path = tarPath(entry);
  const target = linkTo ?? (entry.type === TYPE.symlink ? entry.target : ('' as ByteString));
  const names: Record[] = [];
  if (entry.path !== '' && plainName(path) !== path) names.push(['path', bytesOf(path)]);
  if (plainName(target) !== target) names.push(['linkpath', bytesOf(target)]);
  // Without it a reader takes names for UTF-8. GNU tar does in any case what this asks for.
  if (names.some(([, value]) => !isUtf8(value))) text('hdrcharset', 'BINARY');
  records.push(...names);
  const { seconds, nanoseconds } = entry.mtime;
  if (nanoseconds !== 0 || seconds < 0 || seconds > MAX_HEADER_TIME) text('mtime', decimalTime(entry.mtime));
  if ((entry.uid ?? 0) > MAX_OCTAL_ID) text('uid', String(entry.uid));
  if ((entry.gid ?? 0) > MAX_OCTAL_ID) text('gid', String(entry.gid));
  if (linkTo !== undefined) return records; // Attributes and content are the earlier member's.
  if (entry.size > MAX_OCTAL_SIZE) text('size', String(entry.size));
  for (const { name, value } of entry.attributes) records.push([`SCHILY.xattr.${name}`, value]);
  return records;
}

/** Records as `length key=value\n`, filled up to whole blocks by a comment. */
function paxBody(records: readonly Record[]): Uint8Array {
  const pieces = records.map(([key, value]) => paxRecord(key, value));
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const rest = (BLOCK - (size % BLOCK)) % BLOCK;
  if (rest > 0) pieces.push(paxComment(rest));
  return concat(pieces);
}

function paxRecord(key: string, value: Uint8Array): Uint8Array {
  // An attribute's name may be of any bytes; ours are ASCII.
  const content = concat([bytesOf(` ${key}=` as ByteString), value, utf8('\n')]);
  let length = content.length;
  while (length !== content.length + String(length).length) length = content.length + String(length).length;
  return concat([utf8(String(length)), content]);
}

/** A comment record of `size` bytes, or of a block more if no record is as short. */
function paxComment(size: number): Uint8Array {
  const start = ' comment=';
  const shortest = String(size).length + start.length + 1;
  const total = size < shortest ? size + BLOCK : size;
  return utf8(`${`${total}${start}`.padEnd(total - 1)}\n`);
}

/** Decimal seconds, exact to the nanosecond; negative times count towards zero. */
function decimalTime({ seconds, nanoseconds }: Timestamp): string {
  if (nanoseconds === 0) return String(seconds);
  const fraction = (value: number) => String(value).padStart(9, '0');
  if (seconds >= 0) return `${seconds}.${fraction(nanoseconds)}`;
  return `-${-(seconds + 1)}.${fraction(1_000_000_000 - nanoseconds)}`;
}

function isUtf8(bytes: Uint8Array): boolean {
  return Buffer.from(Buffer.from(bytes).toString('utf8'), 'utf8').equals(bytes);
}
