/** R22: volumes as blocks: raw images, whatever they hold, through the whole program. No privilege is needed. */

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { seekData, seekHole } from '../../dvm/libc.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { decodeWith, encodeCbor } from '../../shared/cbor.ts';
import { compareTrees } from '../support/checker.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import type { Result } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';
import { backUp } from '../support/lies.ts';
import type { Alter } from '../support/lies.ts';
import { Random } from '../support/random.ts';
import { Consistent, tampered } from '../support/tamper.ts';
import { tempFolder } from '../support/temp.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A home whose VM `work` has an image as its private volume, to be read as blocks. */
async function makeHome(): Promise<{ home: Home; image: string }> {
  const home = new Home();
  const folder = join(home.folder, 'vms', 'work');
  mkdirSync(folder);
  home.configure('[vm.work.volumes]', 'private = "blocks"');
  await home.expectRun(0, 'init');
  return { home, image: join(folder, 'private.img') };
}

function edit(path: string, change: (file: number) => void): void {
  const file = openSync(path, existsSync(path) ? 'r+' : 'w+');
  change(file);
  closeSync(file);
}

/** 40 MiB: data, holes, data that straddles blocks, written zeros, a last block that is cut. */
function makeImage(path: string, random: Random): void {
  edit(path, (file) => {
    writeSync(file, random.bytes(6 * MiB), 0, 6 * MiB, 0);
    writeSync(file, random.bytes(100), 0, 100, 12 * MiB + 5);
    writeSync(file, Buffer.alloc(2 * MiB), 0, 2 * MiB, 16 * MiB);
    writeSync(file, random.text(3 * MiB), 0, 3 * MiB, 24 * MiB + 777);
    ftruncateSync(file, 40 * MiB + 1234);
  });
}

function copy(image: string): string {
  const to = join(tempFolder(), 'image');
  execFileSync('cp', ['--sparse=always', image, to]);
  return to;
}

const same = (a: string, b: string): void => void execFileSync('cmp', [a, b]);

/** Bytes that are no hole. Not st_blocks: those count a file system's own blocks as well, which vary. */
function dataBytes(path: string): number {
  const file = openSync(path, 'r');
  let sum = 0;
  for (let at = seekData(file, 0); at !== undefined;) {
    const end = seekHole(file, at) ?? at;
    sum += end - at;
    at = seekData(file, end);
  }
  closeSync(file);
  return sum;
}

/** What a run stored of content, in bytes of the objects. */
const storedContent = (result: Result) => Number(result.event('backup')['storedContentObjects']);

test('R22: an image comes back bit for bit with its holes, of every generation, and only changed chunks are stored', async () => {
  const { home, image } = await makeHome();
  const random = new Random(22);
  makeImage(image, random);
  const edits: ((file: number) => void)[] = [
    () => undefined, // Nothing: read again, nothing stored.
    (file) => writeSync(file, random.bytes(4 * KiB), 0, 4 * KiB, 3 * MiB),
    (file) => writeSync(file, Buffer.alloc(2 * MiB), 0, 2 * MiB, MiB), // Data becomes zeros.
    (file) => writeSync(file, random.bytes(1), 0, 1, 35 * MiB), // One byte in a hole.
    (file) => ftruncateSync(file, 48 * MiB), // Grown.
    (file) => ftruncateSync(file, 25 * MiB + 3), // Cut.
  ];
  const generations = [copy(image)];
  const first = await home.expectRun(0, 'backup', 'work');
  expect(first.event('backup')).toMatchObject({
    files: 1,
    bytes: 40 * MiB + 1234,
    volumes: [{ name: 'private', mode: 'blocks', size: 40 * MiB + 1234 }],
  });
  const whole = Number(first.event('backup')['storedBytes']);
  for (const [i, change] of edits.entries()) {
    edit(image, change);
    generations.push(copy(image));
    const run = await home.expectRun(0, 'backup', 'work');
    const { changedFiles, storedBytes } = run.event('backup');
    expect(changedFiles, `edit ${i}`).toBe(i === 0 ? 0 : 1);
    expect(storedContent(run), `edit ${i}`).toBeLessThanOrEqual(i === 0 ? 0 : 1);
    // A chunk or two on each side of an edit, of 6 MiB that do not compress.
    expect(Number(storedBytes), `edit ${i}`).toBeLessThan(whole / 2);
  }
  for (const [i, wanted] of generations.entries()) {
    const name = `gen-${i + 1}`;
    const restored = await home.expectRun(0, 'restore', `work@${i + 1}`, '--as', name);
    expect(restored.event('restored')).toMatchObject({ volumes: ['private'], files: 1 });
    const got = join(home.folder, 'vms', name, 'private.img');
    same(wanted, got);
    expect(dataBytes(got), `generation ${i + 1}`).toBeLessThanOrEqual(dataBytes(wanted));
    expect(dataBytes(got)).toBeGreaterThan(MiB); // Holes are told at all.
    rmSync(join(home.folder, 'vms', name), { recursive: true });
  }
  await home.expectRun(0, 'check', '--read-data', '100');
}, 150_000);

test('R22: both volumes are in one snapshot, restored and verified together, each in its mode', async () => {
  const home = new Home();
  home.configure('[vm.work.volumes]', 'root = "blocks"');
  home.write('work', 'notes.txt', 'a file of the private volume');
  const image = join(home.folder, 'vms', 'work', 'root.img');
  makeImage(image, new Random(7));
  home.write('plain', 'file', 'a VM without a root volume');
  await home.expectRun(0, 'init');
  const run = await home.expectRun(0, 'backup', '--all');
  expect(run.events.filter(({ event }) => event === 'backup')).toMatchObject([
    { vm: 'plain', volumes: [{ name: 'private', mode: 'files', size: 0 }] },
    {
      vm: 'work',
      snapshot: 1,
      files: 2,
      volumes: [
        { name: 'private', mode: 'files', size: 0, files: 1 },
        { name: 'root', mode: 'blocks', size: 40 * MiB + 1234, files: 1 },
      ],
    },
  ]);

  const restored = await home.expectRun(0, 'restore', 'work', '--as', 'copy');
  expect(restored.event('restored')).toMatchObject({ volumes: ['private', 'root'], files: 2 });
  expect(compareTrees(home.volume('work'), home.volume('copy'))).toEqual([]);
  same(image, join(home.folder, 'vms', 'copy', 'root.img'));

  const names = (result: Result) =>
    result.events.filter(({ event }) => event === 'entry').map(({ path }) => path);
  expect(names(await home.expectRun(0, 'ls', 'work'))).toEqual(['notes.txt']);
  expect(names(await home.expectRun(0, 'ls', 'work', '--volume', 'root'))).toEqual(['volume']);
  const to = tempFolder();
  await home.expectRun(0, 'extract', 'work', 'volume', '--volume', 'root', '--to', to);
  same(image, join(to, 'volume'));
  const unknown = await home.expectRun(1, 'ls', 'plain', '--volume', 'root');
  expect(unknown.event('error')).toMatchObject({ code: 'unknown-volume' });

  // A second run changes one volume: the other costs nothing.
  edit(image, (file) => writeSync(file, Buffer.from('edited'), 0, 6, 20 * MiB));
  const second = await home.expectRun(0, 'backup', 'work');
  expect(second.event('backup')).toMatchObject({
    snapshot: 2,
    volumes: [
      { name: 'private', changedFiles: 0 },
      { name: 'root', changedFiles: 1 },
    ],
  });
  await home.expectRun(0, 'restore', 'work@1', '--as', 'first');
  expect(readFileSync(join(home.folder, 'vms', 'first', 'root.img'))[20 * MiB]).toBe(0);

  // Both are held against what they are now.
  const equal = await home.expectRun(0, 'verify', 'work');
  expect(equal.event('verified')).toMatchObject({ volumes: ['private', 'root'], equal: true });
  const differs = await home.expectRun(4, 'verify', 'work@1');
  expect(differs.events.filter(({ event }) => event === 'difference')).toMatchObject([
    { volume: 'root', change: 'modified', path: 'volume' },
  ]);
  await home.expectRun(0, 'verify', 'work@1', '--volume', 'private');
});

test('a volume that changes its mode is read anew, and both snapshots restore', async () => {
  const { home, image } = await makeHome();
  makeImage(image, new Random(3));
  const kept = copy(image);
  await home.expectRun(0, 'backup', 'work');
  rmSync(image);
  home.write('work', 'file', 'now a folder');
  home.configure('');
  const run = await home.expectRun(0, 'backup', 'work');
  expect(run.event('backup')).toMatchObject({ snapshot: 2, volumes: [{ mode: 'files', changedFiles: 1 }] });
  await home.expectRun(0, 'restore', 'work@1', '--as', 'image');
  same(kept, join(home.folder, 'vms', 'image', 'private.img'));
  await home.expectRun(0, 'restore', 'work@2', '--as', 'folder');
  expect(home.read('folder', 'file')).toBe('now a folder');
});

test('what cannot be backed up as configured says what to configure, and stores nothing', async () => {
  const home = new Home();
  await home.expectRun(0, 'init');
  home.write('work', 'file', 'in a folder');
  const message = async (status: number) => {
    const result = await home.expectRun(status, 'backup', 'work');
    return String(result.event('failed')['message']);
  };
  home.configure('[vm.work.volumes]', 'private = "blocks"');
  expect(await message(2)).toMatch(/is a folder.*private = "files"/);
  home.configure('[vm.work.volumes]', 'root = "blocks"');
  expect(await message(2)).toMatch(/has no root volume/);
  home.configure('[vm.work.volumes]', 'private = "none"');
  expect(await message(2)).toMatch(/leaves out all of its volumes/);
  // An HVM's disk: partitions, or a file system nobody here knows.
  rmSync(home.volume('work'), { recursive: true });
  writeFileSync(join(home.folder, 'vms', 'work', 'private.img'), Buffer.alloc(MiB, 'ntfs'));
  home.configure('');
  expect(await message(1)).toMatch(/holds no ext4, xfs or btrfs.*private = "blocks"/);
  home.configure('[backup.volumes]', 'private = "blocks"', 'root = "blocks"');
  await home.expectRun(0, 'backup', 'work');
  expect((await home.expectRun(0, 'list')).event('snapshot')).toMatchObject({ snapshot: 1 });
});

test('R05: a disposable that passes another volume’s tree off as its own is refused, and no snapshot is made', async () => {
  const home = new Home();
  home.configure('[vm.work.volumes]', 'root = "blocks"');
  home.write('work', 'file', 'of the private volume');
  makeImage(join(home.folder, 'vms', 'work', 'root.img'), new Random(9));
  await home.expectRun(0, 'init');
  const DONE = 0x14;
  let ofPrivate: unknown;
  const alter: Alter = ({ type, payload }) => {
    if (type !== DONE) return undefined;
    const said = decodeWith(z.record(z.string(), z.unknown()), payload);
    if (ofPrivate !== undefined) return new Consistent(DONE, encodeCbor({ ...said, top: ofPrivate }));
    ofPrivate = said['top'];
    return undefined;
  };
  const wrap = (inner: Domains) =>
    new WrappedDomains(inner, (call, service) =>
      service === 'qubes.BackupScan' ? tampered(call, alter) : call,
    );
  const error = await rejection(runInProcess(home, backUp, wrap));
  expect((error.cause as Error).message).toMatch(/qubes\.BackupScan names a tree that it does not keep/);
  const snapshots = (await home.expectRun(0, 'list')).events.filter(({ event }) => event === 'snapshot');
  expect(snapshots.every(({ partial }) => partial)).toBe(true);
});
