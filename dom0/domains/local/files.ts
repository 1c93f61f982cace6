/** Small durable file operations of the local driver. */

import { randomBytes } from 'node:crypto';
import { open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BackupError, messageOf } from '../../../shared/errors.ts';
import { runProgram } from '../run-program.ts';
import type { ProgramEnd } from '../run-program.ts';
import { statOf } from '../stat.ts';

/** Bytes. The tools used here say next to nothing. */
const MAX_TOOL_OUTPUT = 1024 * 1024;

/** Replaces `path` so that a crash leaves the old or the new content, and the new one is on disk on return. */
export async function writeDurably(path: string, content: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Removes what {@link writeDurably} of a run that died left beside `path`. To be called by who alone may write there. */
export async function removeUnfinished(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder))
    if (name.startsWith(`${basename(path)}.`) && /\.[0-9a-f]{12}\.tmp$/.test(name))
      await rm(join(folder, name));
}

/** Makes the names in `folder` durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The text of a regular file of at most `limit` bytes, or undefined if there is none. Throws `limit`. */
export async function readText(path: string, limit: number): Promise<string | undefined> {
  const stats = await statOf(path);
  if (stats === undefined) return undefined;
  if (!stats.isFile()) throw new BackupError('io', `${path} is no regular file`);
  if (stats.size > limit) throw new BackupError('limit', `${path} is larger than ${limit} bytes`);
  return readFile(path, 'utf8');
}

/**
 * Removes a tree of any depth and any modes, never leaving its file system. By coreutils, which walk by descriptors:
 * a VM's volume may hold paths longer than the kernel takes in one piece, and root's immutable files.
 */
export async function removeTree(path: string): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && (await statOf(path))?.isDirectory() === true)
    await runTool('chmod', ['-R', 'u+rwX', '--', path]);
  const remove = () => runTool('rm', ['-rf', '--one-file-system', '--', path]);
  try {
    await remove();
  } catch (error) {
    if (!isRoot) throw error;
    await runTool('chattr', ['-R', '-f', '-i', '-a', '--', path]).catch(() => undefined); // rm says what is left.
    await remove();
  }
}

/** Runs a tool of the machine to its end; answers its output. Throws `io` with what the tool said. */
export async function runTool(program: string, args: readonly string[]): Promise<string> {
  const { end, stderr } = await runProgram([program, ...args], { maxOutput: MAX_TOOL_OUTPUT });
  if (end.kind === 'exited' && end.code === 0) return Buffer.from(end.stdout).toString('utf8');
  const cause = end.kind === 'not-started' ? end.cause : undefined;
  throw new BackupError('io', `${program}: ${stderr.slice(0, 500) || describe(end)}`, { cause });
}

function describe(end: ProgramEnd): string {
  if (end.kind === 'not-started') return messageOf(end.cause);
  if (end.kind !== 'exited') return end.kind;
  return end.signal === null ? `exit status ${String(end.code)}` : `killed by ${end.signal}`;
}
