/**
 * Random trees of everything a volume may hold, from a seed. What Node has no call for (nanoseconds, FIFOs,
 * attributes) is done by one shell at the end, deepest entries first, so that no parent is closed too early.
 */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { isInstalled, supportsAttributes } from './needs.ts';
import { Random } from './random.ts';

export interface TreeOptions {
  readonly seed: number;
  /** About how many entries; default 150. */
  readonly entries?: number;
  /** Largest file in bytes; default 5 MiB. */
  readonly maxFile?: number;
  /** Longest target of a symlink in bytes: a block, where those are small; default 4095. */
  readonly maxTarget?: number;
  readonly fifos?: boolean;
  /** Extended attributes and ACLs; default where the tools and the file system have them. */
  readonly attributes?: boolean;
  /** Foreign owners; default for root. */
  readonly owners?: boolean;
  /** Entries without any permission; default for root, who can read them all the same. */
  readonly closed?: boolean;
}

/** What a tree holds, by kind. */
export interface TreeSummary {
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

/** Sizes around which chunks, holes and buffers have their edges. */
const EDGES = [0, 1, 4 * KiB, 64 * KiB, 128 * KiB, 512 * KiB, MiB, 2 * MiB, 4 * MiB];

/** Names that a shell, a terminal, a decoder or a prefix compression may stumble over. */
export const ODD_NAMES: readonly Buffer[] = [
  ...[
    '-rf',
    '--help',
    ' ',
    'a b',
    'new\nline',
    'tab\t',
    '\x01\x1b[2J',
    "'",
    '"',
    '\\',
    '*',
    '?',
    '$(id)',
    '`id`',
    '.hidden',
    '...',
    '~',
  ],
  ...[
    'ünïcode',
    'e\u0301',
    '日本語',
    'a',
    'a.b',
    'a-b',
    'A',
    '#',
    '%2e',
    'con',
    'name.tar.gz',
    'x'.repeat(255),
  ],
].map((text) => Buffer.from(text));
export const RAW_NAMES: readonly Buffer[] = [
  Buffer.from([0xff]),
  Buffer.from([0xff, 0xfe, 0x01]),
  Buffer.from([0xc3, 0x28]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.alloc(255, 0xe9),
];

/** Seconds since 1970: before it, at it, around the ends of 32 bits, and some ordinary ones. */
export const SECONDS = [
  -2_147_483_648, -86_401, -1, 0, 1, 1_234_567_890, 1_700_000_000, 2_147_483_647, 2_147_483_648,
  4_294_967_296, 9_999_999_999,
];
const MODES = [0o644, 0o600, 0o755, 0o777, 0o444, 0o1777, 0o2755, 0o4755, 0o6711, 0o400];
const TARGETS = [
  '.',
  '..',
  '/',
  '/nowhere/at/all',
  'dangling',
  '../../../../etc/passwd',
  'new\nline',
  'x'.repeat(4000),
];

/** Fills the existing, empty `folder` with a tree. */
export function generateTree(folder: string, options: TreeOptions): TreeSummary {
  const builder = new Builder(folder, options);
  builder.build();
  return builder.summary();
}

class Builder {
  readonly #root: Buffer;
  readonly #random: Random;
  readonly #options: Required<TreeOptions>;
  readonly #folders: Buffer[];
  readonly #files: Buffer[] = [];
  readonly #all: Buffer[];
  readonly #contents: Buffer[] = [];
  readonly #commands: Buffer[] = [];
  readonly #dressed = new Set<number>();
  #bytes = 0;

  constructor(folder: string, options: TreeOptions) {
    const isRoot = process.getuid?.() === 0;
    this.#root = Buffer.from(folder);
    this.#random = new Random(options.seed);
    this.#options = {
      entries: 150,
      maxFile: 5 * MiB,
      maxTarget: 4095,
      fifos: true,
      attributes: supportsAttributes(folder),
      owners: isRoot,
      closed: isRoot,
      ...options,
    };
    this.#folders = [this.#root];
    this.#all = [this.#root];
  }

  summary(): TreeSummary {
    return { entries: this.#all.length, files: this.#files.length, bytes: this.#bytes };
  }

  build(): void {
    for (const name of [...ODD_NAMES, ...RAW_NAMES])
      this.#add(Buffer.concat([this.#root, Buffer.from('/'), name]));
    for (const size of new Set(EDGES.flatMap((edge) => [edge - 1, edge, edge + 1]))) this.#edgeFile(size);
    while (this.#all.length < this.#options.entries) this.#add(this.#freshPath());
    for (const path of [...this.#all].reverse()) this.#dress(path);
    this.#runCommands();
  }

  /** A file of just this size at the top, where it is wanted in every tree. */
  #edgeFile(size: number): void {
    if (size >= 0 && size <= this.#options.maxFile)
      this.#file(join(this.#root, `size-${size}`), this.#random.bytes(size));
  }

  #freshPath(): Buffer {
    for (;;) {
      const name = this.#random.chance(0.2)
        ? this.#random.pick([...ODD_NAMES, ...RAW_NAMES])
        : Buffer.from(`n${this.#random.below(100_000)}`);
      const path = Buffer.concat([this.#random.pick(this.#folders), Buffer.from('/'), name]);
      if (path.length < 4000 && lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
    }
  }

  #add(path: Buffer): void {
    const kind = this.#random.below(100);
    if (kind < 25) this.#folder(path);
    else if (kind < 40) this.#symlink(path);
    else if (kind < 52 && this.#files.length > 0) this.#hardLink(path);
    else if (kind < 55 && this.#options.fifos) this.#fifo(path);
    else if (kind < 62) this.#sparse(path);
    else this.#file(path, this.#content());
  }

  #content(): Buffer {
    if (this.#contents.length > 0 && this.#random.chance(0.15)) return this.#random.pick(this.#contents);
    const scale = this.#random.chance(0.1) ? this.#options.maxFile : 20 * KiB;
    const size = this.#random.below(Math.min(scale, this.#options.maxFile) + 1);
    const content = this.#random.chance(0.5) ? this.#random.bytes(size) : this.#random.text(size);
    if (this.#contents.length < 8) this.#contents.push(content);
    return content;
  }

  #folder(path: Buffer): void {
    mkdirSync(path);
    this.#folders.push(path);
    this.#all.push(path);
  }

  #symlink(path: Buffer): void {
    // Relative to the top, so the same tree everywhere: some of these lead somewhere, some do not.
    const inside = this.#random.pick(this.#all).subarray(this.#root.length + 1);
    const other = Buffer.from(this.#random.pick(TARGETS).slice(0, this.#options.maxTarget));
    symlinkSync(inside.length > 0 && this.#random.chance(0.4) ? inside : other, path);
    this.#all.push(path);
  }

  #hardLink(path: Buffer): void {
    linkSync(this.#random.pick(this.#files), path);
    this.#all.push(path);
  }

  #fifo(path: Buffer): void {
    const made = spawnSync('sh', [], { input: command('mkfifo --', path) });
    if (made.status !== 0) throw new Error(`mkfifo failed: ${made.stderr.toString()}`);
    this.#all.push(path);
  }

  #file(path: Buffer, content: Buffer): void {
    writeFileSync(path, content, { flag: 'wx' });
    this.#bytes += content.length;
    this.#files.push(path);
    this.#all.push(path);
  }

  /** Islands of data in holes, and often a hole at the end. */
  #sparse(path: Buffer): void {
    const size = this.#random.below(this.#options.maxFile);
    const descriptor = openSync(path, 'wx');
    try {
      ftruncateSync(descriptor, size);
      for (let i = this.#random.below(4); i > 0; i--) {
        const at = this.#random.below(size + 1);
        writeSync(
          descriptor,
          this.#random.bytes(Math.min(size - at, this.#random.below(70 * KiB))),
          0,
          null,
          at,
        );
      }
    } finally {
      closeSync(descriptor);
    }
    this.#bytes += size;
    this.#files.push(path);
    this.#all.push(path);
  }

  /** Owner, attributes, mode, time, in the order in which none undoes another. */
  #dress(path: Buffer): void {
    const stat = lstatSync(path);
    if (this.#dressed.has(stat.ino)) return; // Another name of the same file, which may be read-only by now.
    this.#dressed.add(stat.ino);
    const plain = stat.isFile() || stat.isDirectory();
    if (this.#options.owners && this.#random.chance(0.5)) {
      this.#commands.push(
        command(`chown -h ${this.#random.below(70_000)}:${this.#random.below(70_000)} --`, path),
      );
    }
    if (this.#options.attributes && plain && this.#random.chance(0.2)) {
      const value = this.#random.bytes(this.#random.below(200)).toString('hex');
      this.#commands.push(command(`setfattr -h -n user.test${this.#random.below(3)} -v 0x${value} --`, path));
    }
    if (!stat.isSymbolicLink()) this.#chmod(path, stat.isDirectory());
    if (this.#options.attributes && plain && isInstalled('setfacl') && this.#random.chance(0.1)) {
      // In a user namespace only a mapped user may be named.
      const user = this.#options.owners ? this.#random.below(1000) : (process.getuid?.() ?? 0);
      this.#commands.push(command(`setfacl -m u:${user}:rwx --`, path));
    }
    const nanoseconds = String(this.#random.below(10 ** 9)).padStart(9, '0');
    const seconds = this.#random.chance(0.5)
      ? this.#random.pick(SECONDS)
      : 1_500_000_000 + this.#random.below(2 * 10 ** 8);
    this.#commands.push(command(`touch -h -d @${seconds}.${nanoseconds} --`, path));
  }

  #chmod(path: Buffer, isFolder: boolean): void {
    const closed = this.#options.closed && this.#random.chance(0.05);
    const opened = this.#options.closed || path === this.#root ? 0 : isFolder ? 0o700 : 0o400;
    const mode = closed ? 0 : this.#random.pick(MODES) | opened | (isFolder ? 0o700 : 0);
    this.#commands.push(command(`chmod ${mode.toString(8).padStart(4, '0')} --`, path));
  }

  #runCommands(): void {
    const ended = spawnSync('sh', ['-e'], {
      input: Buffer.concat(this.#commands),
      env: { ...process.env, LC_ALL: 'C' },
    });
    if (ended.status !== 0) throw new Error(`setting attributes failed: ${ended.stderr.toString()}`);
  }
}

function join(folder: Buffer, name: string): Buffer {
  return Buffer.concat([folder, Buffer.from(`/${name}`)]);
}

/** A line of shell: `words`, then `path` quoted. */
function command(words: string, path: Buffer): Buffer {
  const quoted = path.toString('latin1').replaceAll("'", `'\\''`);
  return Buffer.from(`${words} '${quoted}'\n`, 'latin1');
}
