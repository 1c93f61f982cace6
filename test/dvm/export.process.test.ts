import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../shared/bytes.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { exportPaths } from '../../shared/protocol/disposable.ts';
import { FILE_FLAGS, TYPE } from '../../dvm/entry.ts';
import type { Entry } from '../../dvm/entry.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { fileFlags, program, root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { MemoryStore, callService, directory, entryOf, symlink } from './tree-kit.ts';

let folder = '';
let store = new MemoryStore();

beforeEach(() => {
  folder = join(tempFolder(), 'to');
  mkdirSync(folder);
  store = new MemoryStore(7);
});

interface ExportOptions {
  readonly overwrite?: boolean;
  readonly tar?: boolean;
  readonly into?: string;
}

async function exportTree(
  entries: readonly TreeEntry[] | number,
  paths: readonly string[],
  options: ExportOptions = {},
) {
  const top = typeof entries === 'number' ? entries : await store.tree(entries);
  const { overwrite = false, into = folder } = options;
  const job = {
    top,
    paths: paths.map(utf8),
    output: options.tar === true ? { kind: 'tar' } : { kind: 'folder', path: into, overwrite },
  };
  const answer = await callService(exportPaths, job, store);
  const notes = answer.said.flatMap((message) =>
    message.name === 'note' ? [`${message.value.code} ${message.value.path}`] : [],
  );
  const tar = Buffer.concat(
    answer.said.flatMap((message) => (message.name === 'data' ? [message.value] : [])),
  );
  const done = answer.said.flatMap((message) => (message.name === 'done' ? [message.value] : []))[0];
  return { ...answer, notes, tar, done };
}

const text = (path: string) => readFileSync(join(folder, path), 'utf8');
/** Everything below the folder, by name. */
const all = () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();

const simple = () => [
  directory(''),
  directory('home', { mode: 0o711, mtime: { seconds: 1000, nanoseconds: 7 } }),
  directory('home/user', { mode: 0o700, mtime: { seconds: 2000, nanoseconds: 8 } }),
  store.file('home/user/a', ['content a'], { mode: 0o600 }),
  directory('home/user/docs', { mtime: { seconds: 3000, nanoseconds: 9 } }),
  store.file('home/user/docs/b', ['content b']),
  symlink('home/user/link', 'a'),
  store.file('home/user2', ['not wanted']),
  directory('var'),
  store.file('var/log', ['log']),
];

describe('R33: into a folder', () => {
  test('a file, with the folders above it as they were', async () => {
    const { done, notes, failure, code } = await exportTree(simple(), ['home/user/a']);
    expect([failure, code, notes]).toEqual([undefined, 0, []]);
    expect(done).toEqual({ entries: 4, files: 1, bytes: 9, missing: [], crc32: null });
    expect(all()).toEqual(['home', 'home/user', 'home/user/a']);
    expect(text('home/user/a')).toBe('content a');
    expect(lstatSync(join(folder, 'home/user'), { bigint: true })).toMatchObject({
      mtimeNs: 2_000_000_000_008n,
    });
    expect(lstatSync(join(folder, 'home')).mode & 0o777).toBe(0o711);
    expect(lstatSync(join(folder, 'home/user/a')).mode & 0o777).toBe(0o600);
  });

  testNeeding(root, fileFlags())(
    'chattr flags are left off: a folder of extracted files can be removed',
    async () => {
      const sealed = store.file('sealed', ['text'], { flags: FILE_FLAGS.immutable | FILE_FLAGS.noDump });
      const { notes, code } = await exportTree([directory(''), sealed], ['sealed']);
      expect([code, notes]).toEqual([0, []]);
      expect(text('sealed')).toBe('text');
      expect(execFileSync('lsattr', [join(folder, 'sealed')], { encoding: 'utf8' })).toMatch(/^[-e]+ /);
    },
  );

  test('whole subtrees, several, one within another, and what is missing', async () => {
    const wanted = ['var/log', 'home/user', 'nothing', 'home/user/docs/b', 'home/use', 'home/user/a/x'];
    const { done } = await exportTree(simple(), wanted);
    expect(done?.missing).toEqual([2, 4, 5]);
    expect(all()).toEqual([
      'home',
      'home/user',
      'home/user/a',
      'home/user/docs',
      'home/user/docs/b',
      'home/user/link',
      'var',
      'var/log',
    ]);
    expect(readlinkSync(join(folder, 'home/user/link'))).toBe('a');
  });

  test('everything', async () => {
    const before = lstatSync(folder).mode;
    const { done } = await exportTree(simple(), ['']);
    expect(done).toMatchObject({ missing: [], entries: 10 });
    expect(all().length).toBe(9);
    expect(lstatSync(folder).mode).toBe(before); // The folder itself stays as it is.
  });

  test('a hard link to a file that is not chosen is a file of its own', async () => {
    const first = store.file('a', ['shared'], { inode: 9, linked: true });
    const tree = [
      directory(''),
      first,
      ...['b', 'c'].map((path) => ({ ...first, entry: { ...first.entry, path: path as ByteString } })),
    ];
    await exportTree(tree, ['b', 'c']);
    expect([text('b'), text('c')]).toEqual(['shared', 'shared']);
    expect(lstatSync(join(folder, 'b')).ino).toBe(lstatSync(join(folder, 'c')).ino);
  });

  test('only the leaves and packs that are needed are read', async () => {
    const entries = [directory('')];
    for (let i = 0; i < 20_000; i++)
      entries.push({ entry: entryOf(`f${String(i).padStart(6, '0')}`, TYPE.fifo), chunks: [] });
    entries.push(directory('last'), store.file('last/file', ['found']), store.file('last/other', ['left']));
    const { got } = await exportTree(entries, ['last/file']);
    expect(text('last/file')).toBe('found');
    expect(got.length).toBeLessThanOrEqual(4); // The top, the root's leaf, the file's leaf, its pack.
  });
});

describe('what is in the folder already', () => {
  beforeEach(() => {
    mkdirSync(join(folder, 'home/user'), { recursive: true, mode: 0o755 });
    writeFileSync(join(folder, 'home/user/a'), 'mine');
    writeFileSync(join(folder, 'home/user/own'), 'own');
  });

  test('is never overwritten unasked, and named', async () => {
    const { notes, code } = await exportTree(simple(), ['home/user']);
    expect(code).toBe(0);
    expect(notes).toEqual(['exists home/user/a']);
    expect([text('home/user/a'), text('home/user/own'), text('home/user/docs/b')]).toEqual([
      'mine',
      'own',
      'content b',
    ]);
    expect(lstatSync(join(folder, 'home/user')).mode & 0o777).toBe(0o755);
  });

  test('is replaced on demand, folders are merged', async () => {
    const { notes } = await exportTree(simple(), ['home/user'], { overwrite: true });
    expect(notes).toEqual([]);
    expect([text('home/user/a'), text('home/user/own')]).toEqual(['content a', 'own']);
    expect(lstatSync(join(folder, 'home/user')).mode & 0o777).toBe(0o700);
    expect(all().filter((name) => name.includes('qubes-backup'))).toEqual([]);
  });

  test('a folder in the place of a file stays, whatever was asked', async () => {
    mkdirSync(join(folder, 'var/log'), { recursive: true });
    writeFileSync(join(folder, 'var/log/x'), 'x');
    for (const overwrite of [false, true]) {
      const { notes } = await exportTree(simple(), ['var/log'], { overwrite });
      expect(notes).toEqual(['exists var/log']);
    }
    expect(text('var/log/x')).toBe('x');
  });

  test('a file in the place of a folder stays, and all below is left out', async () => {
    writeFileSync(join(folder, 'var'), 'a file');
    for (const overwrite of [false, true]) {
      const { notes, done } = await exportTree(simple(), ['var/log', 'home/user/docs'], { overwrite });
      expect(notes).toEqual(['exists var']);
      expect(done?.missing).toEqual([]);
    }
    expect(text('var')).toBe('a file');
  });

  test('a damaged snapshot leaves the old file, and no remains', async () => {
    const tree = simple();
    const top = await store.tree(tree);
    const number = tree[3]!.chunks[0]!.place.blob;
    store.blobs.set(
      number,
      store.blobs.get(number)!.map((byte, i) => (i > 12 ? byte ^ 1 : byte)),
    );
    const { failure } = await exportTree(top, ['home/user/a'], { overwrite: true });
    expect(failure).toContain('store-damaged');
    expect(all()).toEqual(['home', 'home/user', 'home/user/a', 'home/user/own']);
    expect(text('home/user/a')).toBe('mine');
  });
});

describe('no symlink on the way is followed', () => {
  let outside = '';
  beforeEach(() => {
    outside = join(folder, '..', 'outside');
    mkdirSync(join(outside, 'user'), { recursive: true });
    writeFileSync(join(outside, 'file'), 'untouched');
  });

  test.each([false, true])('in the place of a folder (overwrite %s)', async (overwrite) => {
    symlinkSync(outside, join(folder, 'home'));
    const { notes, code } = await exportTree(simple(), ['home/user'], { overwrite });
    expect(notes).toEqual(['exists home']);
    expect(code).toBe(0);
    expect(readdirSync(outside).sort()).toEqual(['file', 'user']);
    expect(readdirSync(join(outside, 'user'))).toEqual([]);
    expect(readlinkSync(join(folder, 'home'))).toBe(outside);
  });

  test.each([false, true])('in the place of a file (overwrite %s)', async (overwrite) => {
    mkdirSync(join(folder, 'home/user'), { recursive: true });
    symlinkSync(join(outside, 'file'), join(folder, 'home/user/a'));
    const { notes } = await exportTree(simple(), ['home/user/a'], { overwrite });
    expect(notes).toEqual(overwrite ? [] : ['exists home/user/a']);
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('untouched');
    expect(lstatSync(join(folder, 'home/user/a')).isSymbolicLink()).toBe(!overwrite);
  });

  test('that the snapshot made itself', async () => {
    const tree = [directory(''), symlink('home', outside), store.file('home/file', ['evil'])];
    for (const tar of [false, true]) {
      const { failure } = await exportTree(await store.hostileTree(tree), [''], { tar });
      expect(failure).toContain('store-damaged');
    }
    const { failure } = await exportTree(await store.hostileTree(tree), ['home/file']);
    expect(failure).toContain('store-damaged');
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('untouched');
  });

  test('only the folder itself may be named through one', async () => {
    const link = join(folder, '..', 'link');
    symlinkSync(folder, link);
    await exportTree(simple(), ['var/log'], { into: link });
    expect(text('var/log')).toBe('log');
  });

  test('a path upwards is not in any snapshot', async () => {
    const { done } = await exportTree(simple(), ['../outside/file', '/etc/passwd', '..', 'home/../var']);
    expect(done?.missing).toEqual([0, 1, 2, 3]);
    expect(all()).toEqual([]);
  });
});

// ---- tar ---------------------------------------------------------------------------------------------

/** What lstat says that tar keeps. */
function facts(path: Buffer) {
  const { mode, uid, gid, size, mtimeNs, rdev, nlink } = lstatSync(path, { bigint: true });
  const directorySize = (Number(mode) & 0o170000) === 0o040000;
  return {
    mode,
    uid,
    gid,
    mtimeNs,
    rdev,
    size: directorySize ? 0n : size,
    links: directorySize ? 0n : nlink,
  };
}

const asUser = process.getuid?.() !== 0;

/** A tree with a little of everything that this user may restore. */
function everything(): TreeEntry[] {
  const long = 'a-long-name-'.repeat(12);
  const shared = store.file('hard1', ['shared'], { inode: 77, linked: true });
  const odd = (path: ByteString, fields: Partial<Entry> = {}): TreeEntry => {
    const tree = store.file('x', ['odd'], fields);
    return { ...tree, entry: { ...tree.entry, path } };
  };
  const owned = asUser ? {} : { uid: 3_000_000_000, gid: 262_144 };
  return [
    directory('', { mode: 0o755, mtime: { seconds: 77, nanoseconds: 1 } }),
    directory('dir', { mode: 0o2750, mtime: { seconds: 99, nanoseconds: 123_456_789 } }),
    store.file('dir/after-2038', ['x'], { mtime: { seconds: 6_000_000_000, nanoseconds: 5 } }),
    store.file('dir/before-1970', ['x'], { mtime: { seconds: -2, nanoseconds: 250_000_000 } }),
    store.file('dir/half-before', ['x'], { mtime: { seconds: -1, nanoseconds: 500_000_000 } }),
    store.file('dir/whole-before', ['x'], { mtime: { seconds: -100, nanoseconds: 0 } }),
    store.file('dir/whole', ['x'], { mtime: { seconds: 1_600_000_000, nanoseconds: 0 } }),
    directory(long),
    store.file(`${long}/${long}`, [randomBytes(1000)]),
    symlink(`${long}/symlink`, `${long}/`.repeat(4)),
    store.file('empty', []),
    { entry: entryOf('fifo', TYPE.fifo, { mode: 0o600 }), chunks: [] },
    shared,
    { ...shared, entry: { ...shared.entry, path: 'hard2' as ByteString } },
    store.file('large', [randomBytes(2_000_000), randomBytes(2_000_000), randomBytes(77)], { mode: 0o755 }),
    store.file('no-mode', ['x'], { mode: 0 }),
    store.file('owned', ['x'], owned),
    store.file('setuid', ['x'], { mode: 0o4711 }),
    { ...store.file('sparse', [randomBytes(700)]), entry: entryOf('sparse', TYPE.file, { size: 3_000_000 }) },
    symlink('sym\u00e9', 'target-\u00e9', { mtime: { seconds: 5, nanoseconds: 6 } }),
    odd('\xe9 latin\n1 \\' as ByteString),
    odd('\xff' as ByteString),
  ]
    .map((item) => ({ ...item }))
    .sort((a, b) => (a.entry.path.replaceAll('/', '\0') < b.entry.path.replaceAll('/', '\0') ? -1 : 1));
}

describe('R33: as a tar stream', () => {
  testNeeding(program('tar'))('GNU tar extracts the same tree as a restore into a folder', async () => {
    const entries = everything();
    const top = await store.tree(entries);
    const { tar, done, failure } = await exportTree(top, [''], { tar: true });
    expect(failure).toBeUndefined();
    expect(done).toMatchObject({ entries: entries.length, missing: [] });
    const archive = join(folder, '..', 'archive.tar');
    writeFileSync(archive, tar);
    for (const locale of ['C', 'C.UTF-8']) {
      const extracted = join(folder, '..', `tar-${locale}`);
      mkdirSync(extracted);
      execFileSync(
        'tar',
        ['-xpf', archive, '-C', extracted, '--numeric-owner', '--delay-directory-restore'],
        {
          env: { PATH: process.env['PATH'], LC_ALL: locale },
          stdio: ['ignore', 'ignore', 'pipe'],
        },
      );
      for (const { entry, chunks } of entries) {
        const path = Buffer.concat([Buffer.from(`${extracted}/`), Buffer.from(entry.path, 'latin1')]);
        const found = facts(path);
        const { seconds, nanoseconds } = entry.mtime;
        expect.soft(found.mtimeNs, entry.path).toBe(BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));
        expect.soft([Number(found.uid), Number(found.gid)], entry.path).toEqual([entry.uid, entry.gid]);
        if (entry.type === TYPE.symlink) expect.soft(readlinkSync(path, 'latin1')).toBe(entry.target);
        else expect.soft(Number(found.mode) & 0o7777, entry.path).toBe(entry.mode);
        if (entry.type !== TYPE.file) continue;
        if ((entry.mode & 0o400) === 0) chmodSync(path, 0o600);
        const content = readFileSync(path);
        expect.soft(content.length, entry.path).toBe(entry.size);
        let at = 0;
        for (const { gap, length, place } of chunks) {
          const pack = store.blobs.get(place.blob)!;
          const start = pack.length - place.packSize + place.offset;
          expect
            .soft(
              content.subarray(at + gap, at + gap + length).equals(pack.subarray(start, start + length)),
              entry.path,
            )
            .toBe(true);
          at += gap + length;
        }
      }
      expect(lstatSync(join(extracted, 'hard1')).ino).toBe(lstatSync(join(extracted, 'hard2')).ino);
      expect(readdirSync(extracted).length).toBe(
        entries.filter(({ entry }) => entry.path !== '' && !entry.path.includes('/')).length,
      );
    }
  });

  testNeeding(program('tar'))('device nodes', async () => {
    const node = (path: string, type: Entry['type'], device: [number, number]) => ({
      entry: entryOf(path, type, { device, mode: 0o640 }),
      chunks: [],
    });
    const tree = [
      directory(''),
      node('b', TYPE.blockDevice, [8, 17]),
      node('c', TYPE.characterDevice, [4095, 1_048_575]), // The largest of Linux.
      node('d', TYPE.characterDevice, [4, 2 ** 32 - 1]),
    ];
    const { tar, notes } = await exportTree(tree, [''], { tar: true });
    const list = execFileSync('tar', ['-tvf', '-'], { input: tar, encoding: 'utf8' });
    expect(list).toMatch(/^brw-r----- .* 8,17 .* b$/m);
    expect(list).toMatch(/^crw-r----- .* 4095,1048575 .* c$/m);
    expect(notes).toEqual(['not-restored d']); // A number that tar cannot hold.
  });

  testNeeding(program('tar'), program('getfattr'))('R20: extended attributes', async () => {
    const attributes = [{ name: 'user.test' as ByteString, value: Uint8Array.of(0, 10, 61, 255) }];
    const { tar } = await exportTree([directory(''), store.file('f', ['x'], { attributes })], ['f'], {
      tar: true,
    });
    try {
      execFileSync('setfattr', ['-n', 'user.probe', '-v', '1', folder], { stdio: 'ignore' });
    } catch {
      expect(tar.includes(Buffer.from('SCHILY.xattr.user.test=\x00\n=\xff\n', 'latin1'))).toBe(true);
      return; // The temporary folder has no user attributes: only the stream can be looked at.
    }
    execFileSync('tar', ['-xf', '-', '-C', folder, '--xattrs', '--xattrs-include=*'], { input: tar });
    const found = execFileSync('getfattr', ['-d', '-e', 'hex', '--absolute-names', join(folder, 'f')], {
      encoding: 'utf8',
    });
    expect(found).toContain('user.test=0x000a3dff');
  });

  testNeeding(program('tar'))('only what was chosen, and what is missing', async () => {
    const { tar, done } = await exportTree(simple(), ['home/user/docs', 'gone'], { tar: true });
    expect(done).toMatchObject({ missing: [1], files: 1 });
    const list = execFileSync('tar', ['-tf', '-'], { input: tar, encoding: 'utf8' });
    expect(list.trim().split('\n')).toEqual([
      './',
      'home/',
      'home/user/',
      'home/user/docs/',
      'home/user/docs/b',
    ]);
  });

  test('R26: sockets and unreadable files are named', async () => {
    const tree = [
      directory(''),
      store.file('lost', [], { unreadable: true }),
      { entry: entryOf('socket', TYPE.socket), chunks: [] },
    ];
    expect((await exportTree(tree, [''], { tar: true })).notes).toEqual([
      'not-restored lost',
      'skipped-socket socket',
    ]);
  });

  test('a damaged pack ends the stream as a failure', async () => {
    const tree = [directory(''), store.file('a', [randomBytes(3000)])];
    const top = await store.tree(tree);
    store.blobs.set(tree[1]!.chunks[0]!.place.blob, new Uint8Array(20));
    const { failure, code } = await exportTree(top, [''], { tar: true });
    expect(failure).toContain('store-damaged');
    expect(code).toBe(1);
  });

  test('nothing is written to a folder', async () => {
    await exportTree(simple(), [''], { tar: true });
    expect(existsSync(join(folder, 'home'))).toBe(false);
  });
});
