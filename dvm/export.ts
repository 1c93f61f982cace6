/**
 * The `export` job: chosen paths of a snapshot into a folder, or as a tar stream. A folder is treated as
 * somebody else's: nothing in it is overwritten unless asked for, and no symlink in it is followed.
 */

import { byteString } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import type { exportPaths } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import { TYPE } from './entry.ts';
import type { Chunk, Entry } from './entry.ts';
import { Selection } from './export-selection.ts';
import { close, syncFileSystem } from './libc.ts';
import { PackReader } from './pack-reader.ts';
import { openVolume } from './restore.ts';
import { Report } from './restore-report.ts';
import { FolderWriter } from './restore-writer.ts';
import { TarWriter, tarRefuses } from './tar.ts';
import { decodeTop } from './tree.ts';
import type { TreeRecord } from './tree.ts';

type Records = AsyncIterable<readonly TreeRecord[]>;

/** Serves one `export` session. Throws `store-damaged` if the snapshot is malformed, `io` if the folder cannot take it. */
export async function exportSnapshot(session: ServiceSession<typeof exportPaths>): Promise<void> {
  const job = expect(await session.receive(), 'job').value;
  const report = new Report(session);
  const root = job.folder === null ? undefined : openVolume(job.folder);
  let missing: number[];
  try {
    const blobs = receiveBlobs(session);
    const top = decodeTop(await blobs.get(job.top));
    const packs = new PackReader(blobs);
    const selection = new Selection(top, job.paths.map(byteString));
    const records = selection.records(blobs);
    if (root === undefined) await toTar(records, packs, report, (pieces) => session.send('data', pieces));
    else
      await toFolder(
        records,
        new FolderWriter(root, packs, report, job.overwrite ? 'replace' : 'keep'),
        root,
      );
    missing = selection.missing();
  } finally {
    if (root !== undefined) close(root);
  }
  await report.finish();
  await session.send('done', { entries: report.entries, files: report.files, bytes: report.bytes, missing });
}

async function toFolder(records: Records, writer: FolderWriter, root: number): Promise<void> {
  try {
    for await (const batch of records) await writer.write(batch);
    await writer.finish();
  } finally {
    writer.close();
  }
  await syncFileSystem(root);
}

async function toTar(
  records: Records,
  packs: PackReader,
  report: Report,
  send: (pieces: Uint8Array[]) => Promise<void>,
): Promise<void> {
  const exporter = new TarExporter(packs, report, send);
  for await (const batch of records) {
    packs.prefetch(batch.flatMap((record) => (record.kind === 'chunk' ? [record.chunk] : [])));
    for (const record of batch) {
      if (record.kind === 'chunk') await exporter.chunk(record.chunk);
      else await exporter.entry(record.entry);
      await report.tick();
    }
  }
  await exporter.finish();
}

const ZEROS = new Uint8Array(1024 * 1024);

/** Turns records into a tar stream. */
class TarExporter {
  readonly #packs: PackReader;
  readonly #report: Report;
  readonly #tar: TarWriter;
  /** The file that is being written, and how far. */
  #file: { readonly entry: Entry; position: number } | undefined;
  /** Path of the first member of each hard-link group, by inode. */
  readonly #linked = new Map<number, ByteString>();

  constructor(packs: PackReader, report: Report, send: (pieces: Uint8Array[]) => Promise<void>) {
    this.#packs = packs;
    this.#report = report;
    this.#tar = new TarWriter(send);
  }

  async entry(entry: Entry): Promise<void> {
    await this.#endFile();
    if (entry.type === TYPE.skipped) return;
    const refusal = tarRefuses(entry);
    if (refusal !== undefined) {
      this.#report.note(entry.type === TYPE.socket ? 'skipped-socket' : 'not-restored', entry.path, refusal);
      return;
    }
    if (entry.unreadable) {
      this.#report.note('not-restored', entry.path, 'its content could not be read when it was backed up');
      if (entry.type === TYPE.file) return;
    }
    this.#report.entries += 1;
    if (entry.type === TYPE.file) this.#report.files += 1;
    const first = entry.linked ? this.#linked.get(entry.inode) : undefined;
    await this.#tar.add(entry, first);
    if (first !== undefined) return;
    if (entry.linked) this.#linked.set(entry.inode, entry.path);
    if (entry.type === TYPE.file) this.#file = { entry, position: 0 };
  }

  async chunk(chunk: Chunk): Promise<void> {
    if (this.#file === undefined) return; // Of a hard link to an earlier entry.
    await this.#zeros(chunk.gap);
    await this.#tar.write(await this.#packs.read(chunk));
    this.#file.position += chunk.length;
    this.#report.bytes += chunk.length;
  }

  async finish(): Promise<void> {
    await this.#endFile();
    await this.#tar.finish();
  }

  async #endFile(): Promise<void> {
    if (this.#file === undefined) return;
    await this.#zeros(this.#file.entry.size - this.#file.position);
    await this.#tar.endFile();
    this.#file = undefined;
  }

  async #zeros(count: number): Promise<void> {
    if (this.#file === undefined) return;
    for (let rest = count; rest > 0; rest -= ZEROS.length) {
      await this.#tar.write(ZEROS.subarray(0, Math.min(rest, ZEROS.length)));
      await this.#report.tick();
    }
    this.#file.position += count;
    this.#report.bytes += count;
  }
}
