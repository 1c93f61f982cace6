import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { ByteString } from '../../shared/bytes.ts';
import { bytesOf, concat } from '../../shared/bytes.ts';
import { restore } from '../../shared/protocol/disposable.ts';
import { TYPE } from '../../dvm/entry.ts';
import type { Entry } from '../../dvm/entry.ts';
import { close, getAttributeAt, openDirectory } from '../../dvm/libc.ts';
import type { TreeEntry } from '../../dvm/tree.ts';
import { attributes, fileFlags, notRoot, program, root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import type { Answer } from './tree-kit.ts';
import { MemoryStore, callService, directory, entryOf, symlink } from './tree-kit.ts';

let folder = '';
let store = new MemoryStore();

beforeEach(() => {
  folder = join(tempFolder(), 'volume');
  mkdirSync(folder);
  store = new MemoryStore(7);
});

async function restoreTree(entries: readonly TreeEntry[]): Promise<Answer<typeof restore>> {
  return restoreTop(await store.tree(entries));
}

function restoreTop(top: number, volume = folder): Promise<Answer<typeof restore>> {
  return callService(restore, { volume: { kind: 'folder', path: volume }, top }, store);
}

const pathOf = (path: ByteString): Buffer => Buffer.concat([Buffer.from(`${folder}/`), bytesOf(path)]);

/** Compares what was restored with the snapshot, attribute by attribute. */
function expectRestored({ entry }: TreeEntry, content?: Uint8Array): void {
  const found = lstatSync(pathOf(entry.path), { bigint: true });
  const time = BigInt(entry.mtime.seconds) * 1_000_000_000n + BigInt(entry.mtime.nanoseconds);
  expect.soft(found.mtimeNs, `mtime of ${entry.path}`).toBe(time);
  expect
    .soft([Number(found.uid), Number(found.gid)], `owner of ${entry.path}`)
    .toEqual([entry.uid, entry.gid]);
  if (entry.type !== TYPE.symlink) {
    expect
      .soft((Number(found.mode) & 0o7777).toString(8), `mode of ${entry.path}`)
      .toBe(entry.mode.toString(8));
  } else expect.soft(readlinkSync(pathOf(entry.path), { encoding: 'latin1' })).toBe(entry.target);
  expect.soft(found.isFile()).toBe(entry.type === TYPE.file);
  expect.soft(found.isDirectory()).toBe(entry.type === TYPE.directory);
  expect.soft(found.isSymbolicLink()).toBe(entry.type === TYPE.symlink);
  expect.soft(found.isFIFO()).toBe(entry.type === TYPE.fifo);
  expect.soft(found.isCharacterDevice()).toBe(entry.type === TYPE.characterDevice);
  expect.soft(found.isBlockDevice()).toBe(entry.type === TYPE.blockDevice);
  // A user may look no further into it; the superuser need not care.
  if (entry.type === TYPE.directory && (entry.mode & 0o500) !== 0o500) chmodSync(pathOf(entry.path), 0o700);
  if (content !== undefined) expect.soft(readFileSync(pathOf(entry.path)).equals(content)).toBe(true);
}

const odd = '\xff\xfe odd\n"\\' as ByteString;
const oddly = (tree: TreeEntry, path: ByteString): TreeEntry => ({ ...tree, entry: { ...tree.entry, path } });

test('R20: files, folders, symlinks, FIFOs, sparse files, odd names, modes and times come back exactly', async () => {
  const big = [randomBytes(2 * 1024 * 1024), randomBytes(1_500_000), randomBytes(70_000)];
  const sparse = store.file('sparse', [randomBytes(1000), randomBytes(2000)]);
  const [head, tail] = sparse.chunks;
  const withHoles: TreeEntry = {
    entry: { ...sparse.entry, size: 64 * 1024 * 1024 },
    chunks: [
      { ...head!, gap: 1024 * 1024 },
      { ...tail!, gap: 10 * 1024 * 1024 },
    ],
  };
  const tree = [
    directory('', { mode: 0o750 }),
    directory('dir', { mode: 0o500, mtime: { seconds: -5, nanoseconds: 1 } }),
    store.file('dir/inner', ['hello'], {
      mode: 0o400,
      mtime: { seconds: 5_000_000_000, nanoseconds: 999_999_999 },
    }),
    directory('dir/sub', { mode: 0o000 }),
    store.file('dir/sub/x', ['below a folder without permissions'], { mode: 0 }),
    store.file('dir.txt', []),
    { entry: entryOf('fifo', TYPE.fifo, { mode: 0o620 }), chunks: [] },
    symlink('link', '../anywhere/\u00e9', { mtime: { seconds: 12, nanoseconds: 34 } }),
    store.file('multi', big, { mode: 0o4755 }),
    { entry: entryOf('only-hole', TYPE.file, { size: 3_000_000 }), chunks: [] },
    withHoles,
    oddly(store.file('y', ['odd']), odd),
  ];
  const answer = await restoreTree(tree);
  expect(answer).toMatchObject({ failure: undefined, code: 0, stderr: '' });
  expect(answer.said).toEqual([
    {
      name: 'done',
      value: { entries: 12, files: 7, bytes: tree.reduce((sum, { entry }) => sum + entry.size, 0) },
    },
  ]);
  for (const item of tree) expectRestored(item);
  expect(readFileSync(join(folder, 'multi')).equals(concat(big))).toBe(true);
  expect(readFileSync(join(folder, 'dir/inner'), 'utf8')).toBe('hello');
  expect(readFileSync(pathOf(odd), 'utf8')).toBe('odd');
  const restored = readFileSync(join(folder, 'sparse'));
  expect(restored.length).toBe(64 * 1024 * 1024);
  expect(restored.subarray(0, 1024 * 1024).every((byte) => byte === 0)).toBe(true);
  expect(lstatSync(join(folder, 'sparse')).blocks * 512).toBeLessThan(1024 * 1024);
  expect(lstatSync(join(folder, 'only-hole')).blocks).toBe(0);
});

/** As acl(5) and linux/posix_acl_xattr.h have it: owner r, user 12345 r, group nothing, mask r, others nothing. */
const READ_ONLY_LIST = Buffer.from(
  '02000000 01000400ffffffff 0200040039300000 04000000ffffffff 10000400ffffffff 20000000ffffffff'.replaceAll(
    ' ',
    '',
  ),
  'hex',
);

testNeeding(root, fileFlags())(
  'R20: chattr flags come back, last, also of hard links and of folders with content',
  async () => {
    onTestFinished(() => void execFileSync('chattr', ['-R', '-i', '-a', folder]));
    const shared = { inode: 77, linked: true, flags: 0x50 };
    const tree = [
      directory('', { flags: 0x80 }),
      directory('closed', { flags: 0x10 }),
      store.file('closed/a', ['one'], shared),
      store.file('log', ['two'], { flags: 0x20 }),
      directory('other', {}),
      { ...store.file('other/b', ['one'], shared) },
    ];
    const answer = await restoreTree(tree);
    expect(answer).toMatchObject({ failure: undefined, code: 0 });
    expect(answer.said.filter(({ name }) => name === 'note')).toEqual([]);
    for (const item of tree) expectRestored(item);
    const flagsOf = (path: string) =>
      /^\S+/
        .exec(execFileSync('lsattr', ['-d', join(folder, path)], { encoding: 'utf8' }))?.[0]
        .replace(/[-e]/g, '');
    expect(['', 'closed', 'closed/a', 'log', 'other', 'other/b'].map(flagsOf)).toEqual([
      'A',
      'i',
      'id',
      'a',
      '',
      'id',
    ]);
  },
);

test('zeros are holes in blocks of 4 KiB, wherever in a chunk, and at the end of a file', async () => {
  const block = 4096;
  const content = Buffer.alloc(9 * block + 100, 1)
    .fill(0, block - 10, 3 * block)
    .fill(0, 5 * block - 1, 6 * block + 1);
  content.fill(0, 7 * block + 5);
  const shifted = { ...store.file('shifted', [content]) };
  const [only] = shifted.chunks;
  const tree = [
    directory(''),
    store.file('file', [content]),
    { entry: { ...shifted.entry, size: content.length + 70_000 }, chunks: [{ ...only!, gap: 65_536 }] },
    store.file('zeros', [Buffer.alloc(2 * block)]),
  ];
  expect(await restoreTree(tree)).toMatchObject({ failure: undefined, code: 0 });
  expect(readFileSync(join(folder, 'file')).equals(content)).toBe(true);
  const moved = readFileSync(join(folder, 'shifted'));
  expect(moved.length).toBe(content.length + 70_000);
  expect(moved.subarray(65_536, 65_536 + content.length).equals(content)).toBe(true);
  expect(readFileSync(join(folder, 'zeros')).equals(Buffer.alloc(2 * block))).toBe(true);
  const blocksOf = (name: string) => (lstatSync(join(folder, name)).blocks * 512) / block;
  expect(blocksOf('zeros')).toBe(0);
  expect(blocksOf('file')).toBeLessThanOrEqual(6); // 0, 3, 4, 6, 7 and what attributes may take.
  expect(blocksOf('shifted')).toBeLessThanOrEqual(6);
});

testNeeding(attributes(), notRoot)(
  'an access list that makes a file read-only does not keep its other attributes out',
  async () => {
    const listed = store.file('listed', ['text'], {
      mode: 0o440,
      attributes: [
        { name: 'system.posix_acl_access' as ByteString, value: READ_ONLY_LIST },
        { name: 'user.note' as ByteString, value: Buffer.from('kept') },
      ],
    });
    const answer = await restoreTree([directory(''), listed]);
    expect(answer).toMatchObject({ failure: undefined, code: 0 });
    expect(answer.said.filter(({ name }) => name === 'note')).toEqual([]);
    const at = openDirectory(folder);
    onTestFinished(() => close(at));
    for (const { name, value } of listed.entry.attributes) {
      expect(Buffer.from(getAttributeAt(at, 'listed' as ByteString, name))).toEqual(Buffer.from(value));
    }
  },
);

test('hard links become one file again, also between folders and of symlinks', async () => {
  const shared = { inode: 4711, linked: true };
  const first = store.file('a/first', ['shared'], shared);
  const second: TreeEntry = {
    entry: { ...first.entry, path: 'b/second' as ByteString },
    chunks: first.chunks,
  };
  const link = symlink('a/link', 'nowhere', { inode: 4712, linked: true });
  const answer = await restoreTree([
    directory(''),
    directory('a', { mtime: { seconds: 1, nanoseconds: 2 } }),
    first,
    link,
    directory('b', { mtime: { seconds: 3, nanoseconds: 4 } }),
    { entry: { ...link.entry, path: 'b/link' as ByteString }, chunks: [] },
    second,
  ]);
  expect(answer.code).toBe(0);
  const ids = ['a/first', 'b/second', 'a/link', 'b/link'].map((name) => lstatSync(join(folder, name)).ino);
  expect(ids[0]).toBe(ids[1]);
  expect(ids[2]).toBe(ids[3]);
  expect(lstatSync(join(folder, 'a'), { bigint: true }).mtimeNs).toBe(1_000_000_002n);
  expect(lstatSync(join(folder, 'b'), { bigint: true }).mtimeNs).toBe(3_000_000_004n);
});

test('files over many leaves and packs, in an order of packs that is not that of paths', async () => {
  const tree: TreeEntry[] = [directory('')];
  const contents = new Map<string, Buffer>();
  const packs: { path: string; content: Buffer; chunk: TreeEntry['chunks'] }[] = [];
  for (let i = 0; i < 4000; i++) {
    const path = `${String((i * 7919) % 4000).padStart(5, '0')}-a-name-that-is-not-so-short`;
    packs.push({ path, content: randomBytes(50 + (i % 200)), chunk: [] });
  }
  for (let i = 0; i < packs.length; i += 16) {
    const some = packs.slice(i, i + 16);
    const chunks = store.pack(...some.map(({ content }) => content));
    some.forEach((item, index) => (item.chunk = [chunks[index]!]));
  }
  packs.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, content, chunk } of packs) {
    contents.set(path, content);
    tree.push({ entry: entryOf(path, TYPE.file, { size: content.length }), chunks: chunk });
  }
  const answer = await restoreTree(tree);
  expect(answer.failure).toBeUndefined();
  expect(new Set(answer.got).size).toBe(answer.got.length); // Each blob once: all packs fit the cache here.
  for (const [path, content] of contents)
    expect(readFileSync(join(folder, path)).equals(content), path).toBe(true);
});

test('R20: a path longer than 4,096 bytes, in more folders than descriptors', async () => {
  onTestFinished(() => {
    spawnSync('rm', ['-rf', folder]); // No path of Node.js is as long.
  });
  const names = Array.from({ length: 300 }, (_, i) => `${'long-name-'.repeat(4)}${i}`);
  const tree = [directory('')];
  for (let i = 1; i <= names.length; i++) {
    tree.push(directory(names.slice(0, i).join('/'), { mtime: { seconds: i, nanoseconds: i } }));
  }
  const path = `${names.join('/')}/file`;
  const answer = await restoreTree([...tree, store.file(path, ['deep'], { mode: 0o640 })]);
  expect(answer.failure).toBeUndefined();
  expect(answer.said.length).toBe(1);
  const found = execFileSync('find', ['.', '-printf', '%d %T@ %m %s\\n'], { cwd: folder, encoding: 'utf8' })
    .trim()
    .split('\n');
  expect(found.length).toBe(302);
  expect(found.at(-1)).toBe('301 1600000000.1234567890 640 4');
  for (let i = 1; i <= 300; i++)
    expect(found[i]).toMatch(new RegExp(`^${i} ${i}.${String(i).padStart(9, '0')}0 755 `));
}, 60_000);

test('a file whose chunks go over several leaves is written whole', async () => {
  const piece = randomBytes(64);
  const [chunk] = store.pack(piece);
  const chunks = Array.from({ length: 60_000 }, () => ({ ...chunk!, gap: 1 }));
  const size = 60_000 * 65 + 5;
  const file = { entry: entryOf('huge', TYPE.file, { size }), chunks };
  const answer = await restoreTree([directory(''), file, store.file('next', ['x'])]);
  expect(answer.failure).toBeUndefined();
  const unit = concat([Uint8Array.of(0), piece]);
  const restored = readFileSync(join(folder, 'huge'));
  expect(restored.length).toBe(size);
  for (let i = 0; i < 60_000; i += 997)
    expect(restored.subarray(65 * i, 65 * i + 65).equals(unit)).toBe(true);
  expect(answer.got.length).toBeGreaterThan(4); // Really more than one leaf.
});

testNeeding(root)('R20: owners, setuid bits and device nodes', async () => {
  const tree: TreeEntry[] = [
    directory('', { uid: 1000, gid: 1001 }),
    store.file('setuid', ['#!'], { mode: 0o6755, uid: 12345, gid: 4_000_000_000 }),
    symlink('symlink', 'x', { uid: 77, gid: 78 }),
    {
      entry: entryOf('zdev', TYPE.characterDevice, { mode: 0o2666, uid: 3, gid: 4, device: [1, 3] }),
      chunks: [],
    },
  ];
  const answer = await restoreTree(tree);
  const device = tree[3]!.entry;
  const noted = answer.said.some(({ name }) => name === 'note');
  if (!noted) {
    expect(lstatSync(join(folder, 'zdev')).rdev).toBe(0x103);
    expectRestored({ entry: device, chunks: [] });
  } else
    expect(answer.said).toContainEqual({
      name: 'note',
      value: expect.objectContaining({ path: 'zdev' }) as unknown,
    });
  for (const item of tree.slice(0, 3)) expectRestored(item);
});

testNeeding(program('getfattr'))('R20: extended attributes', async () => {
  const attributes = [
    { name: 'user.empty' as ByteString, value: new Uint8Array(0) },
    { name: 'user.k\xe9y' as ByteString, value: Uint8Array.of(0, 1, 255, 10) },
  ];
  const answer = await restoreTree([
    directory('', { attributes: [{ name: 'user.root' as ByteString, value: Uint8Array.of(65) }] }),
    store.file('f', ['x'], { attributes, mode: 0o444 }),
  ]);
  if (answer.said.some(({ name }) => name === 'note')) return; // A temporary folder without user attributes says so.
  const list = (path: string) =>
    execFileSync('getfattr', ['-d', '-e', 'hex', '--absolute-names', path], { encoding: 'latin1' });
  expect(list(join(folder, 'f'))).toContain('0x0001ff0a');
  expect(list(join(folder, 'f'))).toContain('user.empty');
  expect(list(folder)).toContain('user.root=0x41');
});

test('R26: what is not restored is named', async () => {
  const { said, code } = await restoreTree([
    directory(''),
    store.file('lost', [], { unreadable: true, size: 0 }),
    { entry: entryOf('socket', TYPE.socket), chunks: [] },
    store.file('x'.repeat(300), ['too long a name']),
  ]);
  expect(code).toBe(0);
  expect(
    said.map((message) => message.name === 'note' && [message.value.code, message.value.path.slice(0, 10)]),
  ).toEqual([['not-restored', 'lost'], ['skipped-socket', 'socket'], ['not-restored', 'xxxxxxxxxx'], false]);
  expect(readdirSync(folder)).toEqual([]);
});

testNeeding(root, program('setpriv'))(
  'R26: owners and devices that a user may not set are notes, and setuid bits are not left behind',
  async () => {
    spawnSync('chown', ['65534:65534', folder]);
    const top = await store.tree([
      directory('', { uid: 65534, gid: 65534 }),
      { entry: entryOf('device', TYPE.blockDevice, { device: [8, 0] }), chunks: [] },
      store.file('mine', ['x'], { uid: 65534, gid: 65534, mode: 0o4755 }),
      store.file('other', ['x'], { uid: 12, gid: 12, mode: 0o4755 }),
    ]);
    const wrapper = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const parent = join(folder, '..');
    spawnSync('chmod', ['755', parent]);
    const { said, failure } = await callService(
      restore,
      { volume: { kind: 'folder', path: folder }, top },
      store,
      { wrapper },
    );
    expect(failure).toBeUndefined();
    const notes = said.flatMap((message) =>
      message.name === 'note' ? [`${message.value.code} ${message.value.path}`] : [],
    );
    expect(notes).toEqual(['not-restored device', 'not-restored other']);
    expect(lstatSync(join(folder, 'mine')).mode & 0o7777).toBe(0o4755);
    expect(lstatSync(join(folder, 'other')).mode & 0o7777).toBe(0o755);
  },
);

describe('the volume', () => {
  test('R30: is refused unless it is empty', async () => {
    writeFileSync(join(folder, 'precious'), 'old');
    const answer = await restoreTree([directory(''), store.file('precious', ['new'])]);
    expect(answer.code).toBe(1);
    expect(answer.failure).toContain('vm-exists');
    expect(answer.got).toEqual([]);
    expect(readFileSync(join(folder, 'precious'), 'utf8')).toBe('old');
  });

  test('may have the lost+found of a fresh file system, which gives way', async () => {
    mkdirSync(join(folder, 'lost+found'), { mode: 0o755 });
    const answer = await restoreTree([directory(''), directory('lost+found', { mode: 0o700 })]);
    expect(answer.failure).toBeUndefined();
    expect(lstatSync(join(folder, 'lost+found')).mode & 0o777).toBe(0o700);
  });

  test('is refused if lost+found holds something', async () => {
    mkdirSync(join(folder, 'lost+found/#123'), { recursive: true });
    expect((await restoreTree([directory('')])).failure).toContain('not empty');
  });

  test('that is not there is an error of its own', async () => {
    expect((await restoreTop(await store.tree([directory('')]), join(folder, 'missing'))).failure).toContain(
      'io',
    );
  });
});

describe('R03: a hostile snapshot is refused, and nothing outside of the volume is touched', () => {
  const outside = () => join(folder, '..');

  async function refused(entries: readonly TreeEntry[]): Promise<void> {
    writeFileSync(join(outside(), 'target'), 'untouched');
    const answer = await restoreTop(await store.hostileTree(entries));
    expect(answer.failure).toContain('store-damaged');
    expect(answer.code).toBe(1);
    expect(readdirSync(outside()).sort()).toEqual(['target', 'volume']);
    expect(readFileSync(join(outside(), 'target'), 'utf8')).toBe('untouched');
    expect(readdirSync(folder)).toEqual([]); // The leaf is refused as a whole.
  }

  const file = (path: string, fields: Partial<Entry> = {}) => store.file(path, ['evil'], fields);
  const cases: [string, () => readonly TreeEntry[]][] = [
    ['a path upwards', () => [directory(''), file('../target')]],
    ['a path upwards from within', () => [directory(''), directory('a'), file('a/../../target')]],
    ['a dot', () => [directory(''), file('.')]],
    ['two dots at the end', () => [directory(''), directory('..')]],
    ['an absolute path', () => [directory(''), file('/tmp/evil')]],
    ['an empty component', () => [directory(''), directory('a'), file('a//b')]],
    ['a slash at the end', () => [directory(''), directory('a'), file('a/')]],
    ['a NUL', () => [directory(''), file('target\0x')]],
    ['a child of a symlink', () => [directory(''), symlink('s', '..'), file('s/target')]],
    ['a child of a file', () => [directory(''), file('f'), file('f/target')]],
    ['a child of nothing', () => [directory(''), file('missing/target')]],
    ['a path twice', () => [directory(''), file('a'), file('a')]],
    [
      'a symlink, then a folder of the same name',
      () => [directory(''), symlink('s', '..'), directory('s'), file('s/target')],
    ],
    ['paths out of order', () => [directory(''), file('b'), file('a')]],
    ['no root', () => [file('a')]],
    ['a root that is a symlink', () => [symlink('', '..'), file('target')]],
    ['a root twice', () => [directory(''), directory('')]],
  ];
  test.each(cases)('%s', async (_title, entries) => {
    await refused(entries());
  });

  test('a hard link only ever leads to what was restored', async () => {
    const first = symlink('a', '../target', { inode: 5, linked: true });
    const answer = await restoreTop(
      await store.hostileTree([directory(''), first, store.file('b', ['evil'], { inode: 5, linked: true })]),
    );
    expect(answer.failure).toContain('different types');
    expect(existsSync(join(outside(), 'target'))).toBe(false);
  });

  test('another chunk in a pack', async () => {
    const tree = [directory(''), store.file('a', ['honest'])];
    const top = await store.tree(tree);
    const number = tree[1]!.chunks[0]!.place.blob;
    const forged = Buffer.from(store.blobs.get(number)!);
    forged[forged.length - 1]! ^= 1;
    const answer = await callService(restore, { volume: { kind: 'folder', path: folder }, top }, store, {
      substitute: (wanted) => (wanted === number ? forged : undefined),
    });
    expect(answer.failure).toContain('another hash');
  });

  test('another leaf', async () => {
    const top = await store.tree([directory('')]);
    const other = await new MemoryStore().tree([directory('', { mode: 0o777 })]);
    expect(other).toBe(1);
    const forged = new MemoryStore();
    await forged.tree([directory('', { mode: 0o777 })]);
    const answer = await callService(restore, { volume: { kind: 'folder', path: folder }, top }, store, {
      substitute: (wanted) => (wanted === top ? undefined : forged.blobs.get(0)),
    });
    expect(answer.failure).toContain('store-damaged');
  });
});

testNeeding(root, program('mount'))('a full volume ends the job, with what to do', async (context) => {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', folder]);
  context.skip(mounted.status !== 0, 'mounting is forbidden here');
  onTestFinished(() => {
    spawnSync('umount', [folder]);
  });
  const answer = await restoreTree([directory(''), store.file('big', [randomBytes(2 * 1024 * 1024)])]);
  expect(answer.failure).toMatch(/ENOSPC.*larger volume/);
});
