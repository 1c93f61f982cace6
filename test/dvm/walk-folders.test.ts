/** Chosen files and folders as one volume: its order, what is made up, what is left out, and inodes of several file systems. */

import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TYPE, pathKey } from '../../dvm/entry.ts';
import { Excludes } from '../../dvm/excludes.ts';
import { walkFolders } from '../../dvm/walk-folders.ts';
import type { ByteString } from '../../shared/bytes.ts';
import { tempFolder } from '../support/temp.ts';

interface Options {
  readonly hidden?: readonly string[];
  readonly patterns?: readonly string[];
}

/** A folder with these files, walked; a name ending with a slash is an empty folder. */
function makeFolder(...names: readonly string[]): string {
  const folder = tempFolder();
  for (const name of names) {
    mkdirSync(join(folder, name.endsWith('/') ? name : join(name, '..')), { recursive: true });
    if (!name.endsWith('/')) writeFileSync(join(folder, name), name);
  }
  return folder;
}

function survey(path: string, chosen: readonly string[], { hidden = [], patterns = [] }: Options = {}) {
  const notes: string[] = [];
  const note = (code: string, at: string) => void notes.push(`${code} ${at}`);
  const rules = { lists: [{ source: 'test', patterns: [...patterns] }] };
  const others = { cachedirTag: true, nodump: false, volumeFile: true };
  const excludes = new Excludes({ ...rules, ...others }, note);
  const volume = { kind: 'folders' as const, path, chosen: [...chosen], hidden: [...hidden] };
  const found = Array.from(walkFolders(volume, note, excludes), (one) => ({ ...one }));
  const paths = found.map(({ path: at }) => at as string);
  const skipped = found.flatMap((one) => (one.type === TYPE.skipped ? [one.path as string] : []));
  return { found, paths, skipped, notes };
}

test('R25: is in path order, in whatever order paths were chosen, with the folders above them once', () => {
  const names = ['a/b/c/1', 'a/b!/2', 'a/b/other', 'a!/3', 'a/not', 'z', 'a/b-/4/5'];
  const folder = makeFolder(...names, 'unseen/6');
  const chosen = ['/z', '/a/b-', '/a!', '/a/b/c', '/a/b!'];
  const { paths, notes } = survey(folder, chosen);
  expect(notes).toEqual([]);
  expect(paths).toEqual(
    [
      '',
      'a',
      'a/b',
      'a/b/c',
      'a/b/c/1',
      'a/b!',
      'a/b!/2',
      'a/b-',
      'a/b-/4',
      'a/b-/4/5',
      'a!',
      'a!/3',
      'z',
    ].sort((a, b) => (pathKey(a as ByteString) < pathKey(b as ByteString) ? -1 : 1)),
  );
});

test('what is above a chosen path has the same metadata everywhere', () => {
  const folder = makeFolder('a/b/c/1');
  chmodSync(join(folder, 'a/b'), 0o701);
  utimesSync(join(folder, 'a'), 1, 2);
  const { found } = survey(folder, ['/a/b/c']);
  const made = found.slice(0, 3);
  for (const one of made) {
    if (one.type === TYPE.skipped) throw new Error('nothing is left out');
    expect(one.stat).toEqual(made[0]?.type === TYPE.directory ? made[0].stat : undefined);
    expect(one.stat).toMatchObject({ mode: 0o040755, uid: 0, gid: 0, inode: 0 });
    expect([one.access.attributes(), one.access.flags(), one.ownerless]).toEqual([[], 0, true]);
  }
});

test('R26: what is not there, or to which a symlink leads, is noted, and the rest goes on', () => {
  const folder = makeFolder('real/inside/1', 'z');
  symlinkSync('real', join(folder, 'alias'));
  symlinkSync('/etc/passwd', join(folder, 'out'));
  const chosen = ['/alias/inside', '/gone', '/gone2/deep', '/out', '/real/inside', '/z', '/z0', '/z/below'];
  const { paths, notes } = survey(folder, chosen);
  expect(notes).toEqual(
    ['alias/inside', 'gone', 'gone2/deep', 'out', 'z/below', 'z0'].map((path) => `unreadable ${path}`),
  );
  expect(paths.filter((path) => /1|^z/.test(path))).toEqual(['real/inside/1', 'z', 'z']);
});

test('what is hidden is left out with a reason, chosen or not, and so is all below it', () => {
  const folder = makeFolder('home/key', 'home/state/keys/1', 'home/mine', 'other/state/1', 'alone');
  const hidden = ['/home/key', '/home/state', '/other', '/alone'];
  const { paths, skipped, notes, found } = survey(folder, ['/home', '/other/state', '/alone'], {
    hidden,
    patterns: ['!/home/key'],
  });
  expect(skipped).toEqual(['alone', 'home/key', 'home/state', 'other']);
  expect(paths).toEqual(['', 'alone', 'home', 'home/key', 'home/mine', 'home/state', 'other']);
  expect(notes).toEqual([]);
  for (const one of found) if (one.type === TYPE.skipped) expect(one.reason).toContain('this program');
});

test('R23: patterns hold for whole paths, above the chosen ones too; a file of patterns is not looked for', () => {
  const folder = makeFolder('home/user/.cache/1', 'home/user/file', 'srv/salt/top', '.qubes-backup-exclude');
  writeFileSync(join(folder, '.qubes-backup-exclude'), 'file\n');
  const { skipped, paths } = survey(folder, ['/home/user', '/srv/salt'], {
    patterns: ['/home/*/.cache/', '/srv'],
  });
  expect(skipped).toEqual(['home/user/.cache', 'srv']);
  expect(paths).toEqual(['', 'home', 'home/user', 'home/user/.cache', 'home/user/file', 'srv']);
});

test('hard links across chosen folders keep one inode; it is the same before and after a file is opened', () => {
  const folder = makeFolder('a/1', 'b/');
  linkSync(join(folder, 'a/1'), join(folder, 'b/2'));
  const { found } = survey(folder, ['/a', '/b']);
  const inodes = found.flatMap((one) => (one.type === TYPE.file ? [one.stat.inode] : []));
  expect(inodes).toEqual([statSync(join(folder, 'a/1')).ino * 64, inodes[0]]);
  const opened = Array.from(
    walkFolders({ kind: 'folders', path: folder, chosen: ['/a/1'], hidden: [] }, () => undefined),
    (one) => {
      if (one.type !== TYPE.file) return [];
      const file = one.access.open();
      const { inode } = file.stat();
      file.close();
      return [inode];
    },
  );
  expect(opened.flat()).toEqual([inodes[0]]);
});

test('deep folders are left and entered again, and every descriptor is closed, also of an abandoned walk', () => {
  const folder = makeFolder(`a/${'d/'.repeat(150)}file`, 'a/d/z', 'b/2');
  const before = readdirSync('/proc/self/fd').length;
  const { paths, notes } = survey(folder, ['/a', '/b', '/gone']);
  expect([paths.length, notes]).toEqual([1 + 1 + 150 + 2 + 2, ['unreadable gone']]);
  const volume = { kind: 'folders' as const, path: folder, chosen: ['/a', '/b'], hidden: [] };
  for (const { path } of walkFolders(volume, () => undefined)) if (path === 'a/d/d') break;
  rmSync(join(folder, 'b'), { recursive: true });
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});
