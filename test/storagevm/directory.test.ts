import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAX_OBJECT } from '../../shared/limits.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { objectName, rootName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { rejection } from '../support/failure.ts';
import { notRoot, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { backEndContract, listed } from './back-end-contract.ts';
import { object as anyObject } from './fixtures.ts';

const OLD = new Date(Date.now() - 25 * 3600_000);

/** Random bytes under the name of an object of theirs. */
function object() {
  const { id, bytes } = anyObject();
  return { id, bytes, name: objectName(id) };
}

async function overwrite(path: string, bytes: Uint8Array | string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await writeFile(path, bytes);
}

function newFolder(): string {
  return join(tempFolder(), 'store');
}

backEndContract('DirectoryBackEnd', () => {
  const folder = newFolder();
  return {
    open: () => new DirectoryBackEnd(folder),
    damage: async (name, bytes) => {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await overwrite(join(folder, name), bytes);
    },
  };
});

describe('the folder of a store', () => {
  test('reading creates nothing', async () => {
    const folder = newFolder();
    const backEnd = new DirectoryBackEnd(folder);
    await backEnd.read(object().name, MAX_OBJECT);
    await listed(backEnd);
    await listed(backEnd, 'roots');
    await backEnd.room();
    expect(existsSync(folder)).toBe(false);
  });

  test('has the documented layout, and is closed to others', async () => {
    const folder = newFolder();
    const backEnd = new DirectoryBackEnd(folder);
    const { id, name, bytes } = object();
    await backEnd.create('format', bytes);
    await backEnd.write(name, bytes);
    await backEnd.create(rootName(17), bytes);
    expect((await readdir(folder)).sort()).toEqual(['format', 'objects', 'roots', 'tmp']);
    expect(await readdir(join(folder, 'objects', id.slice(0, 2)))).toEqual([id]);
    expect(await readdir(join(folder, 'roots'))).toEqual(['000000000017']);
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
    for (const path of ['.', 'objects', 'roots', 'tmp', `objects/${id.slice(0, 2)}`])
      expect((await lstat(join(folder, path))).mode & 0o777, path).toBe(0o700);
    for (const path of [name, rootName(17), 'format'])
      expect((await lstat(join(folder, path))).mode & 0o777, path).toBe(0o400);
  });

  test('whose creation a crash cut short is completed', async () => {
    const folder = newFolder();
    await mkdir(folder);
    const { name, bytes } = object();
    expect(await new DirectoryBackEnd(folder).write(name, bytes)).toBe(true);
    expect(await new DirectoryBackEnd(folder).read(name, MAX_OBJECT)).toEqual(bytes);
  });

  test('needs a home that exists', async () => {
    const { name, bytes } = object();
    const error = await rejection(new DirectoryBackEnd(join(tempFolder(), 'no', 'store')).write(name, bytes));
    expect(error.code).toBe('io');
    expect(error.message).toContain('ENOENT');
  });

  test('loses temporary files of dead sessions, and keeps those of living ones', async () => {
    const folder = newFolder();
    const { name, bytes } = object();
    await new DirectoryBackEnd(folder).write(name, bytes);
    const [dead, living] = ['d', 'a'].map((digit) => join(folder, 'tmp', digit.repeat(32))) as [
      string,
      string,
    ];
    await writeFile(dead, 'half an object');
    await writeFile(living, 'half an object');
    await utimes(dead, OLD, OLD);
    await symlink('/nowhere', join(folder, 'tmp', 'link'));
    await listed(new DirectoryBackEnd(folder));
    expect(existsSync(dead)).toBe(true); // Readers remove nothing.
    await new DirectoryBackEnd(folder).write(name, bytes);
    expect((await readdir(join(folder, 'tmp'))).sort()).toEqual([basename(living), 'link']);
  });

  testNeeding(notRoot)(
    'that may not be written to fails with what is wrong, and leaves nothing',
    async () => {
      const folder = newFolder();
      const [first, second] = [object(), object()];
      await new DirectoryBackEnd(folder).write(first.name, first.bytes);
      await chmod(join(folder, 'tmp'), 0o500);
      const error = await rejection(new DirectoryBackEnd(folder).write(second.name, second.bytes));
      expect(error.code).toBe('io');
      expect(error.message).toContain('EACCES');
      expect(await new DirectoryBackEnd(folder).read(second.name, MAX_OBJECT)).toBeUndefined();
    },
  );
});

describe('foreign things in objects/', () => {
  test('are not listed', async () => {
    const folder = newFolder();
    const { id, name, bytes } = object();
    await new DirectoryBackEnd(folder).write(name, bytes);
    const shard = join(folder, 'objects', id.slice(0, 2));
    const other = (last: string) => join(shard, `${id.slice(0, 63)}${last}`);
    const free = ['0', '1', '2', '3'].filter((digit) => !id.endsWith(digit));
    await writeFile(join(shard, 'notes.txt'), 'x');
    await writeFile(join(shard, id.toUpperCase() === id ? `${id}0` : id.toUpperCase()), 'x');
    await writeFile(join(shard, `${id.startsWith('ff') ? '00' : 'ff'}${id.slice(2)}`), 'x'); // In the wrong shard.
    await symlink('/etc/hostname', other(free[0]!));
    await mkdir(other(free[1]!));
    execFileSync('mkfifo', [other(free[2]!)]);
    await writeFile(join(folder, 'objects', 'README'), 'x');
    await overwrite(
      join(folder, 'objects', id.startsWith('00') ? '01' : '00'),
      'a file in the place of a folder',
    );
    expect(await listed(new DirectoryBackEnd(folder))).toEqual([{ name, size: MIN_OBJECT }]);
  });

  test.each(['symlink', 'fifo', 'symlink to the right bytes'])(
    'a %s is not delivered, and replaced by a put',
    async (kind) => {
      const folder = newFolder();
      const { name, bytes } = object();
      await new DirectoryBackEnd(folder).write(name, bytes);
      const path = join(folder, name);
      const aside = join(folder, 'aside');
      await rename(path, aside);
      if (kind === 'fifo') execFileSync('mkfifo', [path]);
      else await symlink(kind === 'symlink' ? '/etc/hostname' : aside, path);
      expect((await rejection(new DirectoryBackEnd(folder).read(name, MAX_OBJECT))).code).toBe('io');
      expect(await new DirectoryBackEnd(folder).write(name, bytes)).toBe(true);
      expect((await lstat(path)).isFile()).toBe(true);
      expect(await new DirectoryBackEnd(folder).read(name, MAX_OBJECT)).toEqual(bytes);
      expect(await readFile(aside)).toEqual(bytes); // What a link pointed to is not written to.
    },
  );

  test('a folder in the place of an object fails the put, and leaves no temporary file', async () => {
    const folder = newFolder();
    const { name, bytes } = object();
    await new DirectoryBackEnd(folder).write(name, bytes);
    await unlink(join(folder, name));
    await mkdir(join(folder, name));
    expect((await rejection(new DirectoryBackEnd(folder).write(name, bytes))).code).toBe('io');
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });
});
