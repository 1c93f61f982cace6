import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import { root, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { NO_EXCLUDES, ScanDom0, verifyFolder } from './scan-dom0.ts';

function put(folder: string, path: string, content: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
}

const excluding = (...patterns: string[]) => ({
  excludes: { ...NO_EXCLUDES, lists: [{ source: '[backup]', patterns }], volumeFile: true },
});

/** Left-out paths of the newest snapshot with their reasons, and the paths that it holds. */
async function split(dom0: ScanDom0) {
  const entries = (await dom0.entries()).map(({ entry }) => entry);
  const skipped = entries.filter(({ type }) => type === TYPE.skipped);
  return {
    skipped: Object.fromEntries(skipped.map(({ path, target }) => [path, target])),
    kept: entries.filter(({ type }) => type !== TYPE.skipped).map(({ path }) => path as string),
  };
}

test('R23: left-out paths are in the tree with their reasons, in no digest, and an unchanged run puts nothing', async () => {
  const folder = tempFolder();
  put(folder, 'home/a.iso', 'large');
  put(folder, 'home/cache/one', '1');
  put(folder, 'home/keep', 'kept');
  put(folder, 'home/z/b.iso', 'large');
  const dom0 = new ScanDom0();
  const first = await dom0.scan(folder, excluding('*.iso', 'cache/'));
  expect(first.notes).toEqual([]);
  expect(first.done.counts).toMatchObject({ skipped: 3, files: 1, bytes: 4, entries: 7 });
  expect(await split(dom0)).toEqual({
    skipped: {
      'home/a.iso': 'pattern "*.iso" of [backup]',
      'home/cache': 'pattern "cache/" of [backup]',
      'home/z/b.iso': 'pattern "*.iso" of [backup]',
    },
    kept: ['', 'home', 'home/keep', 'home/z'],
  });
  // What is left out may change as it likes, as long as its directory does not.
  put(folder, 'home/a.iso', 'other');
  put(folder, 'home/cache/two', '2');
  const second = await dom0.scan(folder, excluding('*.iso', 'cache/'));
  expect(second).toMatchObject({ content: 0, trees: 0, bytes: 0 });
  expect(second.done).toMatchObject({ top: first.done.top, digest: first.done.digest });
});

test('R23: an exclusion that comes turns stored files into left-out ones; one that goes brings them back', async () => {
  const folder = tempFolder();
  put(folder, 'a', 'first');
  put(folder, 'cache/deep/file', 'second');
  put(folder, 'z', 'third');
  const dom0 = new ScanDom0();
  const before = await dom0.scan(folder, excluding());
  const all = ['', 'a', 'cache', 'cache/deep', 'cache/deep/file', 'z'];
  expect((await split(dom0)).kept).toEqual(all);
  const without = await dom0.scan(folder, excluding('cache', 'a'));
  expect(without.content).toBe(0);
  expect(without.done.counts).toMatchObject({ deletedFiles: 2, changedFiles: 0 });
  expect(without.done.digest).not.toBe(before.done.digest);
  expect(await split(dom0)).toMatchObject({
    skipped: { a: 'pattern "a" of [backup]', cache: 'pattern "cache" of [backup]' },
    kept: ['', 'z'],
  });
  const again = await dom0.scan(folder, excluding('a'));
  expect(again.done.counts).toMatchObject({ changedFiles: 1, skipped: 1 });
  expect((await split(dom0)).kept).toEqual(['', 'cache', 'cache/deep', 'cache/deep/file', 'z']);
  expect((await dom0.files()).get('cache/deep/file')?.content.toString()).toBe('second');
  const none = await dom0.scan(folder, excluding());
  expect((await split(dom0)).kept).toEqual(all);
  expect(none.done).toMatchObject({ digest: before.done.digest, counts: { skipped: 0 } });
});

test('R23: the digest is that of a volume without the left-out paths', async () => {
  const folder = tempFolder();
  put(folder, 'b/keep', 'kept');
  put(folder, 'b/x/leave', 'left');
  put(folder, '.qubes-backup-exclude', 'x\n');
  utimesSync(join(folder, 'b'), 1_600_000_000, 1_600_000_000); // Whole seconds: all that Node sets exactly.
  const dom0 = new ScanDom0();
  const { done } = await dom0.scan(folder, excluding());
  expect(await split(dom0)).toMatchObject({ skipped: { 'b/x': '.qubes-backup-exclude line 1' } });
  expect((await verifyFolder(folder)).done.digest).not.toBe(done.digest);
  const { atime, mtime } = statSync(join(folder, 'b'));
  rmSync(join(folder, 'b/x'), { recursive: true });
  utimesSync(join(folder, 'b'), atime, mtime);
  expect((await verifyFolder(folder)).done.digest).toBe(done.digest);
});

testNeeding(root)(
  'R23: a mount below a left-out folder is not even noticed; another one is left out',
  async () => {
    const folder = tempFolder();
    mkdirSync(join(folder, 'cache/mnt'), { recursive: true });
    mkdirSync(join(folder, 'mnt'));
    const mounts = ['cache/mnt', 'mnt'].map((path) => `mount -t tmpfs none '${folder}/${path}'`);
    const dom0 = new ScanDom0();
    const inside = ['unshare', '--mount', 'sh', '-c', `${mounts.join(' && ')} && exec "$@"`, 'sh'];
    const { notes } = await dom0.scan(folder, excluding('cache'), inside);
    expect(notes).toMatchObject([{ code: 'mount-skipped', path: 'mnt' }]);
    expect(await split(dom0)).toEqual({
      skipped: { cache: 'pattern "cache" of [backup]', mnt: 'another file system is mounted there' },
      kept: [''],
    });
  },
);
