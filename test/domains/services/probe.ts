/**
 * A service that tells what it sees. Runs in a sandbox, from a program folder made by the tests; reads what to try
 * from stdin and writes one JSON object.
 */

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';

/** What the probe is asked to try. */
export interface Questions {
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** Where to make a device node of the kernel's memory device, and open it. */
  readonly device: readonly string[];
}

/** What it found. */
export interface Answers {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid: number;
  readonly groups: readonly number[];
  readonly hostname: string;
  readonly interfaces: readonly string[];
  readonly folders: Readonly<Record<string, readonly string[]>>;
  /** Capability sets, in hexadecimal. */
  readonly status: Readonly<Record<string, string>>;
  /** The same of the first process of the sandbox. */
  readonly initStatus: Readonly<Record<string, string>>;
  /** /proc/self/uid_map: inside, outside, count. */
  readonly userMap: string;
  /** Interfaces of /proc/net/dev. */
  readonly networkDevices: readonly string[];
  readonly processes: readonly string[];
  readonly descriptors: readonly string[];
  readonly coreLimit: string;
  /** Path: `ok` or the error's code. */
  readonly read: Readonly<Record<string, string>>;
  readonly write: Readonly<Record<string, string>>;
  readonly device: Readonly<Record<string, string>>;
}

function attempt(what: () => void): string {
  try {
    what();
    return 'ok';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'failed';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    return [error instanceof Error && 'code' in error ? String(error.code) : 'failed'];
  }
}

function procText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // No /proc in this sandbox.
  }
}

function attempts(paths: readonly string[], what: (path: string) => void): Record<string, string> {
  return Object.fromEntries(paths.map((path) => [path, attempt(() => what(path))]));
}

function readSomething(path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EISDIR')) throw error;
    readdirSync(path);
  }
}

const questions = JSON.parse(readFileSync(0, 'utf8')) as Questions;

function statusOf(pid: string): Record<string, string> {
  return Object.fromEntries(
    procText(`/proc/${pid}/status`)
      .split('\n')
      .map((line) => line.split(':\t'))
      .filter((parts): parts is [string, string] => parts.length === 2)
      .map(([name, value]) => [name, value.trim()]),
  );
}

const answers: Answers = {
  argv: process.argv,
  environment: process.env as Record<string, string>,
  cwd: process.cwd(),
  uid: process.getuid?.() ?? -1,
  groups: process.getgroups?.() ?? [],
  hostname: hostname(),
  interfaces: Object.keys(networkInterfaces()),
  folders: Object.fromEntries(
    ['/', '/dev', '/etc', '/sys', '/opt', '/opt/qubes-backup', '/home', '/mnt'].map((at) => [at, list(at)]),
  ),
  status: statusOf('self'),
  initStatus: statusOf('1'),
  userMap: procText('/proc/self/uid_map').trim().replace(/\s+/g, ' '),
  networkDevices: [...procText('/proc/net/dev').matchAll(/^\s*([^\s:]+):/gm)].map((match) => match[1] ?? ''),
  processes: list('/proc').filter((name) => /^\d+$/.test(name)),
  descriptors: list('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      return ''; // The listing's own descriptor.
    }
  }),
  coreLimit: /^Max core file size\s+(\S+\s+\S+)/m.exec(procText('/proc/self/limits'))?.[1] ?? '',
  read: attempts(questions.read, readSomething),
  write: attempts(questions.write, (path) => writeFileSync(path, 'written')),
  device: attempts(questions.device, (path) => {
    execFileSync('/usr/bin/mknod', [path, 'c', '1', '5'], { stdio: 'ignore' });
    closeSync(openSync(path, 'r'));
  }),
};
writeSync(1, JSON.stringify(answers));
