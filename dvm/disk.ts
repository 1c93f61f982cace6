/**
 * The file system on a block device, mounted while a job works on it. This is how a volume is attached to a real disposable VM,
 * whose kernel and root are its own: what a crafted file system does to them stays there. The device is a snapshot of dom0's that
 * nobody else reads, or a new volume, so it may be written.
 */

import { mkdtemp, open, rmdir, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError, systemCode } from '../shared/errors.ts';
import type { MountedVolume, Volume } from '../shared/protocol/disposable.ts';
import { runProgram } from './program.ts';
import type { ProgramResult } from './program.ts';
import type { Noter } from './walk.ts';

/** Types that a volume may have; ext2 and ext3 are mounted as ext4. Options: nothing in the device decides what happens here. */
const MOUNT_OPTIONS: Readonly<Record<string, string>> = {
  ext2: 'errors=remount-ro',
  ext3: 'errors=remount-ro',
  ext4: 'errors=remount-ro',
  xfs: 'nouuid',
  btrfs: 'skip_balance',
};
const SAFE = 'nosuid,nodev,noexec,noatime';

/** Milliseconds: to replay a journal or repair a file system, and for all else. */
const LONG = 60 * 60_000;
const SHORT = 10 * 60_000;
const MISSING = 'install it in the template of this disposable';

/** What blkid(8) ends with where nothing that it knows is on a device. */
const NOTHING_FOUND = 2;
/** Bytes at the beginning of a device that a VM looks at to see that it is empty: setup-rwdev.sh of qubes-core-agent-linux. */
const LOOKED_AT = 10 * 1024 * 1024;

/** Highest exit status of e2fsck(8) by which the file system is sound afterwards. */
const REPAIRED = 2;

/**
 * Runs `work` on a volume that can be walked: a disk's file system is mounted read-only meanwhile, its journal replayed. Any
 * other volume is handed on as it is. Throws `io` if it cannot be mounted.
 */
export async function readingDisk<T>(
  volume: Volume,
  note: Noter,
  work: (volume: MountedVolume) => Promise<T>,
): Promise<T> {
  if (volume.kind !== 'disk') return work(volume);
  const { path } = volume;
  const found = await typeOf(path);
  if (found === undefined) await makeFileSystem(path);
  const type = found ?? 'ext4';
  return onMountPoint(async (folder) => {
    // Read-write first, so that the journal is replayed: a read-only mount without replay hides files that had been fsynced.
    const first = await mount(type, path, folder);
    if (first.status !== 0) await repair(type, path, folder, first, note);
    try {
      if (found === undefined) await clear(folder);
      await must('mount', ['-o', `remount,ro,${SAFE}`, folder], 'cannot be made read-only');
      return await work({ kind: 'folder', path: folder });
    } finally {
      // What failed may still have files open. Nobody reads the device after this disposable.
      await runProgram('umount', ['--lazy', folder], { timeout: SHORT, missing: MISSING });
    }
  });
}

/** Makes an ext4 file system on an empty device as Qubes OS does, and runs `work` on it; then all of it is on the device. */
export async function fillingDisk<T>(path: string, work: (folder: string) => Promise<T>): Promise<T> {
  const probed = await probe(path);
  if (probed.status === 0)
    throw new BackupError('vm-exists', 'the volume to restore into is not empty, and was left alone');
  await makeFileSystem(path);
  return onMountPoint(async (folder) => {
    const mounted = await mount('ext4', path, folder);
    if (mounted.status !== 0) throw failed('cannot be mounted', mounted);
    let done = false;
    try {
      const result = await work(folder);
      done = true;
      return result;
    } finally {
      if (done) await must('umount', [folder], 'cannot be unmounted');
      else await runProgram('umount', ['--lazy', folder], { timeout: SHORT, missing: MISSING });
    }
  });
}

/** What a crash leaves behind is dealt with silently; `note` is told of damage beyond that. */
async function repair(
  type: string,
  path: string,
  folder: string,
  refused: ProgramResult,
  note: Noter,
): Promise<void> {
  if (!type.startsWith('ext')) throw failed('cannot be mounted', refused);
  const checked = await runProgram('e2fsck', ['-f', '-y', '--', path], { timeout: LONG, missing: MISSING });
  if (checked.status > REPAIRED) throw failed('cannot be repaired', checked);
  const again = await mount(type, path, folder);
  if (again.status !== 0) throw failed('cannot be mounted', again);
  note(
    'repaired',
    '' as ByteString,
    'the file system could not be mounted, and was read from a repaired copy: files may be missing or in lost+found. ' +
      `Run e2fsck on it. It said: ${checked.output}`,
  );
}

/**
 * Undefined of a device that is empty: Qubes OS gives a new VM such a private volume, and the VM makes its file system when it starts
 * for the first time. Templates for disposables never do.
 */
async function typeOf(path: string): Promise<string | undefined> {
  const { status, output: type } = await probe(path);
  if (status === 0 && MOUNT_OPTIONS[type] !== undefined) return type;
  if (status === NOTHING_FOUND && (await isEmpty(path))) return undefined;
  throw new BackupError(
    'io',
    `the volume holds no file system that can be read (${type === '' ? 'none was found' : type}): back it up with volumes.private = "blocks"`,
  );
}

/** True of a device that begins as a new volume does. */
async function isEmpty(path: string): Promise<boolean> {
  const device = await open(path, 'r').catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  if (device === undefined) return false;
  try {
    const { buffer, bytesRead } = await device.read(Buffer.alloc(LOOKED_AT), 0, LOOKED_AT, 0);
    return bytesRead > 0 && buffer.subarray(0, bytesRead).every((byte) => byte === 0);
  } finally {
    await device.close();
  }
}

/** As a VM of Qubes OS does it. */
function makeFileSystem(path: string): Promise<void> {
  return must('mkfs.ext4', ['-q', '-m', '0', '-F', path], 'cannot take a file system');
}

/** What was just made has nothing in it, and no time of its own: the next reader finds the same. */
async function clear(folder: string): Promise<void> {
  await rmdir(join(folder, 'lost+found'));
  await utimes(folder, 0, 0);
}

/** Status 0 and the type, or 2 if the device has nothing on it that is known. */
function probe(path: string): Promise<ProgramResult> {
  const args = ['-p', '-o', 'value', '-s', 'TYPE', '--', path];
  return runProgram('blkid', args, { timeout: SHORT, missing: MISSING });
}

function mount(type: string, path: string, folder: string): Promise<ProgramResult> {
  const real = type.startsWith('ext') ? 'ext4' : type;
  const options = `rw,${SAFE},${MOUNT_OPTIONS[type] ?? ''}`;
  return runProgram('mount', ['-t', real, '-o', options, '--', path, folder], {
    timeout: LONG,
    missing: MISSING,
  });
}

async function must(program: string, args: readonly string[], what: string): Promise<void> {
  const result = await runProgram(program, args, { timeout: LONG, missing: MISSING });
  if (result.status !== 0) throw failed(what, result);
}

function failed(what: string, { output }: ProgramResult): BackupError {
  return new BackupError('io', `the volume ${what}: ${output}`);
}

async function onMountPoint<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'qubes-backup-volume-'));
  try {
    return await work(folder);
  } finally {
    await rmdir(folder);
  }
}
