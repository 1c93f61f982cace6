/**
 * Edits a volume as its owner might in months: seeded, one step at a time, each with a line that says what was done.
 * Every step leaves the volume in a state that a backup has to hold exactly.
 */

import {
  appendFileSync,
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { close, makeNodeAt, openDirectory } from '../../dvm/libc.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { SOCKET_SUFFIX } from '../support/checker.ts';
import type { Random } from '../support/random.ts';
import { ODD_NAMES, RAW_NAMES, SECONDS } from '../support/tree-generator.ts';
import { editDeepFolder } from './deep-folder.ts';
import { HUGE_FOLDER, below, isBelow, isSocketName, listItems } from './volume-files.ts';
import { output, setTime, tool, tryTool } from './volume-files.ts';
import type { Item } from './volume-files.ts';

/** What the machine and the file system let a test do. */
export interface Abilities {
  /** Foreign owners, device nodes, capabilities. */
  readonly root: boolean;
  readonly attributes: boolean;
  readonly flags: boolean;
  /** Bytes of the longest target of a symlink. */
  readonly longestTarget: number;
}

/** What a step may be about; a run of `names`, `metadata` or `touch` alone must store no content. */
export type Kind = 'any' | 'names' | 'metadata' | 'touch';

/** The volume is kept at about this many entries. */
const FEW = 90;
const MANY = 220;
const KiB = 1024;

/** One step; undefined if the volume has nothing that it could be done to. */
type Step = () => string | undefined;

export class Editor {
  readonly #root: Buffer;
  readonly #random: Random;
  readonly #can: Abilities;
  readonly #steps: Readonly<Record<Kind, readonly Step[]>>;
  /** Inodes that chattr made immutable or append-only: nothing else can be done to them. */
  readonly #sealed = new Set<number>();
  /**
   * Inodes whose metadata, or content behind their time stamps, was changed since the last backup: not both at once,
   * which a backup knowingly takes for a change of metadata (docs/decisions.md). Links, names and types go with either.
   */
  readonly #dressed = new Set<number>();
  readonly #forged = new Set<number>();
  #fresh = 0;

  constructor(folder: string, random: Random, can: Abilities) {
    this.#root = Buffer.from(folder);
    this.#random = random;
    this.#can = can;
    const names = [this.#rename, this.#rename, this.#swapNames, this.#moveFolder];
    const metadata = [
      ...[this.#chmod, this.#chmod],
      ...(can.root ? [this.#chown, this.#chown] : []),
      ...(can.attributes ? [this.#attribute, this.#attribute, this.#accessList] : []),
      ...(can.attributes && can.root ? [this.#capability] : []),
      ...(can.flags ? [this.#flag, this.#flag] : []),
      this.#folderTime,
    ];
    const touch = [this.#rewriteSame, this.#newTime, this.#newTime];
    const content = [
      ...[this.#rewrite, this.#replaceFile, this.#overwrite, this.#shrink, this.#grow, this.#append],
      ...[this.#forge, this.#sparseWrite, this.#punch, this.#zeros, this.#allocate, this.#copy],
    ];
    const structure = [
      ...[this.#create, this.#create, this.#create, this.#remove, this.#removeFolder, this.#changeType],
      ...[this.#replaceLinks, this.#addLink, this.#addLink, this.#removeLink, this.#renewFolder],
      ...[this.#huge, () => editDeepFolder(this.#root, this.#random)],
    ];
    const any = [...names, ...metadata, ...touch, ...content, ...structure];
    const bound = (steps: readonly Step[]) => steps.map((step): Step => step.bind(this));
    this.#steps = {
      any: bound(any),
      names: bound(names),
      metadata: bound(metadata),
      touch: bound(touch),
    };
  }

  /** Does `count` steps since the last backup; answers what they were. */
  edit(kind: Kind, count: number): string[] {
    this.#dressed.clear();
    this.#forged.clear();
    const done: string[] = [];
    for (let tries = 0; done.length < count; tries++) {
      if (tries > 50 * count) throw new Error(`nothing is left to edit after ${done.join('; ')}`);
      const line = this.#random.pick(this.#steps[kind])();
      if (line !== undefined) done.push(line);
    }
    return done;
  }

  // ---- Choosing --------------------------------------------------------------------------------------

  #items(accepts: (item: Item) => boolean = () => true): Item[] {
    const isOpen = (item: Item) => this.#can.root || isOpenToOwner(item.stat);
    return listItems(this.#root).filter(
      (item) => !this.#sealed.has(item.stat.ino) && isOpen(item) && accepts(item),
    );
  }

  #pick(accepts?: (item: Item) => boolean): Item | undefined {
    const items = this.#items(accepts);
    return items.length === 0 ? undefined : this.#random.pick(items);
  }

  #file(accepts: (item: Item) => boolean = () => true): Item | undefined {
    return this.#pick((item) => item.stat.isFile() && accepts(item));
  }

  #folder(): Buffer {
    const found = this.#pick(({ stat }) => stat.isDirectory());
    return found === undefined || this.#random.chance(0.2) ? this.#root : found.path;
  }

  /** A place for a new entry. */
  #place(suffix = ''): Buffer {
    for (;;) {
      this.#fresh += 1;
      const odd = this.#random.chance(0.2) && suffix === '';
      const name = odd
        ? this.#random.pick([...ODD_NAMES, ...RAW_NAMES])
        : Buffer.from(`e${this.#fresh}-${this.#random.below(1000)}${suffix}`);
      const path = below(this.#folder(), name);
      if (path.length < 2500 && lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
    }
  }

  #name(path: Buffer): string {
    return JSON.stringify(path.subarray(this.#root.length + 1).toString('latin1'));
  }

  #content(): Buffer {
    const size = this.#random.below(this.#random.chance(0.15) ? 700 * KiB : 8 * KiB);
    return this.#random.chance(0.6) ? this.#random.bytes(size) : this.#random.text(size);
  }

  // ---- Names -----------------------------------------------------------------------------------------

  #rename(): string | undefined {
    const item = this.#pick(({ stat }) => !stat.isDirectory());
    if (item === undefined) return undefined;
    const to = this.#place(isSocketName(item.path) ? SOCKET_SUFFIX : '');
    renameSync(item.path, to);
    return `rename ${this.#name(item.path)} to ${this.#name(to)}`;
  }

  #moveFolder(): string | undefined {
    const item = this.#pick(({ stat }) => stat.isDirectory());
    if (item === undefined) return undefined;
    const to = this.#place();
    if (isBelow(to, item.path)) return undefined;
    renameSync(item.path, to);
    return `move folder ${this.#name(item.path)} to ${this.#name(to)}`;
  }

  #swapNames(): string | undefined {
    const [one, two] = [this.#file(), this.#file()];
    if (one === undefined || two === undefined || one.stat.ino === two.stat.ino) return undefined;
    const aside = this.#place();
    renameSync(one.path, aside);
    renameSync(two.path, one.path);
    renameSync(aside, two.path);
    return `swap ${this.#name(one.path)} and ${this.#name(two.path)}`;
  }

  // ---- Metadata --------------------------------------------------------------------------------------

  /** An entry whose metadata may be changed without hiding a change of its content. */
  #dress(accepts: (item: Item) => boolean): Item | undefined {
    const item = this.#pick((candidate) => !this.#forged.has(candidate.stat.ino) && accepts(candidate));
    if (item !== undefined) this.#dressed.add(item.stat.ino);
    return item;
  }

  #chmod(): string | undefined {
    const item = this.#dress(({ stat }) => !stat.isSymbolicLink());
    if (item === undefined) return undefined;
    const open = item.stat.isDirectory() ? 0o700 : 0o600;
    const mode = this.#random.below(0o10000) | (this.#can.root && this.#random.chance(0.1) ? 0 : open);
    if (mode === (item.stat.mode & 0o7777)) return undefined;
    chmodSync(item.path, mode);
    return `chmod ${mode.toString(8)} ${this.#name(item.path)}`;
  }

  #chown(): string | undefined {
    const item = this.#dress(() => true);
    if (item === undefined) return undefined;
    const id = () => this.#random.pick([0, 1, 1000, 65_534, 65_536, 2 ** 31, 2 ** 32 - 2]);
    const [uid, gid] = [id(), id()];
    if (uid === item.stat.uid && gid === item.stat.gid) return undefined;
    lchownSync(item.path, uid, gid);
    return `chown ${uid}:${gid} ${this.#name(item.path)}`;
  }

  #attribute(): string | undefined {
    const item = this.#dress(({ stat }) => stat.isFile() || (stat.isDirectory() && !isSticky(stat.mode)));
    if (item === undefined) return undefined;
    const name = `user.test${this.#random.below(3)}`;
    if (this.#random.chance(0.3) && tryTool(`setfattr -h -x ${name} --`, item.path))
      return `remove attribute ${name} of ${this.#name(item.path)}`;
    const value = this.#random.bytes(this.#random.below(700)).toString('hex');
    if (!tryTool(`setfattr -h -n ${name} -v 0x${value} --`, item.path)) return undefined; // No room for it.
    return `set attribute ${name} of ${this.#name(item.path)} (${value.length / 2} bytes)`;
  }

  #accessList(): string | undefined {
    const item = this.#dress(({ stat }) => stat.isFile() || stat.isDirectory());
    if (item === undefined) return undefined;
    const user = this.#can.root ? this.#random.below(1000) : (process.getuid?.() ?? 0);
    const change = this.#random.pick([
      `-m u:${user}:rwx`,
      ...(this.#can.root ? [`-m g:${user}:r--`] : []), // In a user namespace only a mapped group may be named.
      ...(output('getfacl -p -s --', item.path) === '' ? [] : ['-b']),
      ...(item.stat.isDirectory() ? [`-d -m u:${user}:rx`] : []),
    ]);
    if (!tryTool(`setfacl ${change} --`, item.path)) return undefined; // No room for it.
    return `setfacl ${change} ${this.#name(item.path)}`;
  }

  #capability(): string | undefined {
    const item = this.#dress(({ stat }) => stat.isFile());
    if (item === undefined) return undefined;
    const change = this.#random.pick(['cap_net_raw+ep', 'cap_net_bind_service,cap_sys_time=eip', '-r']);
    if (!tryTool(`setcap ${change}`, item.path)) return undefined; // It has none to remove.
    return `setcap ${change} ${this.#name(item.path)}`;
  }

  #flag(): string | undefined {
    if (this.#sealed.size > 0 && this.#random.chance(0.6)) return this.#unseal();
    const item = this.#dress(({ stat }) => stat.isFile() || (stat.isDirectory() && stat.nlink === 2));
    if (item === undefined) return undefined;
    const letter = this.#random.pick(['i', 'a', 'd', 'S', 'A']);
    const [has = ''] = output('lsattr -d', item.path).split(' ', 1);
    const flag = `${has.includes(letter) ? '-' : '+'}${letter}`;
    tool(`chattr ${flag}`, item.path);
    if (flag === '+i' || flag === '+a') {
      this.#sealed.add(item.stat.ino);
      // Nothing in a sealed folder can be renamed or removed.
      if (item.stat.isDirectory()) this.#sealBelow(item.path);
    }
    return `chattr ${flag} ${this.#name(item.path)}`;
  }

  #sealBelow(folder: Buffer): void {
    for (const { path, stat } of listItems(this.#root)) if (isBelow(path, folder)) this.#sealed.add(stat.ino);
  }

  #unseal(): string {
    for (const { path, stat } of listItems(this.#root)) {
      if (!this.#sealed.has(stat.ino) || !(stat.isFile() || stat.isDirectory())) continue;
      this.#dressed.add(stat.ino);
      tool('chattr -ia', path);
    }
    this.#sealed.clear();
    return 'chattr -ia all that had it';
  }

  #folderTime(): string | undefined {
    const item = this.#dress(({ stat }) => stat.isDirectory());
    return item && `time of folder ${this.#name(item.path)}: ${this.#anyTime(item.path)}`;
  }

  // ---- Touching --------------------------------------------------------------------------------------

  #rewriteSame(): string | undefined {
    const item = this.#file();
    if (item === undefined) return undefined;
    const descriptor = openSync(item.path, 'r+');
    const content = readFileSync(item.path);
    if (content.length > 0) writeSync(descriptor, content.subarray(0, 1), 0, 1, 0);
    closeSync(descriptor);
    return `rewrite ${this.#name(item.path)} as it was`;
  }

  /** To the past or the future, as a clock that was set wrong leaves it. */
  #newTime(): string | undefined {
    const item = this.#pick(({ stat }) => !this.#forged.has(stat.ino));
    return item && `time of ${this.#name(item.path)}: ${this.#anyTime(item.path)}`;
  }

  #anyTime(path: Buffer): string {
    const seconds = this.#random.chance(0.5)
      ? this.#random.pick(SECONDS)
      : 1_500_000_000 + this.#random.below(2 * 10 ** 8);
    const nanoseconds = this.#random.below(10 ** 9);
    setTime(path, seconds, nanoseconds);
    return `${seconds} s ${nanoseconds} ns`;
  }

  // ---- Content ---------------------------------------------------------------------------------------

  #rewrite(): string | undefined {
    const item = this.#file();
    if (item === undefined) return undefined;
    const content = this.#content();
    writeFileSync(item.path, content);
    return `write ${content.length} bytes to ${this.#name(item.path)}`;
  }

  /** As editors save: a new file takes the name. */
  #replaceFile(): string | undefined {
    const item = this.#file();
    if (item === undefined) return undefined;
    const aside = this.#place();
    writeFileSync(aside, this.#content());
    renameSync(aside, item.path);
    return `replace ${this.#name(item.path)} by a new file`;
  }

  #overwrite(): string | undefined {
    const item = this.#file(({ stat }) => stat.size > 0);
    if (item === undefined) return undefined;
    const at = this.#random.below(item.stat.size);
    const piece = this.#random.bytes(1 + this.#random.below(Math.min(item.stat.size - at, 5000)));
    this.#writeAt(item.path, at, piece);
    return `overwrite ${piece.length} bytes of ${this.#name(item.path)} at ${at}`;
  }

  #writeAt(path: Buffer, at: number, bytes: Uint8Array): void {
    const descriptor = openSync(path, 'r+');
    try {
      writeSync(descriptor, bytes, 0, bytes.length, at);
    } finally {
      closeSync(descriptor);
    }
  }

  #shrink(): string | undefined {
    const item = this.#file(({ stat }) => stat.size > 0);
    if (item === undefined) return undefined;
    const size = this.#random.below(item.stat.size);
    truncateSync(item.path, size);
    return `truncate ${this.#name(item.path)} to ${size}`;
  }

  #grow(): string | undefined {
    const item = this.#file(({ stat }) => stat.size < 2 ** 22);
    if (item === undefined) return undefined;
    const size = item.stat.size + 1 + this.#random.below(500 * KiB);
    truncateSync(item.path, size);
    return `grow ${this.#name(item.path)} to ${size} by a hole`;
  }

  #append(): string | undefined {
    const item = this.#file();
    if (item === undefined) return undefined;
    const content = this.#content();
    appendFileSync(item.path, content);
    return `append ${content.length} bytes to ${this.#name(item.path)}`;
  }

  /** Other bytes of the same size, and the time set back: only the ctime tells. */
  #forge(): string | undefined {
    const item = this.#file(({ stat }) => stat.size > 0 && !this.#dressed.has(stat.ino));
    if (item === undefined) return undefined;
    this.#forged.add(item.stat.ino);
    const { mtimeNs } = lstatSync(item.path, { bigint: true });
    const at = this.#random.below(item.stat.size);
    const byte = readFileSync(item.path)[at] ?? 0;
    this.#writeAt(item.path, at, Uint8Array.of(byte ^ 1));
    const seconds = BigInt.asIntN(64, (mtimeNs - (((mtimeNs % NANO) + NANO) % NANO)) / NANO);
    setTime(item.path, Number(seconds), Number(mtimeNs - seconds * NANO));
    return `change byte ${at} of ${this.#name(item.path)} and set its time back`;
  }

  #sparseWrite(): string | undefined {
    const item = this.#file(({ stat }) => stat.size < 2 ** 23);
    if (item === undefined) return undefined;
    const at = item.stat.size + this.#random.below(4 * 2 ** 20);
    this.#writeAt(item.path, at, this.#random.bytes(1 + this.#random.below(9000)));
    return `write beyond the end of ${this.#name(item.path)}, at ${at}`;
  }

  #punch(): string | undefined {
    const item = this.#file(({ stat }) => stat.size > 8 * KiB);
    if (item === undefined) return undefined;
    const at = this.#random.below(item.stat.size);
    const length = 1 + this.#random.below(item.stat.size - at);
    tool(`fallocate -p -o ${at} -l ${length}`, item.path);
    return `punch ${length} bytes at ${at} out of ${this.#name(item.path)}`;
  }

  #zeros(): string | undefined {
    const item = this.#file(({ stat }) => stat.size < 2 ** 22);
    if (item === undefined) return undefined;
    const at = this.#random.below(item.stat.size + 1);
    const length = 1 + this.#random.below(200 * KiB);
    this.#writeAt(item.path, at, Buffer.alloc(length));
    return `write ${length} zeros to ${this.#name(item.path)} at ${at}`;
  }

  /** Blocks without content, which read as zeros. */
  #allocate(): string | undefined {
    const item = this.#file(({ stat }) => stat.size < 2 ** 22);
    if (item === undefined) return undefined;
    const length = 1 + this.#random.below(300 * KiB);
    tool(`fallocate -o ${item.stat.size} -l ${length}`, item.path);
    return `allocate ${length} bytes at the end of ${this.#name(item.path)}`;
  }

  #copy(): string | undefined {
    const item = this.#file();
    if (item === undefined) return undefined;
    const to = this.#place();
    writeFileSync(to, readFileSync(item.path));
    return `copy ${this.#name(item.path)} to ${this.#name(to)}`;
  }

  // ---- Structure -------------------------------------------------------------------------------------

  #create(): string | undefined {
    if (this.#items().length > MANY) return this.#remove();
    return this.#createAt(this.#place());
  }

  #createAt(path: Buffer): string {
    const kinds = [
      'file',
      'file',
      'file',
      'folder',
      'folder',
      'symlink',
      'long symlink',
      'sparse',
      'fifo',
      'socket',
    ];
    const kind = this.#random.pick(this.#can.root ? [...kinds, 'device'] : kinds);
    const at =
      kind === 'socket' && !isSocketName(path) ? Buffer.concat([path, Buffer.from(SOCKET_SUFFIX)]) : path;
    if (at !== path && (nameLength(at) > 255 || lstatSync(at, { throwIfNoEntry: false }) !== undefined)) {
      mkdirSync(path);
      return `new folder ${this.#name(path)}`;
    }
    this.#make(kind, at);
    return `new ${kind} ${this.#name(at)}`;
  }

  #make(kind: string, path: Buffer): void {
    switch (kind) {
      case 'file':
        writeFileSync(path, this.#content(), { flag: 'wx' });
        return;
      case 'folder':
        mkdirSync(path);
        return;
      case 'symlink':
        symlinkSync(this.#random.pick(['nowhere', '..', '/etc/passwd', 'new\nline', '\u00ff']), path);
        return;
      case 'long symlink':
        symlinkSync(Buffer.alloc(this.#can.longestTarget, this.#random.pick(['x', 'y/', '../'])), path);
        return;
      case 'sparse': {
        const descriptor = openSync(path, 'wx');
        ftruncateSync(descriptor, this.#random.below(6 * 2 ** 20));
        closeSync(descriptor);
        return;
      }
      case 'fifo':
        tool('mkfifo --', path);
        return;
      case 'device': {
        const [type, major, minor] = [
          this.#random.pick(['b', 'c']),
          this.#random.below(512),
          this.#random.below(2 ** 18),
        ];
        tool(`set -- ${type} ${major} ${minor}; mk() { mknod "$4" "$1" "$2" "$3"; }; mk "$@"`, path);
        return;
      }
      case 'socket': {
        const root = openDirectory(this.#root.toString());
        makeNodeAt(root, `new${SOCKET_SUFFIX}` as ByteString, S_IFSOCK | 0o755, 0, 0);
        close(root);
        renameSync(below(this.#root, `new${SOCKET_SUFFIX}`), path);
      }
    }
  }

  #remove(): string | undefined {
    if (this.#items().length < FEW) return undefined;
    const item = this.#pick(({ stat }) => !stat.isDirectory());
    if (item === undefined) return undefined;
    unlinkSync(item.path);
    return `remove ${this.#name(item.path)}`;
  }

  /** A folder of which at most some entries would go, and nothing that is sealed. */
  #expendable(): Item | undefined {
    const all = listItems(this.#root);
    return this.#pick(({ path, stat }) => {
      if (!stat.isDirectory()) return false;
      const inside = all.filter((item) => isBelow(item.path, path));
      return inside.length < 30 && !inside.some((item) => this.#sealed.has(item.stat.ino));
    });
  }

  #removeFolder(): string | undefined {
    const item = this.#items().length < FEW ? undefined : this.#expendable();
    if (item === undefined) return undefined;
    rmSync(item.path, { recursive: true });
    return `remove folder ${this.#name(item.path)} and all below`;
  }

  #renewFolder(): string | undefined {
    const item = this.#expendable();
    if (item === undefined) return undefined;
    rmSync(item.path, { recursive: true });
    mkdirSync(item.path);
    return `empty folder ${this.#name(item.path)} by making it anew`;
  }

  #changeType(): string | undefined {
    const item = this.#pick(({ stat, path }) => !stat.isDirectory() && !isSocketName(path));
    if (item === undefined) return undefined;
    unlinkSync(item.path);
    return `in place of ${this.#name(item.path)}: ${this.#createAt(item.path)}`;
  }

  #huge(): string {
    const folder = below(this.#root, HUGE_FOLDER);
    if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) {
      mkdirSync(folder);
      for (let i = 0; i < 400; i++)
        writeFileSync(below(folder, `entry-${i}`), i % 10 === 0 ? `text ${i}` : '');
      return 'make the huge folder';
    }
    const first = this.#random.below(400);
    for (let i = first; i < first + 40; i++) {
      const path = below(folder, `entry-${i}`);
      if (lstatSync(path, { throwIfNoEntry: false }) === undefined) writeFileSync(path, `again ${i}`);
      else unlinkSync(path);
    }
    return `remove or make entries ${first} to ${first + 39} of the huge folder`;
  }

  // ---- Hard links ------------------------------------------------------------------------------------

  #addLink(): string | undefined {
    const item = this.#pick(({ stat }) => !stat.isDirectory() && !stat.isSocket());
    if (item === undefined) return undefined;
    const to = this.#place();
    linkSync(item.path, to);
    return `link ${this.#name(item.path)} as ${this.#name(to)}`;
  }

  #removeLink(): string | undefined {
    const item = this.#pick(({ stat }) => !stat.isDirectory() && stat.nlink > 1);
    if (item === undefined) return undefined;
    unlinkSync(item.path);
    return `remove the link ${this.#name(item.path)}`;
  }

  /** All names of one file become those of a new one. */
  #replaceLinks(): string | undefined {
    const item = this.#file(({ stat }) => stat.nlink > 1);
    if (item === undefined) return undefined;
    const [first, ...rest] = this.#items(({ stat }) => stat.ino === item.stat.ino);
    if (first === undefined) return undefined;
    for (const { path } of [first, ...rest]) unlinkSync(path);
    writeFileSync(first.path, this.#content());
    for (const { path } of rest) linkSync(first.path, path);
    return `a new file for the ${rest.length + 1} names of ${this.#name(item.path)}`;
  }
}

const NANO = 1_000_000_000n;
const S_IFSOCK = 0o140000;

function nameLength(path: Buffer): number {
  return path.length - path.lastIndexOf('/') - 1;
}

/** True if its owner may read and write it, and enter a directory. */
function isOpenToOwner(stat: Stats): boolean {
  const wanted = stat.isDirectory() ? 0o700 : 0o600;
  return stat.isSymbolicLink() || (stat.mode & wanted) === wanted;
}

/** Only its owner may set attributes of a sticky directory, whatever its mode. */
function isSticky(mode: number): boolean {
  return (mode & 0o1000) !== 0;
}
