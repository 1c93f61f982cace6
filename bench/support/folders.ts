/** Folders of the demo and the benchmarks: survey, copy, compare with tools that are not ours, remove. */

import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readSync,
  readdirSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { must, run, runAlways } from './command.ts';

export interface Survey {
  /** Paths of regular files, one character a byte, largest first. */
  readonly files: readonly { readonly path: string; readonly size: number }[];
  readonly entries: number;
  readonly bytes: number;
}

/** Counts what is below `folder`. Names may be any bytes. */
export function survey(folder: string): Survey {
  const files: { path: string; size: number }[] = [];
  let entries = 0;
  const visit = (path: string): void => {
    for (const entry of readdirSync(Buffer.from(path, 'latin1'), {
      withFileTypes: true,
      encoding: 'buffer',
    })) {
      const below = `${path}/${entry.name.toString('latin1')}`;
      entries += 1;
      if (entry.isDirectory()) visit(below);
      else if (entry.isFile())
        files.push({ path: below, size: lstatSync(Buffer.from(below, 'latin1')).size });
    }
  };
  visit(Buffer.from(folder).toString('latin1'));
  files.sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1));
  return { files, entries, bytes: files.reduce((sum, file) => sum + file.size, 0) };
}

/** A new folder for large data: not on a tmpfs, which is memory. */
export function makeWorkFolder(): string {
  const wanted = process.env['TMPDIR'] ?? '/var/tmp';
  return mkdtempSync(join(isWritable(wanted) ? wanted : tmpdir(), 'qubes-backup-demo-'));
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false; // Not there, or not ours.
  }
}

/** Copies what is in `source` into the existing `target`, with all metadata. Only reads `source`. */
export async function copyTree(source: string, target: string): Promise<void> {
  await must('cp', ['-a', '--', `${source}/.`, target]);
}

/** Removes `folder`, including what forbids it. */
export async function removeTree(folder: string): Promise<void> {
  await runAlways('chmod', ['-R', 'u+rwX', '--', folder]);
  await runAlways('rm', ['-rf', '--', folder]);
}

export function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false; // Not in this folder.
    }
  });
}

/** What an independent tool says about two trees: its name, and its complaints. */
export interface Comparison {
  readonly tool: string;
  readonly differences: readonly string[];
}

export async function compareTrees(a: string, b: string): Promise<Comparison> {
  if (isInstalled('rsync')) {
    const flags = ['-aHAXSni', '--modify-window=-1', '--checksum', '--delete'];
    return {
      tool: `rsync ${flags.join(' ')}`,
      differences: lines(await must('rsync', [...flags, `${a}/`, `${b}/`])),
    };
  }
  const diff = await run('diff', ['-r', '--no-dereference', '--', a, b]);
  // diff cannot compare two FIFOs and says so; find compares them.
  const contents = lines(diff.stdout + diff.stderr).filter(
    (line) => !/ is a fifo while file .* is a fifo$/.test(line),
  );
  const [one, two] = [await listing(a), await listing(b)];
  const metadata = [...one]
    .filter((line) => !two.has(line))
    .concat([...two].filter((line) => !one.has(line)));
  return { tool: 'diff -r, and find for metadata', differences: [...contents, ...metadata] };
}

/** A line for each entry: path, type, mode, owner, links, time to the nanosecond, target. */
async function listing(folder: string): Promise<Set<string>> {
  return new Set(lines(await must('find', ['.', '-printf', '%P|%y|%m|%U:%G|%n|%T@|%l\\n'], folder)));
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** Inverts the bits of one byte in the middle of a file, in place; a second call mends it. */
export function flipByte(path: string): void {
  chmodSync(path, 0o600);
  const descriptor = openSync(path, 'r+');
  try {
    const at = Math.floor(fstatSync(descriptor).size / 2);
    const byte = Buffer.alloc(1);
    readSync(descriptor, byte, 0, 1, at);
    byte.writeUInt8(byte.readUInt8(0) ^ 0xff);
    writeSync(descriptor, byte, 0, 1, at);
  } finally {
    closeSync(descriptor);
  }
}
