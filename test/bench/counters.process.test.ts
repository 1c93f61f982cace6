/**
 * What a backup costs, counted instead of timed: the same on any machine. Of two volumes of which one has more of one
 * kind, the difference is what that kind costs; start-up, which is alike, falls out. Who needs more than a ceiling changes it here,
 * and says why.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Home } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import { PROJECT, run } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

const FEW = 500;
const MANY = 2500;
const MiB = 1024 * 1024;
/**
 * Counted: 9.03, 1.06, 15.3, and 82 to 88 of which 64 are pieces of pipes, four for each 64 KiB that goes to dom0 and to the storage VM.
 * One call more for each file is above its ceiling; what a busy machine adds to a start is not.
 */
const CEILING = { first: 10, again: 1.6, restore: 16.2, mebibyte: 100 };

const traced = testNeeding(program('strace'));

traced('system calls for each small file: first backup, without changes, restore', async () => {
  const [few, many] = [await costs(FEW), await costs(MANY)];
  const perFile = (step: keyof typeof few) => (many[step] - few[step]) / (MANY - FEW);
  const counted = { first: perFile('first'), again: perFile('again'), restore: perFile('restore') };
  // All processes together; a file has a chunk of its own, and shares a pack with hundreds.
  expect(counted.first, JSON.stringify(counted)).toBeLessThan(CEILING.first);
  // One call asks for its metadata; the rest are its directory's.
  expect(counted.again, JSON.stringify(counted)).toBeLessThan(CEILING.again);
  expect(counted.restore, JSON.stringify(counted)).toBeLessThan(CEILING.restore);
});

traced('system calls for each MiB of content that does not compress', async () => {
  const of = async (size: number) => {
    const home = await prepared((folder) => {
      writeFileSync(join(folder, 'large'), randomBytes(size * MiB));
    });
    return calls(home, 'backup', 'work');
  };
  expect(((await of(48)) - (await of(16))) / 32).toBeLessThan(CEILING.mebibyte);
});

traced('objects and bytes of a backup without changes do not depend on the volume', async () => {
  const stored = async (files: number) => {
    const home = await prepared((folder) => fill(folder, files));
    await settle(home);
    const { storedObjects, storedBytes } = (await home.expectRun(0, 'backup', 'work')).event('backup');
    return { storedObjects, storedBytes };
  };
  const few = await stored(FEW);
  expect(few).toEqual(await stored(MANY));
  expect(few.storedBytes).toBeLessThan(64 * 1024);
});

/** Backs up until nothing is read: files that were just written are, as their times prove nothing yet. */
async function settle(home: Home): Promise<void> {
  while ((await home.expectRun(0, 'backup', 'work')).event('backup')['readBytes'] !== 0);
}

/** System calls of all processes of three commands. */
async function costs(files: number): Promise<{ first: number; again: number; restore: number }> {
  const home = await prepared((folder) => fill(folder, files));
  const first = await calls(home, 'backup', 'work');
  await settle(home);
  return {
    first,
    again: await calls(home, 'backup', 'work'),
    restore: await calls(home, 'restore', 'work', '--as', 'copy'),
  };
}

async function prepared(write: (folder: string) => void): Promise<Home> {
  const home = new Home();
  home.configure('[backup]', 'recheck_mib = 0', 'spot_check_mib = 0');
  write(home.volume('work'));
  await home.expectRun(0, 'init');
  return home;
}

function fill(folder: string, files: number): void {
  for (let i = 0; i < files; i += 100) {
    const below = join(folder, `folder-${String(i)}`);
    mkdirSync(below);
    for (let j = 0; j < 100; j++) writeFileSync(join(below, `file-${String(j)}`), randomBytes(1000));
  }
}

/** The system calls of a command and all that it starts, but those that wait, and those of the threads of V8 and libuv. */
async function calls(home: Home, ...args: readonly string[]): Promise<number> {
  const summary = join(tempFolder(), 'calls');
  const command = [join(PROJECT, 'bin/qubes-backup'), '--local', home.folder, '--sandbox', 'none'];
  const traced = ['-f', '-c', '-o', summary, '-e', `trace=!${WAITING.join(',')}`, ...command];
  const { code, stderr } = await run('strace', [...traced, '--key-file', home.keyFile, ...args]);
  expect(code, stderr).toBe(0);
  const total = /^\s*100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s.*total$/m.exec(readFileSync(summary, 'utf8'))?.[1];
  return Number(total);
}

/** Calls whose number says how long something took, not how much there was to do. */
const WAITING = [
  'futex',
  'epoll_wait',
  'epoll_pwait',
  'sched_yield',
  'madvise',
  'mprotect',
  'munmap',
  'mmap',
  'brk',
];
