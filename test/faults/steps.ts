/**
 * Loaded first into a process under test (program.ts): numbers its steps, which are all that another process, the next run or the disk can
 * see of it, and ends it at one of them as SIGKILL does: nothing is flushed, closed or tidied up; or lets one of them fail. Steps are what changes a file system (by
 * node:fs, or in a disposable by libc), frames sent and received, and children started. Reads are none, nor are pings and credit, which
 * depend on the time: so the same run has the same steps.
 *
 * The product knows nothing of this: what it imports of Node.js and koffi is exchanged before it is loaded.
 */

import './surroundings.ts';
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { clockOf } from './around.ts';
import {
  CLOCK_FILE,
  DIVISIBLE,
  FAULT_FILE,
  GONE_FILE,
  MEANWHILE_FILE,
  NUMBERS_FOLDER,
  STEPS_FOLDER,
  SURROUNDINGS_FILE,
  isCondition,
  isDeath,
  isEvent,
} from './plan.ts';
import type { Event, Failure, Fault, ProcessName, Surroundings } from './plan.ts';

type Call = (this: unknown, ...args: unknown[]) => unknown;
type Table = Record<string, Call | undefined>;

const entry = process.argv[1] ?? '';
const role = basename(dirname(entry));
const program = join(dirname(entry), '..', '..');
const {
  writeSync,
  openSync,
  readFileSync,
  writeFileSync,
  readdirSync,
  existsSync,
  fstatSync,
  ftruncateSync,
} = fs;
const { spawnSync } = childProcess;

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
const numbers = join(program, NUMBERS_FOLDER);
if (existsSync(numbers)) writeFileSync(join(numbers, `${role} ${name}`), String(process.pid));
const planned = JSON.parse(readFileSync(join(program, FAULT_FILE), 'utf8')) as Fault | null;
const fault = planned?.process === name ? planned : undefined;
let taken = 0;

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('survived SIGKILL');
}

/** What is done at the step by who is not the process. What is left to do is with the step itself. */
function happen(event: Event): 'stuck' | 'sent-twice' | 'sent-never' | undefined {
  switch (event) {
    case 'clock-back':
    case 'clock-forward':
      writeFileSync(join(program, CLOCK_FILE), String(clockOf(event)));
      return undefined;
    case 'same-state':
    case 'second-machine':
    case 'another-vm':
      meanwhile();
      return undefined;
    case 'stopped':
      process.kill(process.pid, 'SIGSTOP');
      return undefined;
    case 'restarted':
    case 'gone':
      if (event === 'gone') writeFileSync(join(program, GONE_FILE), '');
      for (const file of readdirSync(numbers).filter((one) => one.startsWith('storagevm ')))
        if (file !== `${role} ${name}`) end(Number(readFileSync(join(numbers, file), 'utf8')));
      return die();
    default:
      return event;
  }
}

/** Another command, from its beginning to its end. */
function meanwhile(): void {
  const { meanwhile: [command = '', ...args] = [] } = JSON.parse(
    readFileSync(join(program, SURROUNDINGS_FILE), 'utf8'),
  ) as Surroundings;
  const { status, stderr } = spawnSync(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  writeFileSync(join(program, MEANWHILE_FILE), JSON.stringify({ code: status, stderr }));
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It had ended.
  }
}

/** What the step has beside the doing of it. */
interface Way {
  /** Writes half of what it would write; answers how many bytes that is. */
  readonly half?: (() => number) | undefined;
  /** Beside a failure: what was written and not on the disk yet is lost, as the kernel drops it then. */
  readonly lose?: (() => void) | undefined;
  /** How it fails, if it may; `short` is the answer of a write of so many bytes. */
  readonly failed?: (error: Error | undefined, short: number) => unknown;
}

/** Notes a step, and dies at it if that is planned. Answers what else is to be done at it, if anything. */
function begin(kind: string, { half }: Way): 'die after' | Failure | ReturnType<typeof happen> {
  taken += 1;
  writeSync(record, `${kind}${half === undefined ? '' : DIVISIBLE}\n`);
  if (fault?.step !== taken || isCondition(fault.how)) return undefined;
  if (isEvent(fault.how)) return happen(fault.how);
  if (!isDeath(fault.how)) return fault.how;
  if (fault.how === 'halfway') half?.();
  if (fault.how !== 'after') die();
  return 'die after';
}

/** What a step that fails answers instead. Of a kind that cannot fail so, in a run of a few steps more or less, nothing fails. */
function fail(
  kind: string,
  how: Failure,
  { half, failed, lose }: Way,
): { readonly answer: unknown } | undefined {
  if (failed === undefined || (how === 'short' && half === undefined)) return undefined;
  if (how === 'short') return { answer: failed(undefined, half?.() ?? 0) };
  lose?.();
  const number = -constants.errno[how];
  const error = Object.assign(new Error(`${how}: planned, ${kind}`), {
    code: how,
    errno: number,
    syscall: kind,
  });
  return { answer: failed(error, 0) };
}

/** Does what is a step and answers at once, or by a promise. */
function take(kind: string, work: () => unknown, way: Way = {}): unknown {
  const then = begin(kind, way);
  if (then === undefined) return work();
  if (then === 'stuck') return new Promise(() => undefined);
  if (then === 'sent-never') return Promise.resolve();
  if (then === 'sent-twice') return Promise.all([work(), work()]).then(([first]) => first);
  if (then !== 'die after') {
    const failure = fail(kind, then, way);
    return failure === undefined ? work() : failure.answer;
  }
  const result = work();
  if (result instanceof Promise) return result.finally(die);
  return die();
}

/** The same of what calls back. */
function takeCalling(kind: string, work: (args: unknown[]) => unknown, args: unknown[], way: Way) {
  const back = args.findLast((arg) => typeof arg === 'function') as Call | undefined;
  const failed = (error: Error | undefined, short: number) =>
    void setImmediate(() => back?.(error ?? null, short, args[1]));
  const then = begin(kind, way);
  if (then === 'stuck') return undefined;
  if (then === undefined || then === 'sent-never' || then === 'sent-twice') return work(args);
  if (then === 'die after') return work(args.map((arg) => (arg === back ? die : arg)));
  return fail(kind, then, { ...way, failed }) === undefined ? work(args) : undefined;
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
function halfOf(args: readonly unknown[]): (() => number) | undefined {
  const [file, data, ...rest] = args;
  if (typeof file !== 'number') return undefined;
  if (Array.isArray(data)) {
    const [position] = rest;
    const whole = Buffer.concat(data as Uint8Array[]);
    const half = whole.subarray(0, whole.length >> 1);
    return () => writeSync(file, half, 0, half.length, typeof position === 'number' ? position : null);
  }
  if (typeof data === 'string') return () => writeSync(file, data.slice(0, data.length >> 1));
  if (!(data instanceof Uint8Array)) return undefined;
  const [offset, length, position] = rest;
  const start = typeof offset === 'number' ? offset : 0;
  const count = typeof length === 'number' ? length : data.length - start;
  return () => writeSync(file, data, start, count >> 1, typeof position === 'number' ? position : null);
}

const SYNCS = ['fsync', 'fdatasync', 'sync', 'datasync'];

/** Bytes that are on the disk of each file, by its inode, of those that this process writes. */
const durable = new Map<number, number>();

/** Before a step on an open file. Answers how what is not on the disk yet is lost, if the step is to put it there. */
function follow(kind: string, file: unknown): (() => void) | undefined {
  if (typeof file !== 'number' || !toFile(file)) return undefined;
  const { ino, size } = fstatSync(file);
  const before = durable.get(ino);
  if (WRITES.includes(kind)) durable.set(ino, before ?? size);
  if (!SYNCS.includes(kind) || before === undefined) return undefined;
  durable.set(ino, size);
  return () => ftruncateSync(file, Math.min(before, size));
}

type Answering = 'at once' | 'calls back' | 'by a promise';

function failedNow(error: Error | undefined, short: number): number {
  if (error !== undefined) throw error;
  return short;
}

const failedLater = (error: Error | undefined, short: number): Promise<{ bytesWritten: number }> =>
  error === undefined ? Promise.resolve({ bytesWritten: short }) : Promise.reject(error);

function exchangeFiles(): void {
  const now = fs as unknown as Table;
  const later = fs.promises as unknown as Table;
  const exchange = (table: Table, own: string, kind: string, way: Answering, writes: boolean) => {
    const original = table[own];
    if (original === undefined) return;
    table[own] = like(original, function (this: unknown, ...args) {
      const isStep = kind === 'open' ? creates(args[1]) : toFile(args[0]);
      if (!isStep) return original.apply(this, args);
      const half = writes ? halfOf(args) : undefined;
      const lose = follow(kind, args[0]);
      const work = (changed: unknown[]) => original.apply(this, changed);
      if (way === 'calls back') return takeCalling(kind, work, args, { half, lose });
      return take(kind, () => work(args), {
        half,
        lose,
        failed: way === 'at once' ? failedNow : failedLater,
      });
    });
  };
  for (const kind of [...WRITES, ...CHANGES, 'open']) {
    const writes = WRITES.includes(kind);
    exchange(now, `${kind}Sync`, kind, 'at once', writes);
    exchange(now, kind, kind, 'calls back', writes);
    exchange(later, kind, kind, 'by a promise', false);
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
      const { fd } = this as fs.promises.FileHandle;
      const half = writes ? halfOf([fd, ...args]) : undefined;
      return take(kind, () => original.apply(this, args), {
        half,
        lose: follow(kind, fd),
        failed: failedLater,
      });
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
