import { mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { close, isLibcError, openDirectory, readDirectory } from '../../dvm/libc.ts';
import { Directories } from '../../dvm/restore-directories.ts';
import { tempFolder } from '../support/temp.ts';
import { bytes } from './tree-kit.ts';

let folder = '';
let directories: Directories;

beforeEach(() => {
  folder = tempFolder();
  const root = openDirectory(folder);
  directories = new Directories(root);
  onTestFinished(() => {
    directories.closeAll();
    close(root);
  });
});

/** What an open descriptor leads to. */
const leadsTo = (descriptor: number) => readlinkSync(`/proc/self/fd/${descriptor}`);
const open = (path: string) => leadsTo(directories.open(bytes(path)));

describe('directories', () => {
  test('are opened by path, from the root and from one another', () => {
    mkdirSync(join(folder, 'a/b/c'), { recursive: true });
    mkdirSync(join(folder, 'd'));
    for (const path of ['a/b/c', 'a', '', 'a/b', 'd', 'a/b/c', 'd'])
      expect(open(path)).toBe(join(folder, path));
  });

  test('are never reached through a symlink, not even one that leads to a directory within', () => {
    mkdirSync(join(folder, 'real/sub'), { recursive: true });
    symlinkSync('real', join(folder, 'link'));
    symlinkSync('.', join(folder, 'real/sub/here'));
    writeFileSync(join(folder, 'file'), '');
    for (const path of ['link', 'link/sub', 'real/sub/here', 'file', 'missing']) {
      try {
        open(path);
        expect.unreachable(path);
      } catch (error) {
        expect(isLibcError(error, 'ELOOP', 'ENOTDIR', 'ENOENT')).toBe(true);
      }
    }
  });

  test('are opened anew after they were let go', () => {
    mkdirSync(join(folder, 'a'));
    open('a');
    directories.release(bytes('a'));
    symlinkSync('/', join(folder, 'b'));
    expect(open('')).toBe(folder);
    expect(open('a')).toBe(join(folder, 'a'));
  });

  test('of any number keep few descriptors, and a pinned one stays', () => {
    for (let i = 0; i < 500; i++) mkdirSync(join(folder, `d${i}`));
    const pinned = directories.open(bytes('d0'));
    for (let i = 1; i < 500; i++) {
      const descriptor = directories.open(bytes(`d${i}`), pinned);
      expect(leadsTo(descriptor)).toBe(join(folder, `d${i}`));
    }
    expect(leadsTo(pinned)).toBe(join(folder, 'd0'));
    const self = openDirectory('/proc/self/fd');
    expect(readDirectory(self).length).toBeLessThan(250);
    close(self);
    for (let i = 0; i < 500; i += 50) expect(open(`d${i}`)).toBe(join(folder, `d${i}`));
  });
});
