/** Chosen records of a tree as a tar stream. A file's chunks are gathered before it is written: its header tells its holes. */

import type { ByteString } from '../shared/bytes.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { leftOut } from './export-output.ts';
import type { StreamOutput } from './export-output.ts';
import type { PackReader } from './pack-reader.ts';
import type { Report } from './restore-report.ts';
import { MAX_ID } from '../shared/tar-header.ts';
import { TarWriter } from './tar.ts';
import type { Extent } from './tar.ts';
import type { TreeRecord } from './tree.ts';

/**
 * Chunks of a file that are gathered for its map, some hundred bytes each: 64 GiB of data in chunks of mean size. A
 * file of more is written as its chunks come, with zeros for its holes, and that is noted.
 */
const MAX_GATHERED = 2 ** 17;

const ZEROS = new Uint8Array(1024 * 1024);

export class TarExporter {
  readonly #packs: PackReader;
  readonly #report: Report;
  readonly #tar: TarWriter;
  readonly #maxGathered: number;
  /** The file that the next chunks belong to, with those that came; undefined while they belong to none of ours. */
  #file: { readonly entry: Entry; readonly chunks: Chunk[] } | undefined;
  /** How many bytes of it are written, if it is written as its chunks come. */
  #streamed: number | undefined;
  /** Path of the first member of each hard-link group, by inode. */
  readonly #linked = new Map<number, ByteString>();

  /** `maxGathered` is for tests. */
  constructor(packs: PackReader, report: Report, output: StreamOutput, maxGathered = MAX_GATHERED) {
    this.#packs = packs;
    this.#report = report;
    this.#tar = new TarWriter(output);
    this.#maxGathered = maxGathered;
  }

  /** Writes a batch of records, which continue those before. */
  async write(records: readonly TreeRecord[]): Promise<void> {
    this.#packs.prefetch(records.flatMap((record) => (record.kind === 'chunk' ? [record.chunk] : [])));
    for (const record of records) {
      if (record.kind === 'entry') await this.#entry(record.entry, record.chunkCount);
      else if (this.#streamed !== undefined) await this.#stream(record.chunk);
      else this.#file?.chunks.push(record.chunk);
      await this.#report.tick();
    }
  }

  /** Writes what is left, and the end of the archive. */
  async finish(): Promise<void> {
    await this.#endFile();
    await this.#tar.finish();
  }

  async #entry(entry: Entry, chunkCount: number): Promise<void> {
    await this.#endFile();
    if (leftOut(this.#report, entry)) return;
    if (Math.max(...entry.device) > MAX_ID) {
      this.#report.note('not-restored', entry.path, 'tar has no device numbers as large');
      return;
    }
    this.#report.entries += 1;
    if (entry.type === TYPE.file) this.#report.files += 1;
    const first = entry.linked ? this.#linked.get(entry.inode) : undefined;
    if (entry.linked && first === undefined) this.#linked.set(entry.inode, entry.path);
    if (first !== undefined || entry.type !== TYPE.file) {
      await this.#tar.add(entry, first);
      return;
    }
    this.#file = { entry, chunks: [] };
    if (chunkCount <= this.#maxGathered) return;
    this.#streamed = 0;
    this.#report.note('not-restored', entry.path, 'it has too many pieces: its holes, if any, become zeros');
    await this.#tar.addFile(entry);
  }

  /** Writes the file whose chunks are complete by now. */
  async #endFile(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    if (this.#streamed !== undefined) await this.#zeros(file.entry.size - this.#streamed);
    else {
      await this.#tar.addFile(file.entry, extentsOf(file.entry, file.chunks));
      for (const chunk of file.chunks) {
        await this.#content(chunk);
        await this.#report.tick();
      }
    }
    await this.#tar.endFile();
    this.#file = undefined;
    this.#streamed = undefined;
  }

  async #stream(chunk: Chunk): Promise<void> {
    await this.#zeros(chunk.gap);
    await this.#content(chunk);
    this.#streamed = (this.#streamed ?? 0) + chunk.gap + chunk.length;
  }

  async #content(chunk: Chunk): Promise<void> {
    await this.#tar.write(await this.#packs.read(chunk));
    this.#report.bytes += chunk.length;
  }

  async #zeros(count: number): Promise<void> {
    for (let rest = count; rest > 0; rest -= ZEROS.length) {
      await this.#tar.write(ZEROS.subarray(0, Math.min(rest, ZEROS.length)));
      await this.#report.tick();
    }
    this.#report.bytes += count;
  }
}

/** Where a file's data is; undefined if it has no holes. */
function extentsOf(entry: Entry, chunks: readonly Chunk[]): Extent[] | undefined {
  const extents: { start: number; length: number }[] = [];
  let position = 0;
  for (const { gap, length } of chunks) {
    const last = extents.at(-1);
    if (gap === 0 && last !== undefined) last.length += length;
    else extents.push({ start: position + gap, length });
    position += gap + length;
  }
  if (position < entry.size) extents.push({ start: entry.size, length: 0 });
  const [first, ...more] = extents;
  return first === undefined || (first.start === 0 && more.length === 0) ? undefined : extents;
}
