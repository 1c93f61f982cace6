/**
 * The `restore` job: a snapshot into an empty volume. Nothing outside of the volume's folder is touched,
 * whatever the tree says; what cannot be restored is noted, never left out silently.
 */

import { BackupError } from '../shared/errors.ts';
import type { ByteString } from '../shared/bytes.ts';
import type { restore } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import {
  close,
  isLibcError,
  openDirectory,
  readDirectory,
  removeDirectoryAt,
  syncFileSystem,
} from './libc.ts';
import { PackReader } from './pack-reader.ts';
import { Report } from './restore-report.ts';
import { FolderWriter } from './restore-writer.ts';
import { decodeTop, readRecords } from './tree.ts';

/** What a fresh ext4 file system comes with. */
const LOST_AND_FOUND = 'lost+found' as ByteString;

/**
 * Serves one `restore` session. Throws `vm-exists` if the volume is not empty, `store-damaged` if the snapshot is
 * malformed, `io` if the volume cannot take it.
 */
export async function restoreVolume(session: ServiceSession<typeof restore>): Promise<void> {
  const { volume, top: topNumber } = expect(await session.receive(), 'job').value;
  const report = new Report(session);
  const root = openVolume(volume.path);
  try {
    requireEmpty(root);
    const blobs = receiveBlobs(session);
    const top = decodeTop(await blobs.get(topNumber));
    report.expect(top);
    const writer = new FolderWriter(root, new PackReader(blobs), report, 'none');
    try {
      for await (const records of readRecords(top, blobs)) await writer.write(records);
      await writer.finish();
    } finally {
      writer.close();
    }
    await syncFileSystem(root); // The verifier, and a power cut, must find all of it.
  } finally {
    close(root);
  }
  await report.finish();
  await session.send('done', { entries: report.entries, files: report.files, bytes: report.bytes });
}

/** A descriptor of a folder that dom0 named. Throws `io`. */
export function openVolume(folder: string): number {
  try {
    return openDirectory(folder);
  } catch (cause) {
    throw new BackupError('io', 'the folder to write to cannot be opened', { cause });
  }
}

/** Also removes an empty lost+found: the snapshot has its own, or none. */
function requireEmpty(root: number): void {
  const names = readDirectory(root);
  if (names.some((name) => name !== LOST_AND_FOUND)) throw notEmpty();
  if (names.length === 0) return;
  try {
    removeDirectoryAt(root, LOST_AND_FOUND);
  } catch (cause) {
    if (isLibcError(cause, 'ENOTEMPTY', 'ENOTDIR')) throw notEmpty();
    throw new BackupError('io', 'the fresh volume’s lost+found cannot be replaced', { cause });
  }
}

function notEmpty(): BackupError {
  return new BackupError('vm-exists', 'the volume to restore into is not empty, and was left alone');
}
