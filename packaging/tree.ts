/** Files as they are to be on a machine: declared once, laid out in a folder for the tools that make packages of it. */

import { chmod, copyFile, lutimes, mkdir, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What is installed at a path; all of it belongs to root. Folders on the way to it are made, with mode 0755. */
export type Entry =
  | { readonly kind: 'file'; readonly mode: number; readonly bytes: Uint8Array }
  /** A large file, by its path on this machine. */
  | { readonly kind: 'copy'; readonly mode: number; readonly source: string }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'folder'; readonly mode: number };

/** By absolute path. */
export type Tree = ReadonlyMap<string, Entry>;

export function file(bytes: Uint8Array | string, mode = 0o644): Entry {
  return { kind: 'file', mode, bytes: typeof bytes === 'string' ? Buffer.from(bytes) : bytes };
}

export function copy(source: string, mode = 0o644): Entry {
  return { kind: 'copy', mode, source };
}

export function link(target: string): Entry {
  return { kind: 'link', target };
}

/** All of `trees`. Throws on a path that two of them have. */
export function merge(...trees: Tree[]): Tree {
  const all = new Map<string, Entry>();
  for (const [path, entry] of trees.flatMap((tree) => [...tree])) {
    if (all.has(path)) throw new Error(`two files are to be installed as ${path}`);
    all.set(path, entry);
  }
  return all;
}

/** Lays `tree` out below the existing folder `root`, with the modes given, whatever the umask, and one time for all. */
export async function layOut(tree: Tree, root: string, seconds: number): Promise<void> {
  for (const [path, entry] of tree) {
    const at = join(root, path);
    await mkdir(dirname(at), { recursive: true });
    if (entry.kind === 'link') await symlink(entry.target, at);
    else if (entry.kind === 'folder') await mkdir(at, { recursive: true });
    else if (entry.kind === 'copy') await copyFile(entry.source, at);
    else await writeFile(at, entry.bytes);
  }
  await finish(root, root, tree, seconds);
}

/** Sets modes and times from the bottom up, so that no time changes after it was set. */
async function finish(root: string, folder: string, tree: Tree, seconds: number): Promise<void> {
  for (const found of await readdir(folder, { withFileTypes: true })) {
    const at = join(folder, found.name);
    if (found.isDirectory()) await finish(root, at, tree, seconds);
    else if (found.isSymbolicLink()) await lutimes(at, seconds, seconds);
    else await setModeAndTime(at, modeOf(tree.get(at.slice(root.length))), seconds);
  }
  await setModeAndTime(folder, modeOf(tree.get(folder.slice(root.length)) ?? FOLDER), seconds);
}

const FOLDER: Entry = { kind: 'folder', mode: 0o755 };

function modeOf(entry: Entry | undefined): number {
  if (entry === undefined || entry.kind === 'link') throw new Error('a file is there that was not declared');
  return entry.mode;
}

async function setModeAndTime(path: string, mode: number, seconds: number): Promise<void> {
  await chmod(path, mode);
  await utimes(path, seconds, seconds);
}
