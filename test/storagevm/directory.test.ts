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
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { NO_ROOT, rootHashOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { rejection } from '../support/failure.ts';
import { notRoot, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { backEndContract, listed } from './back-end-contract.ts';
import { TestRepository, object, objects } from './fixtures.ts';

const OLD = new Date(Date.now() - 25 * 3600_000);

function pathOf(folder: string, id: ObjectId): string {
  return join(folder, 'objects', id.slice(0, 2), id);
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
    damage: (id, bytes) => overwrite(pathOf(folder, id), bytes),
  };
});

describe('the folder of a store', () => {
  test('reading creates nothing', async () => {
    const folder = newFolder();
    const backEnd = new DirectoryBackEnd(folder);
    await backEnd.read(object().id);
    await backEnd.currentRoot();
    await listed(backEnd);
    expect(existsSync(folder)).toBe(false);
  });

  test('has the documented layout, and is closed to others', async () => {
    const folder = newFolder();
    const backEnd = new DirectoryBackEnd(folder);
    const { id, bytes } = object();
    const repository = new TestRepository();
    const root = repository.root();
    await backEnd.write(id, bytes);
    await backEnd.pinKey(repository.publicKey);
    await backEnd.addRoot(NO_ROOT, root.bytes);

    expect((await readdir(folder)).sort()).toEqual(['format', 'head', 'key', 'objects', 'roots', 'tmp']);
    expect(await readFile(join(folder, 'format'), 'latin1')).toBe('qubes-incremental-backup store 1\n');
    expect(await readFile(join(folder, 'key'), 'latin1')).toBe(
      `${Buffer.from(repository.publicKey).toString('hex')}\n`,
    );
    expect(await readFile(join(folder, 'head'), 'latin1')).toBe(`${NO_ROOT}\n`);
    expect(await readFile(join(folder, 'roots', NO_ROOT))).toEqual(Buffer.from(root.bytes));
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
    for (const name of ['.', 'objects', 'roots', 'tmp', `objects/${id.slice(0, 2)}`]) {
      expect((await lstat(join(folder, name))).mode & 0o777, name).toBe(0o700);
    }
    for (const path of [pathOf(folder, id), join(folder, 'roots', NO_ROOT), join(folder, 'key')]) {
      expect((await lstat(path)).mode & 0o777, path).toBe(0o400);
    }
  });

  test.each(['qubes-incremental-backup store 2\n', '', 'something else'])(
    'of format %j is refused',
    async (format) => {
      const folder = newFolder();
      const { id, bytes } = object();
      await new DirectoryBackEnd(folder).write(id, bytes);
      await overwrite(join(folder, 'format'), format);
      const before = execFileSync('find', [folder, '-printf', '%p %s %m %T@\n'], { encoding: 'utf8' });
      const backEnd = new DirectoryBackEnd(folder);
      const attempts = [
        () => backEnd.read(id),
        () => backEnd.currentRoot(),
        () => listed(backEnd),
        () => backEnd.write(id, bytes),
        () => backEnd.addRoot(NO_ROOT, bytes),
        () => backEnd.pinKey(new Uint8Array(32)),
      ];
      for (const attempt of attempts) expect((await rejection(attempt())).code).toBe('store-version');
      expect(execFileSync('find', [folder, '-printf', '%p %s %m %T@\n'], { encoding: 'utf8' })).toBe(before);
    },
  );

  test('that lost its format file is damaged, not new', async () => {
    const folder = newFolder();
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(id, bytes);
    await unlink(join(folder, 'format'));
    const backEnd = new DirectoryBackEnd(folder);
    expect((await rejection(backEnd.currentRoot())).code).toBe('store-damaged');
    expect((await rejection(backEnd.write(id, bytes))).code).toBe('store-damaged');
  });

  test.each([['nothing'], ['tmp'], ['tmp', 'format'], ['tmp', 'format', 'objects']])(
    'whose creation a crash cut short after %s is completed',
    async (...made) => {
      const folder = newFolder();
      await mkdir(folder);
      for (const name of made) {
        if (name === 'format') await writeFile(join(folder, name), 'qubes-incremental-backup store 1\n');
        else if (name !== 'nothing') await mkdir(join(folder, name));
      }
      expect(await new DirectoryBackEnd(folder).currentRoot()).toBeUndefined();
      expect(await listed(new DirectoryBackEnd(folder))).toEqual([]);
      const { id, bytes } = object();
      const backEnd = new DirectoryBackEnd(folder);
      await backEnd.write(id, bytes);
      expect(await backEnd.addRoot(NO_ROOT, bytes)).toBe(true);
      expect(await new DirectoryBackEnd(folder).read(id)).toEqual(bytes);
    },
  );

  test('can be created by many at once', async () => {
    const folder = newFolder();
    const some = objects(8);
    await Promise.all(
      some.map(async ({ id, bytes }) => {
        const backEnd = new DirectoryBackEnd(folder);
        await backEnd.write(id, bytes);
        await backEnd.sync([id]);
      }),
    );
    expect((await listed(new DirectoryBackEnd(folder))).map(({ id }) => id)).toEqual(
      some.map(({ id }) => id).sort(),
    );
  });

  test('needs a home that exists', async () => {
    const { id, bytes } = object();
    const error = await rejection(new DirectoryBackEnd(join(tempFolder(), 'no', 'store')).write(id, bytes));
    expect(error.code).toBe('io');
    expect(error.message).toContain('ENOENT');
  });

  test('loses temporary files of dead sessions, and keeps those of living ones', async () => {
    const folder = newFolder();
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(id, bytes);
    const [dead, living] = [join(folder, 'tmp', 'dead'), join(folder, 'tmp', 'living')];
    await writeFile(dead, 'half an object');
    await writeFile(living, 'half an object');
    await utimes(dead, OLD, OLD);
    await symlink('/nowhere', join(folder, 'tmp', 'link'));
    await new DirectoryBackEnd(folder).currentRoot();
    expect(existsSync(dead)).toBe(true); // Readers remove nothing.
    await new DirectoryBackEnd(folder).write(id, bytes);
    expect((await readdir(join(folder, 'tmp'))).sort()).toEqual(['link', 'living']);
  });

  testNeeding(notRoot)(
    'that may not be written to fails with what is wrong, and leaves nothing',
    async () => {
      const folder = newFolder();
      const [first, second] = objects(2);
      await new DirectoryBackEnd(folder).write(first!.id, first!.bytes);
      await chmod(join(folder, 'tmp'), 0o500);
      const error = await rejection(new DirectoryBackEnd(folder).write(second!.id, second!.bytes));
      expect(error.code).toBe('io');
      expect(error.message).toContain('EACCES');
      expect(await new DirectoryBackEnd(folder).read(second!.id)).toBeUndefined();
    },
  );
});

describe('foreign things in objects/', () => {
  test('are not listed', async () => {
    const folder = newFolder();
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(id, bytes);
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
    expect(await listed(new DirectoryBackEnd(folder))).toEqual([{ id, size: MIN_OBJECT }]);
  });

  test.each(['symlink', 'fifo', 'symlink to the right bytes'])(
    'a %s is not delivered, and replaced by a put',
    async (kind) => {
      const folder = newFolder();
      const { id, bytes } = object();
      await new DirectoryBackEnd(folder).write(id, bytes);
      const path = pathOf(folder, id);
      const aside = join(folder, 'aside');
      await rename(path, aside);
      if (kind === 'fifo') execFileSync('mkfifo', [path]);
      else await symlink(kind === 'symlink' ? '/etc/hostname' : aside, path);
      expect((await rejection(new DirectoryBackEnd(folder).read(id))).code).toBe('io');
      expect(await new DirectoryBackEnd(folder).write(id, bytes)).toBe(true);
      expect((await lstat(path)).isFile()).toBe(true);
      expect(await new DirectoryBackEnd(folder).read(id)).toEqual(bytes);
      expect(await readFile(aside)).toEqual(bytes); // What a link pointed to is not written to.
    },
  );

  test('a folder in the place of an object fails the put, and leaves no temporary file', async () => {
    const folder = newFolder();
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(id, bytes);
    await unlink(pathOf(folder, id));
    await mkdir(pathOf(folder, id));
    expect((await rejection(new DirectoryBackEnd(folder).write(id, bytes))).code).toBe('io');
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });
});

describe('R41: after a crash', () => {
  async function storeOf(count: number) {
    const folder = newFolder();
    const roots = new TestRepository().chain(count);
    for (const root of roots) await new DirectoryBackEnd(folder).addRoot(root.body.previous, root.bytes);
    return { folder, roots, head: join(folder, 'head') };
  }

  test.each([
    ['behind by one', (hashes: string[]) => `${hashes.at(-3)!}\n`],
    ['behind by all', () => `${NO_ROOT}\n`],
    ['of a root that never was', () => `${'ab'.repeat(32)}\n`],
    ['ahead of its root', (hashes: string[]) => `${hashes.at(-1)!}\n`],
    ['empty', () => ''],
    ['garbage', () => '../../../../etc/passwd\n'],
    ['huge', () => 'a'.repeat(1 << 20)],
  ])('a hint that is %s does not hide the newest root', async (_how, hint) => {
    const { folder, roots, head } = await storeOf(5);
    await overwrite(head, hint(roots.map(({ hash }) => hash)));
    expect(await new DirectoryBackEnd(folder).currentRoot()).toEqual(roots[4]!.bytes);
  });

  test.each(['missing', 'a folder'])('nor does one that is %s', async (how) => {
    const { folder, roots, head } = await storeOf(5);
    await unlink(head);
    if (how === 'a folder') await mkdir(head);
    expect(await new DirectoryBackEnd(folder).currentRoot()).toEqual(roots[4]!.bytes);
  });

  test('a hint that cannot be written does not fail a root that is published', async () => {
    const { folder, roots, head } = await storeOf(2);
    await unlink(head);
    await mkdir(join(head, 'in the way'), { recursive: true });
    const next = object(500).bytes;
    expect(await new DirectoryBackEnd(folder).addRoot(roots[1]!.hash, next)).toBe(true);
    expect(await new DirectoryBackEnd(folder).currentRoot()).toEqual(next);
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  test('a root that was written but not linked is no root', async () => {
    const { folder, roots } = await storeOf(2);
    await writeFile(join(folder, 'tmp', 'root'), new TestRepository().root(roots[1]).bytes);
    expect(await new DirectoryBackEnd(folder).currentRoot()).toEqual(roots[1]!.bytes);
  });

  test('a damaged newest root is delivered for the reader to judge, and has no successor', async () => {
    const { folder, roots, head } = await storeOf(3);
    const path = join(folder, 'roots', roots[2]!.body.previous);
    const bytes = roots[2]!.bytes.map((byte, index) => (index === 100 ? byte ^ 1 : byte));
    await overwrite(path, bytes);
    expect(basename(path)).toBe((await readFile(head, 'latin1')).trim());
    expect(await new DirectoryBackEnd(folder).currentRoot()).toEqual(bytes);
    expect(rootHashOf(bytes)).not.toBe(roots[2]!.hash);
  });

  test('a damaged key is reported, not replaced', async () => {
    const { folder } = await storeOf(1);
    await overwrite(join(folder, 'key'), 'zz');
    expect((await rejection(new DirectoryBackEnd(folder).pinKey(new Uint8Array(32)))).code).toBe(
      'store-damaged',
    );
    expect(await readFile(join(folder, 'key'), 'latin1')).toBe('zz');
  });
});
