import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import * as libc from '../../dvm/libc.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { tempFolder } from '../support/temp.ts';
import { ScanDom0, verifyFolder } from './scan-dom0.ts';
import { attributes, fileFlags, program, root, testNeeding } from '../support/needs.ts';

const MiB = 2 ** 20;
const isRoot = process.getuid?.() === 0;

/** Writes a file, its folder as well. */
function put(folder: string, path: string, content: string | Buffer): void {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), content);
}

/** A bit of everything. */
function populate(folder: string): void {
  put(folder, 'home/user/notes.txt', 'hello');
  put(folder, 'home/user/empty', '');
  put(folder, 'home/user/big.bin', randomBytes(5 * MiB));
  put(folder, 'home/user/text.log', 'line of text\n'.repeat(200_000));
  put(folder, 'home/user.name/dot', 'sorts between');
  put(folder, 'home/user/sub/deep/file', 'x'.repeat(1000));
  symlinkSync('../user/notes.txt', join(folder, 'home/link'));
  symlinkSync('/nowhere', join(folder, 'dangling'));
  linkSync(join(folder, 'home/user/notes.txt'), join(folder, 'home/z-hard'));
  const sparse = openSync(join(folder, 'sparse'), 'w');
  writeSync(sparse, randomBytes(100), 0, 100, 40 * MiB + 5);
  closeSync(sparse);
  truncateSync(join(folder, 'sparse'), 64 * MiB);
  chmodSync(join(folder, 'home/user/text.log'), 0o4751);
  const root = libc.openDirectory(folder);
  libc.makeNodeAt(root, 'fifo' as ByteString, 0o010640, 0, 0);
  libc.makeNodeAt(root, 'socket' as ByteString, 0o140600, 0, 0);
  libc.close(libc.createFileAt(root, '\xff not utf-8 \x80' as ByteString, 0o600));
  libc.setAttributeAt(root, 'sparse' as ByteString, 'user.colour' as ByteString, Uint8Array.of(1, 2, 3));
  libc.utimesAt(root, 'sparse' as ByteString, { seconds: -5, nanoseconds: 123_456_789 });
  libc.close(root);
}

describe('R21: what did not change is not stored again', () => {
  test('a first scan holds every entry and byte; a second without changes puts nothing and reads nothing', async () => {
    const folder = tempFolder();
    populate(folder);
    const dom0 = new ScanDom0();
    const first = await dom0.scan(folder);
    expect(first.notes.map((note) => note.code)).toEqual(['skipped-socket']);
    const files = await dom0.files();
    expect(files.get('home/user/big.bin')?.content).toEqual(readFileSync(join(folder, 'home/user/big.bin')));
    expect(files.get('home/user/text.log')?.content).toEqual(
      readFileSync(join(folder, 'home/user/text.log')),
    );
    expect(files.get('sparse')?.content.equals(readFileSync(join(folder, 'sparse')))).toBe(true);
    expect(files.get('home/z-hard')?.content.toString()).toBe('hello');
    expect(files.get('home/z-hard')?.entry).toMatchObject({
      linked: true,
      inode: files.get('home/user/notes.txt')?.entry.inode,
    });
    expect(files.get('dangling')?.entry).toMatchObject({ type: TYPE.symlink, target: '/nowhere' });
    expect(files.get('fifo')?.entry).toMatchObject({ type: TYPE.fifo, mode: 0o640 });
    expect(files.get('socket')?.entry.type).toBe(TYPE.socket);
    expect(files.get('home/user/text.log')?.entry.mode).toBe(0o4751);
    const sparse = files.get('sparse')?.entry;
    expect(sparse?.mtime).toEqual({ seconds: -5, nanoseconds: 123_456_789 });
    expect(sparse?.attributes.map(({ name, value }) => [name, [...value]])).toEqual([
      ['user.colour', [1, 2, 3]],
    ]);
    expect(files.has('\xff not utf-8 \x80')).toBe(true);
    expect(first.done.counts).toMatchObject({ entries: files.size, files: 10 - 1, changedFiles: 9 });
    // The noise is stored once, the text compressed, the hole not at all.
    expect(first.contentBytes).toBeLessThan(5.3 * MiB);
    expect(first.done.counts.readBytes).toBeLessThan(10 * MiB);

    const second = await dom0.scan(folder);
    expect(second).toMatchObject({ content: 0, trees: 0, bytes: 0 });
    expect(second.done).toMatchObject({
      top: first.done.top,
      digest: first.done.digest,
      ownerlessDigest: first.done.ownerlessDigest,
      counts: { changedFiles: 0, readBytes: 0, entries: first.done.counts.entries },
    });
  });

  test('one changed byte in a file of 64 MiB stores a few chunks', async () => {
    const folder = tempFolder();
    const bytes = randomBytes(64 * MiB);
    put(folder, 'big', bytes);
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    const file = openSync(join(folder, 'big'), 'r+');
    writeSync(file, Uint8Array.of(bytes[30 * MiB]! ^ 1), 0, 1, 30 * MiB);
    closeSync(file);
    const second = await dom0.scan(folder);
    expect(second.content).toBe(1);
    expect(second.contentBytes).toBeLessThan(4.2 * MiB);
    expect((await dom0.files()).get('big')?.content.equals(readFileSync(join(folder, 'big')))).toBe(true);
  });

  test('one changed file among 2,000 stores little; a deleted one is gone', async () => {
    const folder = tempFolder();
    for (let i = 0; i < 2000; i++) put(folder, `d${i % 50}/file-${i}`, `content ${i}`);
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    put(folder, 'd7/file-7', 'something else');
    unlinkSync(join(folder, 'd9/file-9'));
    const second = await dom0.scan(folder);
    expect(second.done.counts).toMatchObject({ changedFiles: 1, readBytes: 14, files: 1999 });
    expect(second.bytes).toBeLessThan(100_000);
    const files = await dom0.files();
    expect(files.get('d7/file-7')?.content.toString()).toBe('something else');
    expect(files.has('d9/file-9')).toBe(false);
    expect(files.size).toBe(1999 + 50 + 1);
  });

  test('a rename and a new mode store no content; replaced types are captured', async () => {
    const folder = tempFolder();
    put(folder, 'a/one', randomBytes(MiB));
    put(folder, 'b', 'file');
    put(folder, 'c/x', 'x');
    put(folder, 'mode', randomBytes(3000));
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    renameSync(join(folder, 'a/one'), join(folder, 'a/two'));
    chmodSync(join(folder, 'mode'), 0o400);
    unlinkSync(join(folder, 'b'));
    mkdirSync(join(folder, 'b'));
    rmSync(join(folder, 'c'), { recursive: true });
    symlinkSync('b', join(folder, 'c'));
    const second = await dom0.scan(folder);
    expect(second.content).toBe(0);
    const entries = new Map((await dom0.entries()).map(({ entry }) => [entry.path as string, entry]));
    expect([...entries.keys()]).toEqual(['', 'a', 'a/two', 'b', 'c', 'mode']);
    expect(entries.get('mode')?.mode).toBe(0o400);
    expect(entries.get('b')?.type).toBe(TYPE.directory);
    expect(entries.get('c')?.type).toBe(TYPE.symlink);
  });

  test('of what only got another mode or attribute no content is read, of a new link once', async () => {
    const folder = tempFolder();
    for (const name of ['mode', 'attribute', 'linked']) put(folder, name, randomBytes(3000));
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    const before = await dom0.files();
    chmodSync(join(folder, 'mode'), 0o400);
    linkSync(join(folder, 'linked'), join(folder, 'linked-too'));
    const at = libc.openDirectory(folder);
    libc.setAttributeAt(at, 'attribute' as ByteString, 'user.new' as ByteString, Uint8Array.of(1));
    libc.close(at);
    const second = await dom0.scan(folder);
    expect(second.content).toBe(0);
    expect(second.done.counts).toMatchObject({ changedFiles: 4, readBytes: 3000 });
    const after = await dom0.files();
    expect(after.get('mode')?.entry.mode).toBe(0o400);
    expect(after.get('attribute')?.entry.attributes).toHaveLength(1);
    expect(after.get('linked')?.entry.linked).toBe(true);
    for (const [path, { content }] of before) expect(after.get(path)?.content.equals(content)).toBe(true);
    expect((await verifyFolder(folder)).done.digest).toBe(second.done.digest);
  });

  test('a rewrite that restores size and mtime is caught by its ctime', async () => {
    const folder = tempFolder();
    put(folder, 'f', 'before');
    const { atime, mtime } = statSync(join(folder, 'f'));
    utimesSync(join(folder, 'f'), atime, mtime);
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    put(folder, 'f', 'after!');
    utimesSync(join(folder, 'f'), atime, mtime);
    await dom0.scan(folder);
    expect((await dom0.files()).get('f')?.content.toString()).toBe('after!');
  });

  test('also if a link came or went with it', async () => {
    const folder = tempFolder();
    const [first, second] = [join(folder, 'f'), join(folder, 'g')];
    /** Writes `f` with its time set back, backs up, and answers how it is stored. */
    const contentAfter = async (content: string) => {
      writeFileSync(first, content);
      utimesSync(first, 1_000_000_000, 1_000_000_000);
      await dom0.scan(folder);
      return (await dom0.files()).get('f')?.content.toString();
    };
    const dom0 = new ScanDom0();
    expect(await contentAfter('one')).toBe('one');
    linkSync(first, second);
    expect(await contentAfter('two')).toBe('two');
    chmodSync(first, 0o600);
    unlinkSync(second);
    expect(await contentAfter('six')).toBe('six');
  });

  /** Writes to `f`, of which a privilege goes with that, and sets the time back. */
  async function contentAfterPrivileged(give: (file: string) => void, take?: (file: string) => void) {
    const file = join(tempFolder(), 'f');
    writeFileSync(file, 'before');
    give(file);
    const { atime, mtime } = statSync(file);
    utimesSync(file, atime, mtime);
    const dom0 = new ScanDom0();
    await dom0.scan(join(file, '..'));
    writeFileSync(file, 'after!');
    take?.(file);
    utimesSync(file, atime, mtime);
    await dom0.scan(join(file, '..'));
    return (await dom0.files()).get('f')?.content.toString();
  }

  test('also if it took the setuid bit away, as the kernel does at every write of a user', async () => {
    const [setuid, plain] = [
      (file: string) => chmodSync(file, 0o4755),
      (file: string) => chmodSync(file, 0o755),
    ];
    expect(await contentAfterPrivileged(setuid, plain)).toBe('after!');
  });

  testNeeding(
    root,
    program('setcap'),
    attributes(),
  )('also if it took capabilities away, as the kernel does at every write', async () => {
    const give = (file: string) => execFileSync('setcap', ['cap_net_raw+ep', file]);
    expect(await contentAfterPrivileged(give)).toBe('after!');
  });

  test('an entry whose ctime is within 2 s of the snapshot, or later, is read again', async () => {
    const folder = tempFolder();
    put(folder, 'f', 'content');
    const ctime = lstatSync(join(folder, 'f')).ctimeMs;
    for (const [age, read] of [
      [-10_000, 7],
      [0, 7],
      [1_990, 7],
      [2_010, 0],
    ] as const) {
      const dom0 = new ScanDom0();
      await dom0.scan(folder, { takenAt: Math.ceil(ctime) + age });
      const second = await dom0.scan(folder);
      expect([age, second.done.counts.readBytes]).toEqual([age, read]);
      expect(second.done.counts.changedFiles).toBe(0);
      expect(second.content).toBe(0);
    }
  });

  test('R08: with compression off everything is stored as it is', async () => {
    const folder = tempFolder();
    put(folder, 'zeros-not', Buffer.alloc(MiB, 'plain text '));
    const dom0 = new ScanDom0();
    const first = await dom0.scan(folder, { compress: false });
    expect(first.contentBytes).toBeGreaterThan(MiB);
    expect(
      [...dom0.blobs.values()].some(
        ({ kind, bytes }) => kind === 'tree' && Buffer.from(bytes).includes('zeros-not'),
      ),
    ).toBe(true);
    expect(
      (await dom0.files()).get('zeros-not')?.content.equals(readFileSync(join(folder, 'zeros-not'))),
    ).toBe(true);
  });
});

describe('R20, R31: the digest is that of the content', () => {
  test('verify of the folder and of a faithful copy agree with the scan', async () => {
    const folder = tempFolder();
    populate(folder);
    const dom0 = new ScanDom0();
    const { done } = await dom0.scan(folder);
    expect((await verifyFolder(folder)).done).toMatchObject({
      digest: done.digest,
      entries: done.counts.entries,
    });
    expect((await verifyFolder(folder, false)).done.digest).toBe(done.ownerlessDigest);
    const copy = tempFolder();
    execFileSync('cp', ['-a', '--sparse=always', `${folder}/.`, copy]);
    expect((await verifyFolder(copy)).done.digest).toBe(done.digest);
  });

  test.each([
    ['mode', (folder: string) => chmodSync(join(folder, 'home/user/empty'), 0o777)],
    ['time', (folder: string) => lutimesSync(join(folder, 'home/link'), 1, 2)],
    ['a byte', (folder: string) => appendFileSync(join(folder, 'home/user/notes.txt'), '!')],
    ['a hole', (folder: string) => truncateSync(join(folder, 'sparse'), 64 * MiB + 1)],
    ['a name', (folder: string) => renameSync(join(folder, 'fifo'), join(folder, 'fifo2'))],
    [
      'a link broken up',
      (folder: string) => {
        const file = join(folder, 'home/z-hard');
        const { atime, mtime } = statSync(file);
        const parent = statSync(join(folder, 'home'));
        cpSync(file, `${file}.tmp`);
        renameSync(`${file}.tmp`, file);
        utimesSync(file, atime, mtime);
        utimesSync(join(folder, 'home'), parent.atime, parent.mtime);
      },
    ],
  ])('the digest changes with %s', async (_what, change) => {
    const folder = tempFolder();
    populate(folder);
    const before = (await verifyFolder(folder)).done.digest;
    change(folder);
    expect((await verifyFolder(folder)).done.digest).not.toBe(before);
  });

  testNeeding(root, fileFlags())('R20: chattr flags are read, and are part of the content', async () => {
    const folder = tempFolder();
    put(folder, 'kept', 'x');
    put(folder, 'dir/log', 'y');
    onTestFinished(() => void execFileSync('chattr', ['-R', '-i', '-a', folder]));
    const dom0 = new ScanDom0();
    const { done: before } = await dom0.scan(folder);
    execFileSync('chattr', ['+idA', join(folder, 'kept')]);
    execFileSync('chattr', ['+aS', join(folder, 'dir/log')]);
    execFileSync('chattr', ['+d', join(folder, 'dir')]);
    const { done, content } = await dom0.scan(folder);
    expect(content).toBe(0);
    expect(done.counts.readBytes).toBe(0);
    const flags = Object.fromEntries((await dom0.entries()).map(({ entry }) => [entry.path, entry.flags]));
    expect(flags).toEqual({ '': 0, dir: 0x40, 'dir/log': 0x28, kept: 0xd0 });
    expect(done.digest).not.toBe(before.digest);
    expect((await verifyFolder(folder)).done.digest).toBe(done.digest);
  });

  testNeeding(root)('the ownerless digest ignores owners, the other does not', async () => {
    const folder = tempFolder();
    populate(folder);
    const before = [
      (await verifyFolder(folder)).done.digest,
      (await verifyFolder(folder, false)).done.digest,
    ];
    execFileSync('chown', ['-h', '1234:5678', join(folder, 'home/link')]);
    expect((await verifyFolder(folder)).done.digest).not.toBe(before[0]);
    expect((await verifyFolder(folder, false)).done.digest).toBe(before[1]);
  });
});

test('R20: paths longer than 4096 bytes, thousands of levels deep', async () => {
  const folder = tempFolder();
  let at = libc.openDirectory(folder);
  const levels = 2000;
  for (let depth = 0; depth < levels; depth++) {
    const name = `level-${depth}` as ByteString;
    libc.makeDirectoryAt(at, name, 0o700);
    if (depth % 500 === 0) libc.close(libc.createFileAt(at, 'zz-after' as ByteString, 0o600));
    const next = libc.openDirectoryAt(at, name);
    libc.close(at);
    at = next;
  }
  const file = libc.createFileAt(at, 'bottom' as ByteString, 0o600);
  writeSync(file, 'deep content');
  libc.close(file);
  libc.close(at);
  try {
    const dom0 = new ScanDom0();
    const { done, notes } = await dom0.scan(folder, {}, ['/usr/bin/env', 'prlimit', '--nofile=128']);
    expect(notes).toEqual([]);
    const files = await dom0.files();
    expect(done.counts.entries).toBe(1 + levels + 5);
    const bottom = [...files].find(([path]) => path.endsWith('/bottom'));
    expect(bottom?.[0].length).toBeGreaterThan(20_000);
    expect(bottom?.[1].content.toString()).toBe('deep content');
    expect((await dom0.scan(folder)).bytes).toBe(0);
    expect((await verifyFolder(folder)).done.digest).toBe(done.digest);
  } finally {
    execFileSync('rm', ['-rf', join(folder, 'level-0')]);
  }
});

test('R20: a sparse file of a terabyte takes no time and keeps its islands', async () => {
  const folder = tempFolder();
  const file = openSync(join(folder, 'disk.img'), 'w');
  for (const position of [0, 2 ** 35 + 1, 2 ** 40]) writeSync(file, 'island', position);
  closeSync(file);
  const dom0 = new ScanDom0();
  const { done } = await dom0.scan(folder);
  expect(done.counts.bytes).toBe(2 ** 40 + 6);
  expect(done.counts.readBytes).toBeLessThan(8 * MiB);
  const [, item] = await dom0.entries();
  let at = 0;
  const places = item!.chunks.map((chunk) => {
    const start = at + chunk.gap;
    at = start + chunk.length;
    return start;
  });
  expect(places).toEqual([0, 2 ** 35, 2 ** 40]);
});

describe('R26: what could not be read is named', () => {
  testNeeding(root)('owners that cannot be mapped are unknown, never 65534', async () => {
    const folder = tempFolder();
    put(folder, 'mine', 'x');
    put(folder, 'foreign', 'y');
    execFileSync('chown', ['4321:4321', join(folder, 'foreign')]);
    const dom0 = new ScanDom0();
    const inside = ['unshare', '--user', '--map-root-user'];
    const { done, notes } = await dom0.scan(folder, {}, inside);
    expect(done.ownersUnknown).toBe(true);
    expect(notes).toMatchObject([{ code: 'owner-unknown', path: 'foreign' }]);
    const files = await dom0.files();
    expect(files.get('foreign')?.entry).toMatchObject({ uid: undefined, gid: undefined });
    expect(files.get('mine')?.entry).toMatchObject({ uid: 0, gid: 0 });
    expect((await verifyFolder(folder, false)).done.digest).toBe(done.ownerlessDigest);
  });

  test('unreadable files and folders, by a reader without privileges', async () => {
    const folder = tempFolder();
    chmodSync(folder, 0o755);
    put(folder, 'secret', 'hidden');
    put(folder, 'locked/inside', 'x');
    put(folder, 'open', 'x');
    chmodSync(join(folder, 'secret'), 0);
    chmodSync(join(folder, 'locked'), 0);
    const command = isRoot ? ['setpriv', '--reuid=65533', '--regid=65533', '--clear-groups'] : [];
    const dom0 = new ScanDom0();
    const { notes } = await dom0.scan(folder, {}, ['/usr/bin/env', ...command]);
    expect(notes.map(({ code, path }) => [code, path])).toEqual([
      ['unreadable', 'locked'],
      ['unreadable', 'secret'],
    ]);
    const entries = new Map((await dom0.entries()).map(({ entry }) => [entry.path as string, entry]));
    expect(entries.get('secret')).toMatchObject({ unreadable: true, size: 6 });
    expect(entries.get('locked')).toMatchObject({ unreadable: true });
    expect(entries.get('open')).toMatchObject({ unreadable: false });
    // It is tried again, and read once it can be.
    chmodSync(join(folder, 'secret'), 0o644);
    chmodSync(join(folder, 'locked'), 0o755);
    expect((await dom0.scan(folder)).notes).toEqual([]);
    expect((await dom0.files()).get('secret')?.content.toString()).toBe('hidden');
  });

  testNeeding(root)('another file system mounted inside is left out', async () => {
    const folder = tempFolder();
    put(folder, 'a', 'x');
    mkdirSync(join(folder, 'mnt'));
    const script = `mount -t tmpfs none '${folder}/mnt' && touch '${folder}/mnt/foreign' && exec "$@"`;
    const dom0 = new ScanDom0();
    const { notes } = await dom0.scan(folder, {}, ['unshare', '--mount', 'sh', '-c', script, 'sh']);
    expect(notes).toMatchObject([{ code: 'mount-skipped', path: 'mnt' }]);
    const entries = (await dom0.entries()).map(({ entry }) => entry);
    expect(entries.map(({ path }) => path)).toEqual(['', 'a', 'mnt']);
    expect(entries[2]).toMatchObject({
      type: TYPE.skipped,
      target: 'another file system is mounted there',
    });
  });
});

describe('R58: a share of the unchanged is read again', () => {
  test('windows cover the volume, and wrap around', async () => {
    const folder = tempFolder();
    for (let i = 0; i < 8; i++) put(folder, `f${i}`, randomBytes(MiB));
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    const run = await dom0.scan(folder, { recheckBytes: 2 * MiB, recheckFrom: 0 });
    expect(run.done.counts).toMatchObject({ readBytes: 0, recheckMismatches: 0, changedFiles: 0 });
    expect(run.done.counts.recheckedBytes).toBeGreaterThanOrEqual(2 * MiB);
    expect(run.done.counts.recheckedBytes).toBeLessThan(5 * MiB);
    expect(run.bytes).toBe(0);
    const wrapped = await dom0.scan(folder, { recheckBytes: 2 * MiB, recheckFrom: 2 ** 32 - 1 });
    expect(wrapped.done.counts.recheckedBytes).toBeGreaterThanOrEqual(2 * MiB);
    const all = await dom0.scan(folder, { recheckBytes: 2 ** 40, recheckFrom: 12345 });
    expect(all.done.counts.recheckedBytes).toBe(8 * MiB);
  });
});

test('R58: content that changed behind the file system’s back is found, named and stored', async () => {
  const folder = tempFolder();
  for (let i = 0; i < 4; i++) put(folder, `f${i}`, randomBytes(MiB));
  const dom0 = new ScanDom0();
  const { done } = await dom0.scan(folder);
  await dom0.rewrite(({ entry, chunks }) =>
    entry.path === 'f2'
      ? { entry, chunks: chunks.map((chunk) => ({ ...chunk, hash: randomBytes(32) })) }
      : { entry, chunks },
  );
  const trusting = await dom0.scan(folder);
  expect(trusting.done.counts.recheckMismatches).toBe(0);
  expect(trusting.done.digest).not.toBe(done.digest);
  const run = await dom0.scan(folder, { recheckBytes: 2 ** 40 });
  expect(run.done.counts).toMatchObject({ recheckMismatches: 1, changedFiles: 1 });
  expect(run.notes).toMatchObject([{ code: 'changed', path: 'f2' }]);
  expect(run.done.digest).toBe(done.digest);
  expect((await dom0.files()).get('f2')?.content.equals(readFileSync(join(folder, 'f2')))).toBe(true);
});

/** What differs between two trees, as a scan is to count it. */
function changesBetween(before: TreeFiles, after: TreeFiles) {
  const files = (tree: TreeFiles) => [...tree].filter(([, { entry }]) => entry.type === TYPE.file);
  const isIn = (tree: TreeFiles, path: string) => tree.get(path)?.entry.type === TYPE.file;
  const kept = files(after).filter(([path]) => isIn(before, path));
  return {
    newFiles: files(after).length - kept.length,
    rewrittenFiles: kept.filter(([path, { content }]) => before.get(path)?.content.equals(content) !== true)
      .length,
    deletedFiles: files(before).filter(([path]) => !isIn(after, path)).length,
  };
}

type TreeFiles = Awaited<ReturnType<ScanDom0['files']>>;

describe('R50: checkpoints', () => {
  test('each is a valid tree of new entries before it and the base’s after it', async () => {
    const folder = tempFolder();
    const name = (i: number) => `d${String(i % 40).padStart(2, '0')}/f${String(i).padStart(4, '0')}`;
    for (let i = 0; i < 2000; i++) put(folder, name(i), `first ${i}`);
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    const before = await dom0.files();
    for (let i = 0; i < 2000; i += 3) put(folder, name(i), randomBytes(40_000));
    for (let i = 1; i < 2000; i += 7) rmSync(join(folder, name(i)));
    for (let i = 2; i < 2000; i += 50) if (i % 7 !== 1) chmodSync(join(folder, name(i)), 0o600);
    rmSync(join(folder, 'd05'), { recursive: true });
    put(folder, 'd05', 'now a file');
    put(folder, 'd39/new', 'new');
    const run = await dom0.scan(folder, { checkpointEvery: 1 });
    expect(run.checkpoints.length).toBeGreaterThan(1);
    const after = await dom0.files();
    expect(run.done.counts).toMatchObject(changesBetween(before, after));
    for (const [index, checkpoint] of run.checkpoints.entries()) {
      const files = await dom0.files(checkpoint);
      expect(run.changes[index], `checkpoint ${index}`).toMatchObject(changesBetween(before, files));
      let mixed = 0;
      for (const [path, { entry, content }] of files) {
        const states = [after.get(path), before.get(path)].filter((state) => state !== undefined);
        expect(states.some((state) => state.entry.type === entry.type && state.content.equals(content))).toBe(
          true,
        );
        if (after.get(path)?.content.equals(content) !== true) mixed += 1;
      }
      expect(mixed).toBeLessThan(2000);
    }
    // Checkpoints leave no trace in what follows: the final tree is the one a scan without them makes.
    const other = new ScanDom0();
    const straight = await other.scan(folder);
    expect(run.done.digest).toBe(straight.done.digest);
    expect((await dom0.scan(folder)).bytes).toBe(0);
  });

  test('a checkpoint of a scan that met no changed file yet keeps the base’s packs', async () => {
    const folder = tempFolder();
    put(folder, 'z', 'content');
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    for (let i = 0; i < 6000; i++)
      symlinkSync(`somewhere else, number ${i}`, join(folder, `link-${i}-${'n'.repeat(100)}`));
    const run = await dom0.scan(folder, { checkpointEvery: 1 });
    expect(run.checkpoints.length).toBeGreaterThan(0);
    for (const checkpoint of run.checkpoints) {
      expect((await dom0.files(checkpoint)).get('z')?.content.toString()).toBe('content');
    }
    expect(run.content).toBe(0);
  });

  test('a scan that goes on from a checkpoint stores only the rest', async () => {
    const folder = tempFolder();
    for (let i = 0; i < 30; i++) put(folder, `f${String(i).padStart(2, '0')}`, randomBytes(MiB));
    const dom0 = new ScanDom0();
    const first = await dom0.scan(folder, { checkpointEvery: 20 });
    expect(first.checkpoints.length).toBeGreaterThan(0);
    dom0.newest = first.checkpoints[0];
    const resumed = await dom0.scan(folder);
    expect(resumed.contentBytes).toBeLessThan(first.contentBytes);
    expect(resumed.done.digest).toBe(first.done.digest);
    const files = await dom0.files();
    for (let i = 0; i < 30; i++) {
      const path = `f${String(i).padStart(2, '0')}`;
      expect(files.get(path)?.content.equals(readFileSync(join(folder, path)))).toBe(true);
    }
  });
});

describe('what must not go on, does not', () => {
  test('a damaged base tree fails the scan', async () => {
    const folder = tempFolder();
    put(folder, 'f', randomBytes(100_000));
    const dom0 = new ScanDom0();
    await dom0.scan(folder);
    for (const number of dom0.newest!.live) {
      const blob = dom0.blobs.get(number)!;
      if (blob.kind !== 'tree') continue;
      const bytes = Uint8Array.from(blob.bytes);
      bytes[bytes.length - 20]! ^= 1;
      dom0.blobs.set(number, { ...blob, bytes });
      await expect(dom0.scan(folder)).rejects.toMatchObject({
        code: 'service-failed',
        message: /store-damaged/,
      });
      dom0.blobs.set(number, blob);
    }
  });

  test('a volume that is not there fails, and says so', async () => {
    const folder = join(tempFolder(), 'absent');
    await expect(new ScanDom0().scan(folder)).rejects.toThrow(/openat: ENOENT/);
    await expect(verifyFolder(folder)).rejects.toThrow(/openat: ENOENT/);
  });
});

test('mostly dead packs are written again, so that they can go', async () => {
  const folder = tempFolder();
  for (let i = 0; i < 10; i++) put(folder, `f${i}`, randomBytes(700_000));
  const dom0 = new ScanDom0();
  await dom0.scan(folder);
  expect(dom0.livePacks).toHaveLength(1);
  for (let i = 0; i < 8; i++) unlinkSync(join(folder, `f${i}`));
  await dom0.scan(folder);
  const [old] = dom0.livePacks;
  put(folder, 'a-new-one', 'small');
  const third = await dom0.scan(folder);
  expect(dom0.livePacks).not.toContain(old);
  expect(third.contentBytes).toBeGreaterThan(1_400_000);
  expect(third.done.counts.changedFiles).toBe(1);
  const files = await dom0.files();
  for (const path of ['f8', 'f9'])
    expect(files.get(path)?.content.equals(readFileSync(join(folder, path)))).toBe(true);
});
