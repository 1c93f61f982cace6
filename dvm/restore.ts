/**
 * The `restore` job: a snapshot into an empty volume, or onto a device. Nothing outside of the volume is touched,
 * whatever the tree says; what cannot be restored is noted, never left out silently.
 */

import { BackupError } from '../shared/errors.ts';
import type { ByteString } from '../shared/bytes.ts';
import type { restore } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { receiveBlobs } from './blobs.ts';
import type { BlobSource } from './blobs.ts';
import {
  close,
  isLibcError,
  openDirectory,
  readDirectory,
  removeDirectoryAt,
  syncFileSystem,
} from './libc.ts';
import { fillingDisk } from './disk.ts';
import { PackReader } from './pack-reader.ts';
import { Report } from './restore-report.ts';
import { DeviceWriter } from './restore-device.ts';
import { FolderWriter } from './restore-writer.ts';
import { decodeTop, readRecords } from './tree.ts';

type Session = ServiceSession<typeof restore>;

/** Bytes after which they are made durable while more is restored. */
const SYNC_EVERY = 128 * 1024 * 1024;

/** What a fresh ext4 file system comes with. */
const LOST_AND_FOUND = 'lost+found' as ByteString;

/**
 * Serves one `restore` session. Throws `vm-exists` if the volume is not empty, `store-damaged` if the snapshot is
 * malformed, `io` if the volume cannot take it.
 */
export async function restoreVolume(session: Session): Promise<void> {
  const { volume, top: topNumber } = expect(await session.receive(), 'job').value;
  const report = new Report(session);
  if (volume.kind === 'blocks') await restoreDevice(session, volume.path, topNumber, report);
  else if (volume.kind === 'disk')
    await fillingDisk(volume.path, (folder) => restoreFolder(session, folder, topNumber, report));
  else await restoreFolder(session, volume.path, topNumber, report);
  await report.finish();
  await session.send('done', report.counts);
}

async function restoreFolder(session: Session, path: string, top: number, report: Report): Promise<void> {
  const root = openVolume(path);
  try {
    requireEmpty(root);
    const blobs = receiveBlobs(session);
    const disk = new EarlySync(root);
    const writer = new FolderWriter(root, new PackReader(blobs), report, 'none');
    await restoreTree(blobs, top, report, writer, () => disk.wrote(report.bytes));
    await disk.finish(); // The verifier, and a power cut, must find all of it.
  } finally {
    close(root);
  }
}

async function restoreDevice(session: Session, path: string, top: number, report: Report): Promise<void> {
  const blobs = receiveBlobs(session);
  await restoreTree(
    blobs,
    top,
    report,
    new DeviceWriter(path, new PackReader(blobs), report),
    () => undefined,
  );
}

/** Has the disk write what the kernel holds while more is being restored, so that little is left for the end. */
class EarlySync {
  readonly #root: number;
  #before = 0;
  /** One that failed stays. */
  #running: Promise<void> | undefined;

  constructor(root: number) {
    this.#root = root;
  }

  /** Tells that so many bytes are written by now. */
  wrote(bytes: number): void {
    if (this.#running !== undefined || bytes < this.#before + SYNC_EVERY) return;
    this.#before = bytes;
    this.#running = syncFileSystem(this.#root).then(() => {
      this.#running = undefined;
    });
    this.#running.catch(() => undefined); // finish() says it.
  }

  /** All of it is durable afterwards. */
  async finish(): Promise<void> {
    await this.#running;
    await syncFileSystem(this.#root);
  }
}

async function restoreTree(
  blobs: BlobSource,
  topNumber: number,
  report: Report,
  writer: FolderWriter | DeviceWriter,
  wrote: () => void,
): Promise<void> {
  try {
    const top = decodeTop(await blobs.get(topNumber));
    report.expect(top);
    for await (const records of readRecords(top, blobs)) {
      await writer.write(records);
      wrote();
    }
    await writer.finish();
  } finally {
    await writer.close();
  }
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
