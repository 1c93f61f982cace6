/**
 * Loaded first into a process under test (program.ts): numbers its steps, which are all that another process, the next run or the disk can
 * see of it, and ends it at one of them as SIGKILL does: nothing is flushed, closed or tidied up. Steps are what changes a file system (by
 * node:fs, or in a disposable by libc), frames sent and received, and children started. Reads are none, nor are pings and credit, which
 * depend on the time: so the same run has the same steps.
 *
 * The product knows nothing of this: what it imports of Node.js and koffi is exchanged before it is loaded.
 */

import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { DEATH_FILE, DIVISIBLE, STEPS_FOLDER } from './plan.ts';
import type { Death, ProcessName, When } from './plan.ts';

type Call = (this: unknown, ...args: unknown[]) => unknown;
type Table = Record<string, Call | undefined>;

const entry = process.argv[1] ?? '';
const role = basename(dirname(entry));
const program = join(dirname(entry), '..', '..');
const { writeSync, openSync, readFileSync } = fs;

/** The first of its name has the number 1, the next 2: who makes the file has it. */
function claimName(): { readonly name: ProcessName; readonly record: number } {
  for (let number = 1; ; number++) {
    const name: ProcessName = `${basename(entry, '.ts')}#${number}`;
    try {
      return { name, record: openSync(join(program, STEPS_FOLDER, name), 'ax') };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
  }
}

const { name, record } = claimName();
const planned = JSON.parse(readFileSync(join(program, DEATH_FILE), 'utf8')) as Death | null;
const death = planned?.process === name ? planned : undefined;
let taken = 0;

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('survived SIGKILL');
}

/** Notes a step; answers when to die at it, if at all. */
function begin(kind: string, half?: () => void): When | undefined {
  taken += 1;
  writeSync(record, `${kind}${half === undefined ? '' : DIVISIBLE}\n`);
  if (death?.step !== taken) return undefined;
  if (death.when === 'halfway') half?.();
  if (death.when !== 'after') die();
  return death.when;
}

/** Does what is a step and answers at once, or by a promise. */
function take(kind: string, work: () => unknown, half?: () => void): unknown {
  const last = begin(kind, half) !== undefined;
  const result = work();
  if (!last) return result;
  if (result instanceof Promise) return result.finally(die);
  return die();
}

/** The same of what calls back. */
function takeCalling(kind: string, work: (args: unknown[]) => unknown, args: unknown[], half?: () => void) {
  const last = begin(kind, half) !== undefined;
  return work(last ? args.map((arg) => (typeof arg === 'function' ? die : arg)) : args);
}

/** `made`, with what else `original` is: promisify() looks there. */
function like(original: Call, made: Call): Call {
  Object.defineProperties(made, Object.getOwnPropertyDescriptors(original));
  return made;
}

/** What writes to a file, and what changes folders or is a promise to the disk. */
const WRITES = ['write', 'writev', 'writeFile', 'appendFile'];
const CHANGES = [
  ...['rename', 'link', 'symlink', 'unlink', 'rm', 'rmdir', 'mkdir', 'mkdtemp', 'copyFile', 'cp'],
  ...['fsync', 'fdatasync', 'sync', 'datasync', 'truncate', 'ftruncate'],
  ...['chmod', 'fchmod', 'chown', 'fchown', 'lchown', 'utimes', 'futimes', 'lutimes'],
];

const creates = (flags: unknown): boolean =>
  typeof flags === 'number' ? (flags & fs.constants.O_CREAT) !== 0 : /[wa]/.test(String(flags));

/** Whether a call that writes goes to a file, and not to what the caller of a service, or a person, sees. */
const toFile = (file: unknown): boolean => typeof file !== 'number' || file > 2;

/** Writes the first half of what `args`, from the descriptor on, would write whole. */
function halfOf(args: readonly unknown[]): (() => void) | undefined {
  const [file, data, ...rest] = args;
  if (typeof file !== 'number') return undefined;
  if (Array.isArray(data)) {
    const [position] = rest;
    const whole = Buffer.concat(data as Uint8Array[]);
    const half = whole.subarray(0, whole.length >> 1);
    return () => void writeSync(file, half, 0, half.length, typeof position === 'number' ? position : null);
  }
  if (typeof data === 'string') return () => void writeSync(file, data.slice(0, data.length >> 1));
  if (!(data instanceof Uint8Array)) return undefined;
  const [offset, length, position] = rest;
  const start = typeof offset === 'number' ? offset : 0;
  const count = typeof length === 'number' ? length : data.length - start;
  return () => void writeSync(file, data, start, count >> 1, typeof position === 'number' ? position : null);
}

function exchangeFiles(): void {
  const now = fs as unknown as Table;
  const later = fs.promises as unknown as Table;
  const exchange = (table: Table, own: string, kind: string, calling: boolean, writes: boolean) => {
    const original = table[own];
    if (original === undefined) return;
    table[own] = like(original, function (this: unknown, ...args) {
      const isStep = kind === 'open' ? creates(args[1]) : toFile(args[0]);
      if (!isStep) return original.apply(this, args);
      const half = writes ? halfOf(args) : undefined;
      return calling
        ? takeCalling(kind, (changed) => original.apply(this, changed), args, half)
        : take(kind, () => original.apply(this, args), half);
    });
  };
  for (const kind of [...WRITES, ...CHANGES, 'open']) {
    const writes = WRITES.includes(kind);
    exchange(now, `${kind}Sync`, kind, false, writes);
    exchange(now, kind, kind, true, writes);
    exchange(later, kind, kind, false, false);
  }
}

/** Those of an open file are methods of a class that has no name. */
async function exchangeHandles(): Promise<void> {
  const handle = await fs.promises.open('/dev/null');
  const methods = Object.getPrototypeOf(handle) as Table;
  await handle.close();
  for (const kind of [...WRITES, ...CHANGES]) {
    const original = methods[kind];
    if (original === undefined) continue;
    const writes = WRITES.includes(kind);
    methods[kind] = like(original, function (this: unknown, ...args) {
      const half = writes ? halfOf([(this as fs.promises.FileHandle).fd, ...args]) : undefined;
      return take(kind, () => original.apply(this, args), half);
    });
  }
}

function exchangeChildren(): void {
  const table = childProcess as unknown as Table;
  for (const kind of ['spawn', 'execFile', 'spawnSync', 'execFileSync']) {
    const original = table[kind]! as Call & { [promisify.custom]?: Call };
    const made: Call & { [promisify.custom]?: Call } = (...args) => take('start', () => original(...args));
    const promised = original[promisify.custom];
    if (promised !== undefined) made[promisify.custom] = (...args) => take('start', () => promised(...args));
    table[kind] = made;
  }
}

/** After the file system: the module reads it. */
async function exchangeFrames(): Promise<void> {
  const { Session } = await import('../../shared/wire/session.ts');
  const methods = Session.prototype as unknown as Table;
  for (const kind of ['send', 'receive', 'finish', 'sendError']) {
    const original = methods[kind]!;
    methods[kind] = function (this: unknown, ...args) {
      return take(kind === 'send' ? `send ${String(args[0])}` : kind, () => original.apply(this, args));
    };
  }
}

const LIBC =
  /\b(mkdirat|symlinkat|linkat|mknodat|fchown|fchownat|fchmodat|utimensat|renameat|unlinkat|lsetxattr|lremovexattr|openat)\(/;
const O_CREAT = 0o100;

/** Of a disposable, which alone has it. */
async function exchangeLibc(): Promise<void> {
  const { default: koffi } = await import('koffi');
  const load = koffi.load.bind(koffi);
  const exchanged = (path: string | null) => {
    const library = load(path);
    const bind = library.func.bind(library) as unknown as (signature: string) => Call;
    const func = (signature: string): Call => {
      const original = bind(signature);
      const kind = LIBC.exec(signature)?.[1];
      if (kind === undefined) return original;
      return (...args) => {
        const isStep = kind !== 'openat' || (Number(args[2]) & O_CREAT) !== 0;
        return isStep ? take(kind, () => original(...args)) : original(...args);
      };
    };
    return new Proxy(library, {
      get: (target, key): unknown => (key === 'func' ? func : Reflect.get(target, key)),
    });
  };
  Object.defineProperty(koffi, 'load', { value: exchanged });
}

exchangeFiles();
await exchangeHandles();
exchangeChildren();
syncBuiltinESMExports();
await exchangeFrames();
if (role === 'dvm') await exchangeLibc();
