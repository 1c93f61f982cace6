/** What every back end has to keep (storagevm/back-end.ts). A back end's test calls this with a way to make stores. */

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { equalBytes } from '../../shared/bytes.ts';
import { MAX_OBJECT, MAX_ROOT } from '../../shared/limits.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { objectName, rootName } from '../../storagevm/back-end.ts';
import type { BackEnd, Listed, StoreName, StoredFile } from '../../storagevm/back-end.ts';
import { PURGED_AT_ONCE } from '../../storagevm/ledger/purging.ts';
import { rejection } from '../support/failure.ts';
import type { Missing } from '../support/needs.ts';
import { object, objects } from './fixtures.ts';

/** One store, empty at first, gone after the test. */
export interface TestStore {
  /** A new back end on this store, as another process would open it. */
  open(): BackEnd;
  /** Puts bytes in the place of a file, stored or not, behind the back end's back. */
  damage(name: StoreName, bytes: Uint8Array): Promise<void>;
}

export async function listed(backEnd: BackEnd, what: Listed = 'objects'): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for await (const batch of backEnd.list(what)) files.push(...batch);
  return files;
}

/** Random bytes under the name of an object of theirs. */
function file(size?: number): { readonly name: StoreName; readonly bytes: Uint8Array } {
  const { id, bytes } = object(size);
  return { name: objectName(id), bytes };
}

/** `missing`: why this back end cannot be tested here. `many`: how many files it removes at once. */
export function backEndContract(
  kind: string,
  newStore: () => TestStore,
  missing?: Missing,
  many = PURGED_AT_ONCE + 44,
): void {
  describe(`${kind} keeps the contract of back ends`, () => {
    beforeEach(({ skip }) => skip(missing !== undefined, missing));

    test('a store that is not there answers that there is nothing', async () => {
      const backEnd = newStore().open();
      for (const name of [file().name, rootName(1), 'format', 'key'] as const)
        expect(await backEnd.read(name, MAX_OBJECT)).toBeUndefined();
      for (const what of ['objects', 'objects/ab', 'roots'] as const)
        expect(await listed(backEnd, what)).toEqual([]);
      await backEnd.remove([file().name]);
    });

    test.each([0, 1, MIN_OBJECT, MIN_OBJECT + 1, 1 << 20, MAX_OBJECT])(
      'a file of %i bytes comes back',
      async (size) => {
        const store = newStore();
        const { name, bytes } = file(size);
        const backEnd = store.open();
        expect(await backEnd.write(name, bytes)).toBe(true);
        await backEnd.sync([name]);
        for (const reader of [backEnd, store.open()]) {
          const found = await reader.read(name, MAX_OBJECT);
          expect(found !== undefined && equalBytes(found, bytes)).toBe(true);
        }
        expect(await listed(store.open())).toEqual([{ name, size }]);
      },
    );

    test('a file that is there is not stored twice', async () => {
      const store = newStore();
      const { name, bytes } = file();
      expect(await store.open().write(name, bytes)).toBe(true);
      for (const writer of [store.open(), store.open()]) expect(await writer.write(name, bytes)).toBe(false);
      await store.open().sync([name]);
      expect(await store.open().read(name, MAX_OBJECT)).toEqual(bytes);
    });

    test.each([
      ['cut', (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 1)],
      ['emptied', () => new Uint8Array()],
      [
        'changed in one bit',
        (bytes: Uint8Array) => bytes.map((byte, index) => (index === 17 ? byte ^ 1 : byte)),
      ],
      ['overgrown', (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(1)])],
      ['grown past the largest object', () => Buffer.alloc(MAX_OBJECT + 1)],
    ])('a file that was %s is healed by storing it again', async (_how, harm) => {
      const store = newStore();
      const { name, bytes } = file();
      await store.open().write(name, bytes);
      await store.damage(name, harm(bytes));
      const backEnd = store.open();
      expect(await backEnd.write(name, bytes)).toBe(true);
      await backEnd.sync([name]);
      expect(await store.open().read(name, MAX_OBJECT)).toEqual(bytes);
      expect(await backEnd.write(name, bytes)).toBe(false);
    });

    test('damaged bytes are delivered as they are, and too many are refused', async () => {
      const store = newStore();
      const { name, bytes } = file();
      await store.open().write(name, bytes);
      const other = randomBytes(100);
      await store.damage(name, other);
      expect(await store.open().read(name, MAX_OBJECT)).toEqual(other);
      expect(await store.open().read(name, 100)).toEqual(other);
      expect((await rejection(store.open().read(name, 99))).code).toBe('io');
      await store.damage(name, Buffer.alloc(MAX_OBJECT + 1));
      expect((await rejection(store.open().read(name, MAX_OBJECT))).code).toBe('io');
    });

    test('writers of the same file at once do not disturb each other', async () => {
      const store = newStore();
      const { name, bytes } = file(1 << 20);
      const writers = Array.from({ length: 8 }, () => store.open());
      const stored = await Promise.all(writers.map((writer) => writer.write(name, bytes)));
      expect(stored).toContain(true);
      await Promise.all(writers.map((writer) => writer.sync([name])));
      expect(await store.open().read(name, MAX_OBJECT)).toEqual(bytes);
      expect(await listed(store.open())).toEqual([{ name, size: bytes.length }]);
    });

    test('a listing is complete and sorted, and reading finds what was written and nothing else', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat({ max: 40 }), { maxLength: 40 }), async (sizes) => {
          const store = newStore();
          const backEnd = store.open();
          const expected = new Map<StoreName, Uint8Array>();
          for (const size of sizes) {
            const { name, bytes } = file(size + 1);
            expected.set(name, bytes);
            await backEnd.write(name, bytes);
          }
          await backEnd.sync([...expected.keys()]);
          const rows = [...expected].map(([name, { length: size }]) => ({ name, size }));
          rows.sort((a, b) => (a.name < b.name ? -1 : 1));
          expect(await listed(store.open())).toEqual(rows);
          for (const shard of ['00', '7f', ...rows.slice(0, 3).map(({ name }) => name.slice(8, 10))])
            expect(await listed(store.open(), `objects/${shard}`)).toEqual(
              rows.filter(({ name }) => name.startsWith(`objects/${shard}/`)),
            );
          expect(await store.open().read(file().name, MAX_OBJECT)).toBeUndefined();
        }),
        { numRuns: 5 },
      );
    });

    test('a listing is sorted also where many names start alike', async () => {
      const store = newStore();
      const names = Array.from({ length: 30 }, (_, index): StoreName => {
        return `objects/ab/ab${'0'.repeat(60)}${(index * 7).toString(16).padStart(2, '0')}`;
      });
      await Promise.all(names.map((name) => store.open().write(name, randomBytes(10))));
      const found = (await listed(store.open())).map(({ name }) => name);
      expect(found).toEqual([...names].sort());
    });

    test('what was given to be stored is not looked at again', async () => {
      const store = newStore();
      const { name, bytes } = file(1 << 20);
      const given = new Uint8Array(bytes);
      const backEnd = store.open();
      await backEnd.write(name, given);
      given.buffer.transfer(0);
      await backEnd.sync([name]);
      const found = await store.open().read(name, MAX_OBJECT);
      expect(found !== undefined && equalBytes(found, bytes)).toBe(true);
    });

    test('what is read belongs to the caller', async () => {
      const backEnd = newStore().open();
      const [first, second] = [file(), file()];
      await backEnd.write(first.name, first.bytes);
      await backEnd.write(second.name, second.bytes);
      const read = await backEnd.read(first.name, MAX_OBJECT);
      await backEnd.read(second.name, MAX_OBJECT);
      expect(read).toEqual(first.bytes);
    });

    test('roots are listed apart from objects, by their numbers', async () => {
      const store = newStore();
      const bytes = randomBytes(MAX_ROOT);
      for (const number of [1, 2, 9, 10, 999_999]) await store.open().create(rootName(number), bytes);
      await store.open().write(file().name, bytes);
      expect(await listed(store.open(), 'roots')).toEqual(
        [1, 2, 9, 10, 999_999].map((number) => ({ name: rootName(number), size: MAX_ROOT })),
      );
      expect(await store.open().read(rootName(9), MAX_ROOT)).toEqual(bytes);
    });

    test('R41: a name is created once', async () => {
      const store = newStore();
      const [first, second] = [randomBytes(100), randomBytes(100)];
      expect(await store.open().create(rootName(1), first)).toBe(true);
      expect(await store.open().create(rootName(1), second)).toBe(false);
      expect(await store.open().create(rootName(1), first)).toBe(false);
      expect(await store.open().read(rootName(1), MAX_ROOT)).toEqual(first);
    });

    test('R41: of many who create a name at once, one succeeds', async () => {
      const store = newStore();
      for (let round = 1; round <= 5; round++) {
        const rivals = Array.from({ length: 8 }, () => randomBytes(50));
        const won = await Promise.all(rivals.map((bytes) => store.open().create(rootName(round), bytes)));
        expect(won.filter(Boolean)).toHaveLength(1);
        expect(await store.open().read(rootName(round), MAX_ROOT)).toEqual(rivals[won.indexOf(true)]);
      }
    });

    test('what was created can be replaced by a write', async () => {
      const store = newStore();
      const [first, second] = [randomBytes(64), randomBytes(64)];
      await store.open().create('key', first);
      expect(await store.open().write('key', second)).toBe(true);
      await store.open().sync(['key']);
      expect(await store.open().read('key', 100)).toEqual(second);
    });

    test('what is removed is gone, can be stored and created again, and nothing else is touched', async () => {
      const store = newStore();
      const [first, second, kept] = [file(), file(), file()];
      const backEnd = store.open();
      for (const { name, bytes } of [first, second, kept]) await backEnd.write(name, bytes);
      await backEnd.create(rootName(1), randomBytes(10));
      expect(await store.open().remove([first.name, second.name, file().name, rootName(1)])).toEqual([]);
      expect(await listed(store.open())).toEqual([{ name: kept.name, size: kept.bytes.length }]);
      expect(await listed(store.open(), 'roots')).toEqual([]);
      expect(await backEnd.read(first.name, MAX_OBJECT)).toBeUndefined();
      expect(await backEnd.write(first.name, first.bytes)).toBe(true);
      await backEnd.sync([first.name]);
      expect(await store.open().read(first.name, MAX_OBJECT)).toEqual(first.bytes);
      expect(await backEnd.create(rootName(1), first.bytes)).toBe(true);
    });

    test(`${many} files are removed at once`, async () => {
      const store = newStore();
      const some = objects(many, 100).map(({ id, bytes }) => ({
        name: objectName(id),
        bytes,
      }));
      await Promise.all(some.map(({ name, bytes }) => store.damage(name, bytes))); // Quicker than writing.
      await store.open().remove(some.slice(1).map(({ name }) => name));
      expect((await listed(store.open())).map(({ name }) => name)).toEqual([some[0]!.name]);
    });

    test('room is a number of bytes, or not known', async () => {
      const room = await newStore().open().room();
      expect(room === undefined || room > 0).toBe(true);
    });
  });
}
