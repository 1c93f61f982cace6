import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecheckWindow } from '../../dvm/recheck.ts';
import { TYPE, pathKey } from '../../dvm/entry.ts';
import * as libc from '../../dvm/libc.ts';
import { walk } from '../../dvm/walk.ts';
import type { Noter } from '../../dvm/walk.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { shell } from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const noNotes: Noter = (code, path, detail) => {
  throw new Error(`${code} ${path}: ${detail}`);
};
const paths = (folder: string, note = noNotes) =>
  Array.from(walk(folder, note), (found) => found.path as string);
const openDescriptors = () => readdirSync('/proc/self/fd').length;

test('path order is bytewise by component, with names of any bytes', () => {
  const name = fc
    .array(
      fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2f),
      { minLength: 1, maxLength: 4 },
    )
    .map((bytes) => String.fromCharCode(...bytes) as ByteString)
    .filter((text) => text !== '.' && text !== '..');
  fc.assert(
    fc.property(
      fc.uniqueArray(name, { maxLength: 8 }),
      fc.uniqueArray(name, { maxLength: 4 }),
      (top, inner) => {
        const folder = tempFolder();
        const root = libc.openDirectory(folder);
        top.forEach((each, index) => {
          if (index % 2 === 1) {
            libc.close(libc.createFileAt(root, each, 0o600));
            return;
          }
          libc.makeDirectoryAt(root, each, 0o700);
          const directory = libc.openDirectoryAt(root, each);
          for (const child of inner) libc.close(libc.createFileAt(directory, child, 0o600));
          libc.close(directory);
        });
        libc.close(root);
        const found = paths(folder);
        const sorted = [...found].sort((a, b) =>
          pathKey(a as ByteString) < pathKey(b as ByteString) ? -1 : 1,
        );
        expect(found).toEqual(sorted);
        expect(found).toHaveLength(1 + top.length + Math.ceil(top.length / 2) * inner.length);
      },
    ),
    { numRuns: 30 },
  );
});

test('a directory’s subtree comes before what sorts after its name but below its slash', () => {
  const folder = tempFolder();
  mkdirSync(join(folder, 'a'));
  for (const each of ['a/b', 'a!', 'a0', 'a-']) writeFileSync(join(folder, each), '');
  expect(paths(folder)).toEqual(['', 'a', 'a/b', 'a!', 'a-', 'a0']);
});

test('R20: deep nesting needs few descriptors, and all of them are closed', () => {
  const folder = tempFolder();
  let deep = folder;
  for (let i = 0; i < 150; i++) {
    deep = join(deep, 'd');
    mkdirSync(deep);
    writeFileSync(join(deep, '..', 'z'), '');
    mkdirSync(join(deep, '..', 'e'));
    writeFileSync(join(deep, '..', 'e', 'f'), '');
  }
  const before = openDescriptors();
  let most = 0;
  let count = 0;
  for (const found of walk(folder, noNotes)) {
    count += 1;
    most = Math.max(most, openDescriptors());
    // Every entry is still reachable by what the walk hands out.
    if (found.type === TYPE.skipped) throw new Error('nothing is left out here');
    expect(found.access.flags()).toBe(0);
  }
  expect(count).toBe(1 + 150 * 4);
  expect(most - before).toBeLessThan(70);
  expect(openDescriptors()).toBe(before);
});

test('an abandoned walk closes its descriptors', () => {
  const folder = tempFolder();
  mkdirSync(join(folder, 'a/b/c'), { recursive: true });
  const before = openDescriptors();
  for (const found of walk(folder, noNotes)) if (found.path === 'a/b') break;
  expect(openDescriptors()).toBe(before);
});

test('what disappears meanwhile is noted, the rest goes on', () => {
  const folder = tempFolder();
  for (const each of ['a', 'b', 'c']) writeFileSync(join(folder, each), '');
  const notes: string[] = [];
  const found: string[] = [];
  for (const { path } of walk(folder, (code, noted) => notes.push(`${code} ${noted}`))) {
    found.push(path);
    if (path === 'a') rmSync(join(folder, 'b'));
  }
  expect(found).toEqual(['', 'a', 'c']);
  expect(notes).toEqual(['vanished b']);
});

test('a folder moved away while the walk is deep inside it is not mistaken for its new surroundings', () => {
  const folder = tempFolder();
  const elsewhere = tempFolder();
  let deep = folder;
  for (let i = 0; i < 100; i++) {
    deep = join(deep, 'd');
    mkdirSync(deep);
  }
  writeFileSync(join(folder, 'd/d/z'), '');
  writeFileSync(join(folder, 'z'), '');
  writeFileSync(join(elsewhere, 'trap'), '');
  const notes: string[] = [];
  const found: string[] = [];
  for (const { path } of walk(folder, (code, noted) => notes.push(`${code} ${noted}`))) {
    found.push(path);
    if (path.length === 2 * 90 - 1) renameSync(join(folder, 'd/d/d'), join(elsewhere, 'd'));
  }
  expect(found.filter((path) => path.endsWith('trap'))).toEqual([]);
  expect(found.slice(-2)).toEqual(['d/d/z', 'z']);
  expect(notes).toEqual([]);
});

test('symlinks are entries, never ways', () => {
  const folder = tempFolder();
  mkdirSync(join(folder, 'real'));
  writeFileSync(join(folder, 'real/file'), '');
  symlinkSync('real', join(folder, 'alias'));
  symlinkSync('..', join(folder, 'real/up'));
  expect(paths(folder)).toEqual(['', 'alias', 'real', 'real/file', 'real/up']);
});

test('windows of consecutive starts cover every byte, each exactly as long as asked', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 1, max: 600 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (total, length, share) => {
        const window = new RecheckWindow(total, length, Math.min(2 ** 32 - 1, Math.floor(share * 2 ** 32)));
        const covered = Array.from({ length: total }, (_, at) => window.overlaps(at, 1)).filter(
          Boolean,
        ).length;
        expect(covered).toBe(Math.min(total, length));
      },
    ),
  );
  expect(new RecheckWindow(100, 0, 5).overlaps(0, 100)).toBe(false);
});

/** ext4 has no files of that size; xfs, btrfs and memory do. */
const largeFiles = existsSync('/dev/shm') ? undefined : 'there is no /dev/shm';

testNeeding(largeFiles)('a file whose size no number is exact for is noted, and others are found', () => {
  const folder = tempFolder('/dev/shm');
  shell('truncate -s 9223372036854775807 "$1/endless"; truncate -s 9007199254740991 "$1/large"', folder);
  const notes: string[] = [];
  expect(paths(folder, (code, path, detail) => notes.push(`${code} ${path}: ${detail}`))).toEqual([
    '',
    'large',
  ]);
  expect(notes).toEqual(['unreadable endless: statx: EOVERFLOW (it says that it has 2^53 bytes or more)']);
});
