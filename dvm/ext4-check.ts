/**
 * Replays the journal of an ext4 image that is not mounted, and makes its file system sound, by e2fsck. The image is a
 * private copy: what is written to it is read by nobody but this disposable.
 */

import { stat } from 'node:fs/promises';
import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { runProgram } from './program.ts';
import type { ProgramResult } from './program.ts';
import type { Noter } from './walk.ts';

/** Exit status of e2fsck(8), as bits. */
const CORRECTED = 1;
const CORRECTED_AND_REBOOT = 2;
const UNCORRECTED = 4;

/** How long one check may take: a crafted image may keep it busy for ever. Milliseconds, and per GiB of the image's data. */
const TIMEOUT = 5 * 60_000;
const TIMEOUT_PER_GIB = 60_000;
const GIB = 2 ** 30;

/**
 * Replays the journal and checks everything. What a crash leaves behind is dealt with silently; if the file system is
 * damaged beyond that, it is repaired, and `note` is told. Throws `io` if it cannot be repaired.
 */
export async function checkExt4(path: string, note: Noter): Promise<void> {
  const timeout = TIMEOUT + TIMEOUT_PER_GIB * Math.ceil(((await stat(path)).blocks * 512) / GIB);
  // Not -p alone: it also takes out of folders, without a warning, what has no inode any more.
  const replayed = await e2fsck(['-p', '-E', 'journal_only'], path, timeout);
  const found = isSound(replayed.status) ? await e2fsck(['-f', '-n'], path, timeout) : replayed;
  if (isSound(found.status)) return;
  if ((found.status & ~(CORRECTED | CORRECTED_AND_REBOOT)) !== UNCORRECTED) throw failed(found.output);
  const repaired = await e2fsck(['-f', '-y'], path, timeout);
  if (!isSound(repaired.status)) throw failed(repaired.output);
  note(
    'repaired',
    '' as ByteString,
    'the file system is damaged, and was read from a repaired copy: files may be missing or in lost+found. ' +
      `Run e2fsck on it. It said: ${found.output}`,
  );
}

function isSound(status: number): boolean {
  return (status & ~(CORRECTED | CORRECTED_AND_REBOOT)) === 0;
}

function failed(output: string): BackupError {
  return new BackupError('io', `the image holds no ext4 file system that e2fsck can repair: ${output}`);
}

/** Runs e2fsck to its end. */
async function e2fsck(options: readonly string[], path: string, timeout: number): Promise<ProgramResult> {
  const missing = 'install e2fsprogs, or run the backup as root';
  const { status, output } = await runProgram('e2fsck', [...options, '--', path], { timeout, missing });
  return { status, output: output.replaceAll(path, 'image') };
}
