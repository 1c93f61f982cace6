/**
 * The judge of a restore: compares two trees and shares no code with the product. Its own survey takes every
 * attribute by lstat, readlink, SHA-256, getfattr and lsattr; where rsync is installed, that has to agree.
 * checker.test.ts first proves that both see one planted difference of every kind.
 *
 * Left out by rule: sockets, which no restore makes. For rsync, whose paths end at 4,096 bytes, also what is below
 * {@link DEEP_FOLDER}, and sockets by name ({@link SOCKET_SUFFIX}).
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readSync, readdirSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { isInstalled } from './needs.ts';

/** Where a test's tree keeps paths beyond PATH_MAX. */
export const DEEP_FOLDER = 'beyond-path-max';
/** What the names of sockets end with in a test's tree. */
export const SOCKET_SUFFIX = '.socket';

/** Everything that can be told of a tree, by path (one character a byte, the root is empty). */
export type TreeSurvey = ReadonlyMap<string, Facts>;

export type Facts = Readonly<Record<string, string>>;

/** One line for each difference; empty if `restored` holds what `original` does. Owners count only for root. */
export function compareTrees(original: string, restored: string): string[] {
  return [...walkDifferences(original, restored), ...rsyncDifferences(original, restored)];
}

/** What rsync would change to make `b` like `a`; nothing where it is not installed. */
export function rsyncDifferences(a: string, b: string): string[] {
  if (!isInstalled('rsync')) return [];
  const flags = ['-aHAXSni', '--modify-window=-1', '--checksum', '--delete'];
  const rules = [`--exclude=*${SOCKET_SUFFIX}`, `--exclude=${DEEP_FOLDER}`];
  const output = run('rsync', [...flags, ...rules, `${a}/`, `${b}/`]);
  return linesOf(output).map((line) => `rsync: ${line}`);
}

/** The same question answered without rsync. */
export function walkDifferences(original: string, restored: string): string[] {
  return surveyDifferences(surveyTree(original), surveyTree(restored));
}

export function surveyDifferences(original: TreeSurvey, restored: TreeSurvey): string[] {
  const found: string[] = [];
  for (const [path, facts] of original) {
    const other = restored.get(path);
    if (other === undefined) found.push(`${shown(path)}: missing`);
    else found.push(...unequal(path, facts, other));
  }
  for (const path of restored.keys()) if (!original.has(path)) found.push(`${shown(path)}: extra`);
  return found;
}

function shown(path: string): string {
  return JSON.stringify(path.length > 300 ? `${path.slice(0, 200)}…${path.slice(-90)}` : path);
}

/** Bytes that a restored file may occupy beyond what the original does: its last block, and blocks of its own map. */
const ROUNDING = 16 * 1024;

function unequal(path: string, a: Facts, b: Facts): string[] {
  return Object.keys(a)
    .filter((name) =>
      name === 'occupied' ? Number(b[name]) > Number(a[name]) + ROUNDING : a[name] !== b[name],
    )
    .map((name) => `${shown(path)}: ${name} ${a[name] ?? ''} and ${b[name] ?? ''}`);
}

/** Below this length, in bytes, the tools are given a path from the root; a longer one they are called in its folder. */
const LONG = 3000;

/** Surveys what is below `root`. Changes this process's working folder meanwhile: paths may be of any length. */
export function surveyTree(root: string): TreeSurvey {
  const before = process.cwd();
  process.chdir(root);
  try {
    return new Surveyor().survey();
  } finally {
    process.chdir(before);
  }
}

class Surveyor {
  readonly #entries = new Map<string, Record<string, string>>();
  readonly #firstOfInode = new Map<string, string>();
  /** Paths of up to LONG bytes, for one call of each tool. */
  readonly #short: string[] = [];
  readonly #hasFlags =
    isInstalled('lsattr') && spawnSync('lsattr', ['-d', '.'], { stdio: 'ignore' }).status === 0;

  survey(): TreeSurvey {
    this.#visit('');
    this.#ask('', this.#short);
    return this.#entries;
  }

  /** Surveys the current folder, which is `path`. */
  #visit(path: string): void {
    if (path === '') this.#look('', '.');
    const names = readdirSync('.', { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    const long: string[] = [];
    for (const name of names.sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      const stat = this.#look(below, name);
      if (stat === undefined) continue;
      (below.length > LONG ? long : this.#short).push(below.length > LONG ? name : below);
      if (!stat.isDirectory()) continue;
      enter(name);
      this.#visit(below);
      process.chdir('..');
    }
    if (long.length > 0) this.#ask(`${path}/`, long);
  }

  /** Notes what lstat and reading tell about `name` in the current folder. */
  #look(path: string, name: string): BigIntStats | undefined {
    const here = Buffer.from(name, 'latin1');
    const stat = lstatSync(here, { bigint: true });
    if (stat.isSocket()) return undefined;
    const inode = `${stat.dev}:${stat.ino}`;
    const first = stat.isDirectory() ? path : (this.#firstOfInode.get(inode) ?? path);
    this.#firstOfInode.set(inode, first);
    this.#entries.set(path, {
      ...factsOf(here, stat),
      'hard link to': first,
      attributes: '',
    });
    return stat;
  }

  /** Notes what getfattr and lsattr tell about `paths` below the current folder, which is `prefix`. */
  #ask(prefix: string, paths: readonly string[]): void {
    const [all, plain] = [[...(prefix === '' ? ['.'] : []), ...paths], this.#plainOf(prefix, paths)];
    if (isInstalled('getfattr')) {
      const options = ['--no-dereference', '--absolute-names', '--dump', '--match=-', '--encoding=hex'];
      let facts: Record<string, string> = {};
      for (const line of linesOf(onPaths('getfattr', options, all))) {
        if (line.startsWith('# file: ')) facts = this.#factsAt(prefix, unescaped(line.slice(8)));
        else facts['attributes'] = `${facts['attributes'] ?? ''}${line};`;
      }
    }
    if (!this.#hasFlags) return;
    let rest = onPaths('lsattr', ['-d'], plain);
    for (const path of plain) {
      const [flags = ''] = rest.split(' ', 1);
      const end = flags.length + 1 + path.length;
      if (rest.slice(flags.length + 1, end) !== path || rest[end] !== '\n')
        throw new Error(`lsattr says nothing about ${path}`);
      rest = rest.slice(end + 1);
      this.#factsAt(prefix, path)['flags'] = portableFlags(flags);
    }
  }

  #factsAt(prefix: string, path: string): Record<string, string> {
    const facts = this.#entries.get(path === '.' && prefix === '' ? '' : prefix + path);
    if (facts === undefined) throw new Error(`a tool speaks of ${path}, which it was not asked about`);
    return facts;
  }

  /** Of `paths`, the regular files and directories: nothing else has flags. */
  #plainOf(prefix: string, paths: readonly string[]): string[] {
    const isPlain = (path: string) => /^(4|10)\d{4}$/.test(this.#entries.get(prefix + path)?.['mode'] ?? '');
    return [...(prefix === '' ? ['.'] : []), ...paths.filter(isPlain)];
  }
}

/** A path as getfattr prints it: odd bytes are three octal digits. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/** Makes the folder `name` in the current one the current one. Node takes no bytes for it. */
function enter(name: string): void {
  const descriptor = openSync(Buffer.from(name, 'latin1'), 'r');
  try {
    process.chdir(`/proc/self/fd/${descriptor}`);
  } finally {
    closeSync(descriptor);
  }
}

/** The flags that ext4, xfs and btrfs all have: synchronous, immutable, append-only, no dump, no access time. */
function portableFlags(text: string): string {
  return ['S', 'i', 'a', 'd', 'A'].filter((letter) => text.includes(letter)).join('');
}

function factsOf(name: Buffer, stat: BigIntStats): Facts {
  const owner: Facts = process.getuid?.() === 0 ? { uid: String(stat.uid), gid: String(stat.gid) } : {};
  const facts: Facts = { ...owner, mode: stat.mode.toString(8), mtime: String(stat.mtimeNs) };
  if (stat.isFile()) {
    const occupied = String(stat.blocks * 512n);
    return { ...facts, size: String(stat.size), occupied, content: contentHash(name) };
  }
  if (stat.isSymbolicLink()) return { ...facts, target: readlinkSync(name, { encoding: 'latin1' }) };
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

/** What `program` says about `paths`, which may be many and of any bytes. */
function onPaths(program: string, options: readonly string[], paths: readonly string[]): string {
  const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
  return run('xargs', ['-0', '-r', program, ...options, '--'], input);
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

function run(program: string, args: readonly string[], input?: Buffer): string {
  const ended = spawnSync(program, args, {
    input,
    encoding: 'latin1',
    maxBuffer: 2 ** 30,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (ended.status !== 0) throw new Error(`${program} failed: ${ended.stderr}`, { cause: ended.error });
  return ended.stdout;
}
