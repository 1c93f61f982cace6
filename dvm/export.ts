/**
 * The `export` job: chosen paths of a snapshot into a folder, as a tar stream or as a file copy. A folder is treated as
 * somebody else's: nothing in it is overwritten unless asked for, and no symlink in it is followed.
 */

import { byteString } from '../shared/bytes.ts';
import type { exportPaths } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import { FileCopyExporter, survey } from './export-filecopy.ts';
import { StreamOutput } from './export-output.ts';
import { Selection } from './export-selection.ts';
import { TarExporter } from './export-tar.ts';
import { close, syncFileSystem } from './libc.ts';
import { PackReader } from './pack-reader.ts';
import { openVolume } from './restore.ts';
import { Report } from './restore-report.ts';
import { FolderWriter } from './restore-writer.ts';
import { decodeTop } from './tree.ts';
import type { TreeRecord } from './tree.ts';

type Records = AsyncIterable<readonly TreeRecord[]>;

/** Serves one `export` session. Throws `store-damaged` if the snapshot is malformed, `io` if the folder cannot take it. */
export async function exportSnapshot(session: ServiceSession<typeof exportPaths>): Promise<void> {
  const { top: topNumber, paths, output } = expect(await session.receive(), 'job').value;
  const report = new Report(session);
  const root = output.kind === 'folder' ? openVolume(output.path) : undefined;
  let missing: number[];
  let crc32: number | null = null;
  try {
    const blobs = receiveBlobs(session);
    const top = decodeTop(await blobs.get(topNumber));
    const packs = new PackReader(blobs);
    const selection = new Selection(top, paths.map(byteString));
    const stream = new StreamOutput((pieces) => session.send('data', pieces));
    if (output.kind === 'folder' && root !== undefined) {
      const existing = output.overwrite ? 'replace' : 'keep';
      await toFolder(selection.records(blobs), new FolderWriter(root, packs, report, existing), root);
    } else if (output.kind === 'fileCopy') {
      const { plainNames, ...totals } = await survey(selection.records(blobs), output.folder);
      report.expect({ totalEntries: totals.entries, totalBytes: totals.bytes });
      await session.send('begin', { plainNames });
      const exporter = new FileCopyExporter(packs, report, stream, output.folder);
      crc32 = await toStream(selection.records(blobs), exporter);
    } else await toStream(selection.records(blobs), new TarExporter(packs, report, stream));
    missing = selection.missing();
  } finally {
    if (root !== undefined) close(root);
  }
  await report.finish();
  const { entries, files, bytes } = report;
  await session.send('done', { entries, files, bytes, missing, crc32 });
}

async function toFolder(records: Records, writer: FolderWriter, root: number): Promise<void> {
  try {
    for await (const batch of records) await writer.write(batch);
    await writer.finish();
  } finally {
    await writer.close();
  }
  await syncFileSystem(root);
}

/** What turns records into a stream; finish() answers what is to be known of it. */
interface StreamExporter<T> {
  write(records: readonly TreeRecord[]): Promise<void>;
  finish(): Promise<T>;
}

async function toStream<T>(records: Records, exporter: StreamExporter<T>): Promise<T> {
  for await (const batch of records) await exporter.write(batch);
  return exporter.finish();
}
