/**
 * Chosen records of a tree as the stream of `qubes.Filecopy`, all below one folder. What the stream, or a receiver, cannot
 * take is left out and noted by name; what it cannot say of the rest (attributes, set-ID bits, hard links, odd times)
 * is told in one note at the end.
 */

import { crc32 } from 'node:zlib';
import { bytesOf } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { leftOut } from './export-output.ts';
import type { StreamOutput } from './export-output.ts';
import { END, KIND, MAX_NAME, MAX_SECONDS, encodeFileHeader, isPlain, isSafeTarget } from './filecopy.ts';
import type { Kind } from './filecopy.ts';
import { isWithin } from './leaf.ts';
import type { PackReader } from './pack-reader.ts';
import type { Report } from './restore-report.ts';
import type { TreeRecord } from './tree.ts';

const SET_ID = 0o6000;
const ZEROS = new Uint8Array(1024 * 1024);

/** What is to come, from a first reading of the tree. */
export interface Survey {
  entries: number;
  bytes: number;
  /** True if all names and targets are printable ASCII. */
  plainNames: boolean;
}

/** Counts what {@link FileCopyExporter} is going to send. */
export async function survey(records: AsyncIterable<readonly TreeRecord[]>, folder: string): Promise<Survey> {
  const found: Survey = { entries: 0, bytes: 0, plainNames: true };
  for await (const batch of records) {
    for (const record of batch) {
      if (record.kind === 'chunk' || kindOf(record.entry) === undefined) continue;
      const { entry } = record;
      if (refusal(entry, nameOf(folder, entry.path)) !== undefined) continue;
      found.entries += 1;
      found.bytes += entry.size;
      found.plainNames &&= isPlain(entry.path) && isPlain(entry.target);
    }
  }
  return found;
}

export class FileCopyExporter {
  readonly #packs: PackReader;
  readonly #report: Report;
  readonly #output: StreamOutput;
  readonly #folder: string;
  #crc = 0;
  /** Directories to be sent once more, the root first. */
  readonly #open: Entry[] = [];
  /** The file that is being written, and how far. */
  #file: { readonly size: number; position: number } | undefined;
  readonly #linked = new Set<number>();
  readonly #lost = { attributes: 0, setIds: 0, hardLinks: 0, times: 0 };

  /** All goes below `folder`, which stands for the volume's root. */
  constructor(packs: PackReader, report: Report, output: StreamOutput, folder: string) {
    this.#packs = packs;
    this.#report = report;
    this.#output = output;
    this.#folder = folder;
  }

  /** Writes a batch of records, which continue those before. */
  async write(records: readonly TreeRecord[]): Promise<void> {
    this.#packs.prefetch(records.flatMap((record) => (record.kind === 'chunk' ? [record.chunk] : [])));
    for (const record of records) {
      if (record.kind === 'entry') await this.#entry(record.entry);
      else await this.#chunk(record.chunk);
      await this.#report.tick();
    }
  }

  /** Writes the end; answers the CRC-32 of all that was written. */
  async finish(): Promise<number> {
    await this.#endFile();
    while (this.#open.length > 0) await this.#leave();
    await this.#send(encodeFileHeader(END));
    await this.#output.flush();
    this.#noteLost();
    return this.#crc;
  }

  async #entry(entry: Entry): Promise<void> {
    await this.#endFile();
    while (this.#open.length > 0 && !isWithin(entry.path, this.#open.at(-1)?.path ?? entry.path))
      await this.#leave();
    if (leftOut(this.#report, entry)) return;
    const name = nameOf(this.#folder, entry.path);
    const kind = kindOf(entry);
    const reason = refusal(entry, name);
    if (kind === undefined || reason !== undefined) {
      this.#report.note(
        'not-restored',
        entry.path,
        reason ?? 'a file copy has files, folders and symlinks only',
      );
      return;
    }
    this.#count(entry);
    await this.#header(entry, kind);
    if (kind === KIND.directory) this.#open.push(entry);
    else if (kind === KIND.symlink) await this.#send(bytesOf(entry.target));
    else this.#file = { size: entry.size, position: 0 };
  }

  async #header(entry: Entry, kind: Kind): Promise<void> {
    const name = bytesOf(`${nameOf(this.#folder, entry.path)}\0` as ByteString);
    const { seconds, nanoseconds } = heldTime(entry);
    const header = {
      nameSize: name.length,
      mode: kind | (entry.mode & ~SET_ID),
      size: kind === KIND.symlink ? entry.target.length : entry.size,
      seconds,
      nanoseconds,
    };
    await this.#send(encodeFileHeader(header));
    await this.#send(name);
  }

  async #leave(): Promise<void> {
    const entry = this.#open.pop();
    if (entry !== undefined) await this.#header(entry, KIND.directory);
  }

  async #chunk(chunk: Chunk): Promise<void> {
    if (this.#file === undefined) return; // Of a file that was left out.
    await this.#zeros(chunk.gap);
    await this.#send(await this.#packs.read(chunk));
    this.#file.position += chunk.gap + chunk.length;
    this.#report.bytes += chunk.length;
  }

  async #endFile(): Promise<void> {
    if (this.#file === undefined) return;
    await this.#zeros(this.#file.size - this.#file.position);
    this.#file = undefined;
  }

  async #zeros(count: number): Promise<void> {
    for (let rest = count; rest > 0; rest -= ZEROS.length) {
      await this.#send(ZEROS.subarray(0, Math.min(rest, ZEROS.length)));
      await this.#report.tick();
    }
    this.#report.bytes += count;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    this.#crc = crc32(bytes, this.#crc);
    await this.#output.write(bytes);
  }

  #count(entry: Entry): void {
    this.#report.entries += 1;
    if (entry.type === TYPE.file) this.#report.files += 1;
    if (entry.attributes.length > 0 || entry.flags !== 0) this.#lost.attributes += 1;
    if ((entry.mode & SET_ID) !== 0 && entry.type !== TYPE.symlink) this.#lost.setIds += 1;
    if (heldTime(entry) !== entry.mtime) this.#lost.times += 1;
    if (entry.linked && this.#linked.has(entry.inode)) this.#lost.hardLinks += 1;
    if (entry.linked) this.#linked.add(entry.inode);
  }

  #noteLost(): void {
    const { attributes, setIds, hardLinks, times } = this.#lost;
    const lost = [
      [attributes, 'lost extended attributes, access lists or flags'],
      [setIds, 'lost their set-user-ID or set-group-ID bit'],
      [hardLinks, 'are copies instead of hard links'],
      [times, 'have a time before 1970 or after 2106, and got the nearest'],
    ] as const;
    const parts = lost.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
    if (parts.length > 0) {
      const detail = `a file copy cannot say all: ${parts.join(', ')}; for a complete copy extract --tar`;
      this.#report.note('not-restored', '' as ByteString, detail);
    }
  }
}

function nameOf(folder: string, path: ByteString): ByteString {
  return (path === '' ? folder : `${folder}/${path}`) as ByteString;
}

function kindOf(entry: Entry): Kind | undefined {
  if (entry.type === TYPE.file) return entry.unreadable ? undefined : KIND.file;
  if (entry.type === TYPE.directory) return KIND.directory;
  return entry.type === TYPE.symlink ? KIND.symlink : undefined;
}

/** Why a receiver would end the transfer at this entry, or undefined. */
function refusal(entry: Entry, name: ByteString): string | undefined {
  if (name.length > MAX_NAME) return 'its path is too long for a file copy';
  if (entry.type === TYPE.symlink && !isSafeTarget(name, entry.target))
    return 'a symlink that leads out of what is copied, or is written in a roundabout way, is refused by the receiver';
  return undefined;
}

/** The nearest time that the stream holds: the entry's own, but for times before 1970 and after 2106. */
function heldTime({ mtime }: Entry): Entry['mtime'] {
  if (mtime.seconds < 0) return { seconds: 0, nanoseconds: 0 };
  return mtime.seconds > MAX_SECONDS ? { seconds: MAX_SECONDS, nanoseconds: 0 } : mtime;
}
