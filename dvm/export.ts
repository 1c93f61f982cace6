/**
 * The `export` job: chosen paths of a snapshot into a folder, or as a tar stream. A folder is treated as
 * somebody else's: nothing in it is overwritten unless asked for, and no symlink in it is followed.
 */

import { byteString } from '../shared/bytes.ts';
import type { exportPaths } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import { ExportOutput } from './export-output.ts';
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
    const output = new ExportOutput((pieces) => session.send('data', pieces));
    if (root === undefined) await toTar(records, new TarExporter(packs, report, output));
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

async function toTar(records: Records, exporter: TarExporter): Promise<void> {
  for await (const batch of records) await exporter.write(batch);
  await exporter.finish();
}
