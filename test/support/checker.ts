/**
 * The judge of a restore: compares two trees and shares no code with the product. Its own walk compares every
 * attribute through lstat, readlink, SHA-256 and getfattr; where rsync is installed, that has to agree.
 * checker.test.ts first proves that both see one planted difference of every kind.
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readSync, readdirSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { isInstalled } from './needs.ts';

/** One line for each difference; empty if `a` and `b` hold the same. Owners count only for root. */
export function compareTrees(a: string, b: string): string[] {
  return [...walkDifferences(a, b), ...(isInstalled('rsync') ? rsyncDifferences(a, b) : [])];
}

/** What rsync would change to make `b` like `a`. */
export function rsyncDifferences(a: string, b: string): string[] {
  const flags = ['-aHAXSni', '--modify-window=-1', '--checksum', '--delete'];
  return linesOf('rsync', [...flags, `${a}/`, `${b}/`], process.cwd()).map((line) => `rsync: ${line}`);
}

/** The same question answered without rsync. */
export function walkDifferences(a: string, b: string): string[] {
  const [left, right] = [survey(a), survey(b)];
  const found: string[] = [];
  for (const [path, facts] of left) {
    const other = right.get(path);
    if (other === undefined) found.push(`${JSON.stringify(path)}: missing`);
    else found.push(...unequal(path, facts, other));
  }
  for (const path of right.keys()) if (!left.has(path)) found.push(`${JSON.stringify(path)}: extra`);
  const [leftAttributes, rightAttributes] = [attributes(a), attributes(b)];
  for (const path of new Set([...leftAttributes.keys(), ...rightAttributes.keys()])) {
    const [one, two] = [leftAttributes.get(path) ?? '', rightAttributes.get(path) ?? ''];
    if (one !== two) found.push(`${path}: attributes ${JSON.stringify(one)} and ${JSON.stringify(two)}`);
  }
  return found;
}

type Facts = Readonly<Record<string, string>>;

function unequal(path: string, a: Facts, b: Facts): string[] {
  return Object.keys(a)
    .filter((name) => a[name] !== b[name])
    .map((name) => `${JSON.stringify(path)}: ${name} ${a[name] ?? ''} and ${b[name] ?? ''}`);
}

/** Everything that lstat, readlink and reading tell, by path (one character a byte, the root is empty). */
function survey(root: string): Map<string, Facts> {
  const all = new Map<string, Facts>();
  const firstOfInode = new Map<string, string>();
  const visit = (path: string): void => {
    const full = Buffer.concat([Buffer.from(root), Buffer.from('/'), Buffer.from(path, 'latin1')]);
    const stat = lstatSync(full, { bigint: true });
    const inode = `${stat.dev}:${stat.ino}`;
    const first = stat.isDirectory() ? path : (firstOfInode.get(inode) ?? path);
    firstOfInode.set(inode, first);
    all.set(path, { ...factsOf(full, stat), 'hard link to': first });
    if (!stat.isDirectory()) return;
    const names = readdirSync(full, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    for (const name of names.sort()) visit(path === '' ? name : `${path}/${name}`);
  };
  visit('');
  return all;
}

function factsOf(full: Buffer, stat: BigIntStats): Facts {
  const owner: Facts = process.getuid?.() === 0 ? { uid: String(stat.uid), gid: String(stat.gid) } : {};
  const facts: Facts = { ...owner, mode: stat.mode.toString(8), mtime: String(stat.mtimeNs) };
  if (stat.isFile()) return { ...facts, size: String(stat.size), content: contentHash(full) };
  if (stat.isSymbolicLink()) return { ...facts, target: readlinkSync(full, { encoding: 'latin1' }) };
  if (stat.isBlockDevice() || stat.isCharacterDevice()) return { ...facts, device: String(stat.rdev) };
  return facts;
}

function contentHash(file: Buffer): string {
  const state = createHash('sha256');
  const piece = Buffer.allocUnsafe(1024 * 1024);
  const descriptor = openSync(file, 'r');
  try {
    for (;;) {
      const count = readSync(descriptor, piece);
      if (count === 0) return state.digest('hex');
      state.update(piece.subarray(0, count));
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Extended attributes and ACLs as getfattr prints them, by path; empty if it is not installed. */
function attributes(root: string): Map<string, string> {
  if (!isInstalled('getfattr')) return new Map();
  const lines = linesOf(
    'getfattr',
    ['--recursive', '--physical', '--no-dereference', '--dump', '--match=-', '--encoding=hex', '.'],
    root,
  );
  const all = new Map<string, string>();
  let path = '';
  for (const line of lines) {
    if (line.startsWith('# file: ')) path = line;
    else all.set(path, `${all.get(path) ?? ''}${line};`);
  }
  return all;
}

function linesOf(program: string, args: readonly string[], cwd: string): string[] {
  const ended = spawnSync(program, args, {
    cwd,
    encoding: 'latin1',
    maxBuffer: 2 ** 30,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (ended.status !== 0) throw new Error(`${program} failed: ${ended.stderr}`, { cause: ended.error });
  return ended.stdout.split('\n').filter((line) => line !== '');
}
