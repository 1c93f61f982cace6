/**
 * What a service really asked of the disk, by strace(1), and what a power cut may leave of it. A file's content is kept if the
 * file was synced after it was written; a name, if its folder was synced after it was made. Everything else may be kept or lost,
 * each by itself: the kernel writes in any order.
 */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** One call that changed something below the traced folder, or wrote to stdout. Paths are relative to that folder. */
export type DiskCall =
  | { readonly what: 'create' | 'mkdir' | 'unlink' | 'sync'; readonly path: string }
  | { readonly what: 'write'; readonly path: string; readonly bytes: Buffer; readonly at: number | undefined }
  | { readonly what: 'truncate'; readonly path: string; readonly size: number }
  | { readonly what: 'link' | 'rename'; readonly path: string; readonly from: string }
  | { readonly what: 'say'; readonly bytes: Buffer; readonly stream: string };

/** What strace is to record. One file a thread, so that no line is cut in two. */
export const STRACE = [
  'strace',
  '-ff',
  '-ttt',
  '-T',
  '-y',
  '-xx',
  '--string-limit=4000000', // More than is written at a time.
  '--trace=openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate',
];

const LINE = /^(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)(?:<[^>]*>)?.* <(\d+\.\d+)>$/;

/** The calls in the files `prefix`*, in the order in which they ended. */
export function readTrace(prefix: string, folder: string): DiskCall[] {
  const timed: { readonly end: number; readonly call: DiskCall }[] = [];
  for (const name of readdirSync(dirname(prefix)).filter((each) =>
    join(dirname(prefix), each).startsWith(prefix),
  ))
    for (const line of readFileSync(join(dirname(prefix), name), 'latin1').split('\n')) {
      const [, start, call = '', args = '', result = '-1', took] = LINE.exec(line) ?? [];
      const parsed = Number(result) < 0 ? undefined : parse(call, args, folder);
      if (parsed !== undefined) timed.push({ end: Number(start) + Number(took), call: parsed });
    }
  const calls = timed.sort((a, b) => a.end - b.end).map(({ call }) => call);
  const stdout = calls.find(({ what }) => what === 'say'); // A child of the service has another.
  return calls.filter(
    (call) => call.what !== 'say' || stdout?.what !== 'say' || call.stream === stdout.stream,
  );
}

function parse(call: string, args: string, folder: string): DiskCall | undefined {
  const strings = [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = '']) => unhex(hex));
  const within = (path: string | undefined) =>
    path === folder || path?.startsWith(`${folder}/`) === true ? path.slice(folder.length + 1) : undefined;
  const [first, second] = strings.map((bytes) => within(bytes.toString('latin1')));
  const opened = /^(\d+)<([^>]*)>/.exec(args);
  const shown = opened?.[2] ?? '';
  const file = within(shown.startsWith('\\x') ? unhex(shown).toString('latin1') : shown);
  if (call.startsWith('open'))
    return first !== undefined && args.includes('O_CREAT') ? { what: 'create', path: first } : undefined;
  if (call.startsWith('mkdir')) return first === undefined ? undefined : { what: 'mkdir', path: first };
  if (call.startsWith('unlink')) return first === undefined ? undefined : { what: 'unlink', path: first };
  if (call.startsWith('rename') || call.startsWith('link')) {
    if (first === undefined || second === undefined) return undefined;
    return { what: call.startsWith('link') ? 'link' : 'rename', path: second, from: first };
  }
  if (call === 'fsync' || call === 'fdatasync')
    return file === undefined ? undefined : { what: 'sync', path: file };
  if (opened?.[1] === '1') return { what: 'say', bytes: Buffer.concat(strings), stream: shown };
  if (call === 'ftruncate')
    return file === undefined ? undefined : { what: 'truncate', path: file, size: lastNumber(args) };
  const at = call.startsWith('pwrite') ? lastNumber(args) : undefined;
  return file === undefined ? undefined : { what: 'write', path: file, bytes: Buffer.concat(strings), at };
}

function lastNumber(args: string): number {
  return Number(/(\d+)$/.exec(args)?.[1]);
}

function unhex(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex');
}

interface Inode {
  readonly isFolder: boolean;
  now: Buffer;
  kept: Buffer;
}

/** A name that was made, moved or removed, and may not be on the disk yet. */
interface Change {
  readonly folder: string;
  apply(names: Map<string, Inode>): void;
}

/** A disk that forgets what it was not told to keep. */
export class Disk {
  readonly #names = new Map<string, Inode>();
  #kept = new Map<string, Inode>();
  #pending: Change[] = [];

  do(call: DiskCall): void {
    if (call.what === 'say') return;
    if (call.what === 'sync') this.#sync(call.path);
    else if (call.what === 'write') this.#write(call.path, call.bytes, call.at);
    else if (call.what === 'truncate') this.#truncate(call.path, call.size);
    else if (call.what === 'create' && this.#names.has(call.path)) return;
    else this.#change(this.#changeOf(call));
  }

  /** Every state that a power cut now may leave: with none of what is pending, all, only one, all but one; unsynced content lost or not. */
  states(): Map<string, Buffer | undefined>[] {
    const all = this.#pending;
    const choices: readonly (readonly Change[])[] = [
      [],
      all,
      ...all.map((one) => [one]),
      ...all.map((one) => all.filter((other) => other !== one)),
    ];
    return choices.flatMap((changes) =>
      [true, false].map((written) => {
        const names = new Map(this.#kept);
        for (const change of changes) change.apply(names);
        return contentOf(names, written);
      }),
    );
  }

  #changeOf(call: Exclude<DiskCall, { what: 'say' | 'sync' | 'write' | 'truncate' }>): Change {
    const folder = dirname(call.path);
    const { path } = call;
    if (call.what === 'unlink') return { folder, apply: (names) => void names.delete(path) };
    if (call.what === 'link' || call.what === 'rename') {
      const { from, what } = call;
      const inode = this.#inode(from);
      return {
        folder,
        apply: (names) => {
          if (what === 'rename') names.delete(from);
          names.set(path, inode);
        },
      };
    }
    const inode = { isFolder: call.what === 'mkdir', now: Buffer.alloc(0), kept: Buffer.alloc(0) };
    return { folder, apply: (names) => void names.set(path, inode) };
  }

  #change(change: Change): void {
    change.apply(this.#names);
    this.#pending.push(change);
  }

  #write(path: string, bytes: Buffer, at: number | undefined): void {
    const inode = this.#inode(path);
    const from = at ?? inode.now.length;
    const grown = Buffer.alloc(Math.max(inode.now.length, from + bytes.length));
    inode.now.copy(grown);
    bytes.copy(grown, from);
    inode.now = grown;
  }

  #truncate(path: string, size: number): void {
    const inode = this.#inode(path);
    const cut = Buffer.alloc(size);
    inode.now.copy(cut);
    inode.now = cut;
  }

  #sync(path: string): void {
    const inode = path === '' ? undefined : this.#names.get(path);
    if (inode?.isFolder === false) {
      inode.kept = inode.now;
      return;
    }
    for (const change of this.#pending)
      if (change.folder === (path === '' ? '.' : path)) change.apply(this.#kept);
    this.#pending = this.#pending.filter((change) => change.folder !== (path === '' ? '.' : path));
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw new Error(`nothing has the name ${path}`);
    return inode;
  }
}

/** Files with their content and folders (undefined), of those that can be reached. */
function contentOf(names: ReadonlyMap<string, Inode>, written: boolean): Map<string, Buffer | undefined> {
  const found = new Map<string, Buffer | undefined>();
  for (const path of [...names.keys()].sort()) {
    const inode = names.get(path);
    const above = dirname(path);
    if (inode === undefined || (above !== '.' && !found.has(above))) continue;
    found.set(path, inode.isFolder ? undefined : written ? inode.now : inode.kept);
  }
  return found;
}

/** Writes a state into the empty folder `folder`. */
export function materialise(state: ReadonlyMap<string, Buffer | undefined>, folder: string): void {
  for (const [path, content] of state)
    if (content === undefined) mkdirSync(join(folder, path), { mode: 0o700 });
    else writeFileSync(join(folder, path), content);
}
