import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAX_ROOT } from '../../shared/limits.ts';
import { rootName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { publish } from '../../storagevm/set-root.ts';
import { rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';
import { TestRepository, object, objects } from './fixtures.ts';
import { namesOf, objectsOf, putInto, storeIn } from './stores.ts';

const FORMAT = 'qubes-incremental-backup store 2\n';

function newFolder(): string {
  return join(tempFolder(), 'store');
}

async function overwrite(path: string, bytes: Uint8Array | string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await writeFile(path, bytes);
}

/** Every file below `folder`, with size, mode and time. */
function stateOf(folder: string): string {
  return execFileSync('find', [folder, '-printf', '%p %s %m %T@\n'], { encoding: 'utf8' });
}

describe('a store', () => {
  test('is not created by reading', async () => {
    const folder = newFolder();
    const store = storeIn(folder);
    expect(await store.read(object().id)).toBeUndefined();
    expect(await store.currentRoot()).toBeUndefined();
    expect(await objectsOf(store)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  test('R41: removes what sessions that died left in its ledger, and nothing else', async () => {
    const folder = newFolder();
    const store = storeIn(folder);
    await putInto(store, [object()]);
    const { ledger: opened } = store;
    await opened.locked(async () => opened.writeState(await opened.readState()));
    const ledger = join(folder, 'ledger');
    await mkdir(join(ledger, 'marks'), { recursive: true });
    const namesIn = () => readdir(ledger, { recursive: true }).then((names) => names.sort());
    const before = await namesIn();
    const old = new Date(Date.now() - 25 * 3600_000);
    for (const name of before) await utimes(join(ledger, name), old, old);
    const dead = ['d'.repeat(32), `marks/${'e'.repeat(32)}`];
    const living = 'a'.repeat(32);
    for (const name of [...dead, living]) await writeFile(join(ledger, name), 'half');
    for (const name of dead) await utimes(join(ledger, name), old, old);
    await storeIn(folder).ledger.locked(() => Promise.resolve());
    expect(await namesIn()).toEqual([...before, living].sort());
  });

  test('has the documented layout', async () => {
    const folder = newFolder();
    const some = object();
    const repository = new TestRepository();
    const root = repository.root();
    await putInto(storeIn(folder), [some]);
    await publish(storeIn(folder), root, root.body.previous);
    expect((await readdir(folder)).sort()).toEqual(['format', 'key', 'ledger', 'objects', 'roots', 'tmp']);
    expect(await readFile(join(folder, 'format'), 'latin1')).toBe(FORMAT);
    expect(await readFile(join(folder, 'key'), 'latin1')).toBe(
      `${Buffer.from(repository.publicKey).toString('hex')}\n`,
    );
    expect(await readFile(join(folder, 'roots', '000000000001'))).toEqual(Buffer.from(root.bytes));
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  test.each([
    ['qubes-incremental-backup store 1\n', 'store-version'],
    ['qubes-incremental-backup store 3\n', 'store-version'],
    ['qubes-incremental-backup stpre 2\n', 'store-damaged'],
    ['', 'store-damaged'],
    ['something else', 'store-damaged'],
  ])('of format %j is refused: %s', async (format, code) => {
    const folder = newFolder();
    const some = object();
    const repository = new TestRepository();
    const root = repository.root();
    await putInto(storeIn(folder), [some]);
    await publish(storeIn(folder), root, root.body.previous);
    await overwrite(join(folder, 'format'), format);
    const before = stateOf(folder);
    const attempts = [
      () => storeIn(folder).read(some.id),
      () => storeIn(folder).currentRoot(),
      () => objectsOf(storeIn(folder)),
      () => putInto(storeIn(folder), [some]),
      () => publish(storeIn(folder), repository.root(root), root.hash),
      () => storeIn(folder).sweep(),
    ];
    for (const attempt of attempts) expect((await rejection(attempt())).code).toBe(code);
    expect(stateOf(folder)).toBe(before);
  });

  test('that lost its format file is damaged, not new', async () => {
    const folder = newFolder();
    const some = object();
    await putInto(storeIn(folder), [some]);
    await unlink(join(folder, 'format'));
    expect((await rejection(storeIn(folder).currentRoot())).code).toBe('store-damaged');
    expect((await rejection(putInto(storeIn(folder), [some]))).code).toBe('store-damaged');
  });

  test.each([['nothing'], ['tmp'], ['tmp', 'format'], ['tmp', 'format', 'objects', 'ledger']])(
    'whose creation a crash cut short after %s is completed',
    async (...made) => {
      const folder = newFolder();
      await mkdir(folder);
      for (const name of made) {
        if (name === 'format') await writeFile(join(folder, name), FORMAT);
        else if (name !== 'nothing') await mkdir(join(folder, name));
      }
      expect(await storeIn(folder).currentRoot()).toBeUndefined();
      expect(await objectsOf(storeIn(folder))).toEqual([]);
      const some = object();
      const root = new TestRepository().root();
      await putInto(storeIn(folder), [some]);
      expect(await publish(storeIn(folder), root, root.body.previous)).toBe(root.hash);
      expect(await storeIn(folder).read(some.id)).toEqual(some.bytes);
    },
  );

  test('can be created by many at once', async () => {
    const folder = newFolder();
    const some = objects(8);
    await Promise.all(some.map((one) => putInto(storeIn(folder), [one])));
    expect(await namesOf(storeIn(folder))).toEqual(some.map(({ id }) => id).sort());
  });
});

describe('R41: after a crash', () => {
  async function storeOf(count: number) {
    const folder = newFolder();
    const roots = new TestRepository().chain(count);
    for (const root of roots) await publish(storeIn(folder), root, root.body.previous);
    return { folder, roots, hint: join(folder, 'ledger', 'newest-root') };
  }

  test.each([
    ['behind by one', '{"number":4}'],
    ['behind by all', '{"number":1}'],
    ['of a root that never was', '{"number":77}'],
    ['of no root', '{"number":0}'],
    ['empty', ''],
    ['garbage', '../../../../etc/passwd\n'],
    ['huge', '1'.repeat(2 << 20)],
  ])('a hint that is %s does not hide the newest root', async (_how, text) => {
    const { folder, roots, hint } = await storeOf(5);
    await overwrite(hint, text);
    expect(await storeIn(folder).currentRoot()).toEqual(roots[4]!.bytes);
  });

  test.each(['missing', 'a folder'])('nor does one that is %s', async (how) => {
    const { folder, roots, hint } = await storeOf(5);
    await unlink(hint);
    if (how === 'a folder') await mkdir(hint);
    expect(await storeIn(folder).currentRoot()).toEqual(roots[4]!.bytes);
  });

  test('a hint that cannot be written does not fail a root that is published', async () => {
    const folder = newFolder();
    await putInto(storeIn(folder), [object()]);
    await mkdir(join(folder, 'ledger', 'newest-root', 'in the way'), { recursive: true });
    const root = new TestRepository().root();
    expect(await publish(storeIn(folder), root, root.body.previous)).toBe(root.hash);
    expect(await storeIn(folder).currentRoot()).toEqual(root.bytes);
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  test('a root that was written but not linked is no root', async () => {
    const { folder, roots } = await storeOf(2);
    await writeFile(join(folder, 'tmp', 'root'), new TestRepository().root(roots[1]).bytes);
    expect(await storeIn(folder).currentRoot()).toEqual(roots[1]!.bytes);
  });

  test('a damaged newest root is delivered for the reader to judge, and has no successor', async () => {
    const { folder, roots } = await storeOf(3);
    const bytes = roots[2]!.bytes.map((byte, index) => (index === 100 ? byte ^ 1 : byte));
    await overwrite(join(folder, rootName(3)), bytes);
    expect(await storeIn(folder).currentRoot()).toEqual(bytes);
    const next = new TestRepository().root(roots[2]);
    expect((await rejection(publish(storeIn(folder), next, roots[2]!.hash))).code).toBe('store-damaged');
  });

  test('a damaged key is reported, not replaced', async () => {
    const { folder } = await storeOf(1);
    await overwrite(join(folder, 'key'), 'zz');
    expect((await rejection(storeIn(folder).pinKey(new Uint8Array(32)))).code).toBe('store-damaged');
    expect(await readFile(join(folder, 'key'), 'latin1')).toBe('zz');
  });

  test('a root that went lost in the middle hides none after it', async () => {
    const { folder, roots, hint } = await storeOf(5);
    await unlink(join(folder, rootName(3)));
    await unlink(hint);
    expect(await storeIn(folder).currentRoot()).toEqual(roots[4]!.bytes);
    expect(await new DirectoryBackEnd(folder).read(rootName(3), MAX_ROOT)).toBeUndefined();
  });
});

describe('the pinned key', () => {
  test('gives way only to the one that replaces it', async () => {
    const folder = newFolder();
    const [first, second, third] = [1, 2, 3].map((byte) => Buffer.alloc(32, byte));
    const pin = (key: Uint8Array, replaced?: Uint8Array) => storeIn(folder).pinKey(key, replaced);
    expect(await pin(second!, first)).toEqual(second); // Nothing is pinned: there is nothing to replace.
    expect(await pin(third!, first)).toEqual(second);
    expect(await pin(third!)).toEqual(second);
    expect(await pin(third!, second)).toEqual(third);
    expect(await pin(first!, second)).toEqual(third);
  });

  test('R41: is the first of many that are pinned at once', async () => {
    const folder = newFolder();
    const keys = Array.from({ length: 8 }, (_, index) => Buffer.alloc(32, index));
    const pinned = await Promise.all(keys.map((key) => storeIn(folder).pinKey(key)));
    expect(new Set(pinned.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1);
    expect(await storeIn(folder).pinKey(Buffer.alloc(32, 99))).toEqual(pinned[0]);
  });
});
