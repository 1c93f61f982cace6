import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ByteString } from '../../shared/bytes.ts';
import * as libc from '../../dvm/libc.ts';
import { foldInode, statAt, statDescriptor } from '../../dvm/stat.ts';
import { root as needsRoot, testNeeding } from '../support/needs.ts';

let folder: string;
let root: number;
const name = (text: string) => text as ByteString;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'libc-'));
  root = libc.openDirectory(folder);
});
afterEach(() => {
  libc.close(root);
  rmSync(folder, { recursive: true, force: true });
});

test('names of any bytes are listed, opened and removed', () => {
  const names = [name('\xff\xfe'), name('a b\n'), name('\u00e9'), name('-'), name('x'.repeat(255))];
  for (const each of names) libc.close(libc.createFileAt(root, each, 0o600));
  expect(libc.readDirectory(root).sort()).toEqual([...names].sort());
  for (const each of names) expect(statAt(root, each).mode).toBe(0o100600);
  for (const each of names) libc.unlinkAt(root, each);
  expect(libc.readDirectory(root)).toEqual([]);
});

test('a directory larger than one buffer of names is listed in full', () => {
  for (let i = 0; i < 3000; i++) writeFileSync(join(folder, `${i}-${'n'.repeat(200)}`), '');
  expect(new Set(libc.readDirectory(root)).size).toBe(3000);
});

test('failures carry the symbolic errno and the call', () => {
  expect(() => statAt(root, name('absent'))).toThrow(
    expect.objectContaining({ code: 'ENOENT', call: 'statx', message: 'statx: ENOENT' }),
  );
  writeFileSync(join(folder, 'there'), '');
  expect(() => libc.createFileAt(root, name('there'), 0o600)).toThrow(
    expect.objectContaining({ code: 'EEXIST' }),
  );
  expect(() => libc.openFileAt(root, name('there\0absent'))).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
});

test('a name that is asked for is all of it, whatever was asked for before', () => {
  const files = ['n', 'no', 'x'.repeat(255)];
  files.forEach((each, i) => writeFileSync(join(folder, each), 'x'.repeat(i)));
  const sizeOf = (each: string) => statAt(root, name(each)).size;
  expect(['no', 'n', 'x'.repeat(255), 'n', 'no'].map(sizeOf)).toEqual([1, 0, 2, 0, 1]);
  expect(() => sizeOf('n\0o')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  for (const length of [256, 4095, 4096, 5000])
    expect(() => sizeOf('x'.repeat(length))).toThrow(expect.objectContaining({ code: 'ENAMETOOLONG' }));
  expect(sizeOf('n')).toBe(0);
});

test('R20: times keep nanoseconds, before 1970 and after 2038, also of a symlink', () => {
  writeFileSync(join(folder, 'f'), 'x');
  symlinkSync('f', join(folder, 'link'));
  const times = [
    { seconds: 0, nanoseconds: 1 },
    { seconds: -1, nanoseconds: 999_999_999 },
    { seconds: 1 - 2 ** 31, nanoseconds: 123_456_789 },
    { seconds: 2 ** 33, nanoseconds: 73 },
  ];
  for (const each of [name('f'), name('link')]) {
    for (const mtime of times) {
      libc.utimesAt(root, each, mtime);
      expect(statAt(root, each).mtime).toEqual(mtime);
    }
  }
});

test('R20: links of any length are read; no call follows one', () => {
  for (const length of [1, 255, 256, 257, 4095]) {
    libc.symlinkAt(name('t'.repeat(length)), root, name('link'));
    expect(libc.readLinkAt(root, name('link'))).toBe('t'.repeat(length));
    libc.unlinkAt(root, name('link'));
  }
  mkdirSync(join(folder, 'd'));
  writeFileSync(join(folder, 'f'), '');
  symlinkSync('d', join(folder, 'to-d'));
  symlinkSync('f', join(folder, 'to-f'));
  expect(() => libc.openDirectoryAt(root, name('to-d'))).toThrow(/ENOTDIR|ELOOP/);
  expect(() => libc.openFileAt(root, name('to-f'))).toThrow(/ELOOP/);
  expect(statAt(root, name('to-f')).mode & 0o170000).toBe(0o120000);
});

test('R20: extended attributes of files, directories and the root', () => {
  mkdirSync(join(folder, 'd'));
  writeFileSync(join(folder, 'f'), '');
  const value = Uint8Array.from({ length: 2000 }, (_, i) => i & 0xff);
  for (const each of [name('.'), name('d'), name('f')]) {
    libc.setAttributeAt(root, each, name('user.\xff'), value);
    libc.setAttributeAt(root, each, name('user.empty'), new Uint8Array());
    expect(libc.listAttributesAt(root, each)).toEqual(['user.empty', 'user.\xff']);
    expect(libc.getAttributeAt(root, each, name('user.\xff'))).toEqual(value);
    expect(libc.getAttributeAt(root, each, name('user.empty'))).toEqual(new Uint8Array());
    libc.removeAttributeAt(root, each, name('user.\xff'));
    expect(() => libc.getAttributeAt(root, each, name('user.\xff'))).toThrow(/ENODATA/);
  }
});

testNeeding(needsRoot)(
  'R20: attributes and owners of a symlink are its own; device nodes keep their numbers',
  () => {
    writeFileSync(join(folder, 'f'), '');
    symlinkSync('f', join(folder, 'link'));
    libc.setAttributeAt(root, name('link'), name('trusted.t'), Uint8Array.of(1));
    expect(libc.listAttributesAt(root, name('f'))).toEqual([]);
    libc.chownAt(root, name('link'), 12345, 54321);
    expect(statAt(root, name('link'))).toMatchObject({ uid: 12345, gid: 54321 });
    expect(statAt(root, name('f'))).toMatchObject({ uid: 0, gid: 0 });
    libc.chownAt(root, name('link'), undefined, 7);
    expect(statAt(root, name('link'))).toMatchObject({ uid: 12345, gid: 7 });
    libc.makeNodeAt(root, name('dev'), 0o020600, 4095, 1048575);
    expect(statAt(root, name('dev')).device).toEqual([4095, 1048575]);
  },
);

test('R20: FIFOs and sockets are made, and opening a FIFO does not wait for a writer', () => {
  libc.makeNodeAt(root, name('fifo'), 0o010600, 0, 0);
  libc.makeNodeAt(root, name('sock'), 0o140600, 0, 0);
  expect(statAt(root, name('fifo')).mode).toBe(0o010600);
  expect(statAt(root, name('sock')).mode).toBe(0o140600);
  libc.close(libc.openFileAt(root, name('fifo')));
});

test('R20: data and holes of a sparse file beyond 32 bits', () => {
  const far = 2 ** 40;
  const file = libc.createFileAt(root, name('sparse'), 0o600);
  writeSync(file, Buffer.alloc(65536, 1), 0, 65536, far);
  libc.close(file);
  truncateSync(join(folder, 'sparse'), far + 2 ** 21);
  const reader = libc.openFileAt(root, name('sparse'));
  expect(statDescriptor(reader).size).toBe(far + 2 ** 21);
  expect(libc.seekData(reader, 0)).toBe(far);
  expect(libc.seekHole(reader, far)).toBe(far + 65536);
  expect(libc.seekData(reader, far + 65536)).toBeUndefined();
  const bytes = Buffer.alloc(4);
  readSync(reader, bytes, 0, 4, far);
  expect(bytes).toEqual(Buffer.alloc(4, 1));
  libc.close(reader);
});

test('paths deeper than PATH_MAX work by descriptors', () => {
  let at = libc.openDirectoryAt(root, name('.'));
  for (let depth = 0; depth < 300; depth++) {
    libc.makeDirectoryAt(at, name('deep-directory-name'), 0o700);
    const next = libc.openDirectoryAt(at, name('deep-directory-name'));
    libc.close(at);
    at = next;
  }
  libc.setAttributeAt(at, name('.'), name('user.deep'), Uint8Array.of(1));
  expect(libc.listAttributesAt(at, name('.'))).toEqual(['user.deep']);
  libc.close(at);
});

test('renaming, linking and removing', () => {
  writeFileSync(join(folder, 'f'), '');
  libc.linkAt(root, name('f'), root, name('g'));
  expect(statAt(root, name('g'))).toMatchObject({ links: 2, inode: statAt(root, name('f')).inode });
  libc.renameAt(root, name('g'), root, name('h'));
  libc.makeDirectoryAt(root, name('d'), 0o700);
  libc.chmodAt(root, name('d'), 0o1711);
  expect(statAt(root, name('d')).mode).toBe(0o041711);
  libc.removeDirectoryAt(root, name('d'));
  expect(libc.readDirectory(root).sort()).toEqual(['f', 'h']);
});

test('inode numbers stay distinct beyond 53 bits', () => {
  expect(foldInode(0, 0xffffffff)).toBe(0xffffffff);
  expect(foldInode(2 ** 20 - 1, 0xffffffff)).toBe(2 ** 52 - 1);
  const folded = new Set<number>();
  for (let i = 0; i < 1000; i++) {
    for (const inode of [foldInode(0x80000000, i), foldInode(2 ** 20 + i, 7)]) {
      expect(Number.isSafeInteger(inode) && inode >= 2 ** 52).toBe(true);
      folded.add(inode);
    }
  }
  expect(folded.size).toBe(2000);
});

test('the overflow owner is told apart from one that cannot be mapped', () => {
  if (process.getuid?.() === 0) expect(libc.overflowIdMapped()).toEqual({ user: true, group: true });
  const script = `import { overflowIdMapped } from ${JSON.stringify(join(import.meta.dirname, '../../dvm/libc.ts'))}; console.log(JSON.stringify(overflowIdMapped()))`;
  let output: string;
  try {
    output = execFileSync('unshare', ['-Ur', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    if (/unshare/.test(String(error))) return; // No user namespaces on this machine.
    throw error;
  }
  expect(JSON.parse(output)).toEqual({ user: false, group: false });
});
