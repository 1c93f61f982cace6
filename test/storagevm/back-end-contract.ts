/** What every back end has to keep (storagevm/back-end.ts). A back end's test calls this with a way to make stores. */

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { equalBytes } from '../../shared/bytes.ts';
import { NO_ROOT } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_OBJECT, MAX_ROOT } from '../../shared/limits.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import type { BackEnd, StoredObject } from '../../storagevm/back-end.ts';
import { rejection } from '../support/failure.ts';
import { TestRepository, object, objects } from './fixtures.ts';

/** One store, empty at first, gone after the test. */
export interface TestStore {
  /** A new back end on this store, as another process would open it. */
  open(): BackEnd;
  /** Puts other bytes in the place of a stored object, behind the back end's back. */
  damage(id: ObjectId, bytes: Uint8Array): Promise<void>;
}

export async function listed(backEnd: BackEnd): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const batch of backEnd.list()) objects.push(...batch);
  return objects;
}

export function backEndContract(name: string, newStore: () => TestStore): void {
  describe(`${name} keeps the contract of back ends`, () => {
    test('a store that is not there answers that there is nothing', async () => {
      const backEnd = newStore().open();
      expect(await backEnd.read(object().id)).toBeUndefined();
      expect(await backEnd.currentRoot()).toBeUndefined();
      expect(await listed(backEnd)).toEqual([]);
    });

    test.each([0, 1, MIN_OBJECT, MIN_OBJECT + 1, 1 << 20, MAX_OBJECT])(
      'an object of %i bytes comes back',
      async (size) => {
        const store = newStore();
        const { id, bytes } = object(size);
        const backEnd = store.open();
        expect(await backEnd.write(id, bytes)).toBe(true);
        await backEnd.sync([id]);
        for (const reader of [backEnd, store.open()]) {
          const found = await reader.read(id);
          expect(found !== undefined && equalBytes(found, bytes)).toBe(true);
        }
        expect(await listed(store.open())).toEqual([{ id, size }]);
      },
    );

    test('an object that is there is not stored twice', async () => {
      const store = newStore();
      const { id, bytes } = object();
      expect(await store.open().write(id, bytes)).toBe(true);
      for (const writer of [store.open(), store.open()]) expect(await writer.write(id, bytes)).toBe(false);
      await store.open().sync([id]);
      expect(await store.open().read(id)).toEqual(bytes);
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
    ])('an object that was %s is healed by storing it again', async (_how, harm) => {
      const store = newStore();
      const { id, bytes } = object();
      await store.open().write(id, bytes);
      await store.damage(id, harm(bytes));
      const backEnd = store.open();
      expect(await backEnd.write(id, bytes)).toBe(true);
      await backEnd.sync([id]);
      expect(await store.open().read(id)).toEqual(bytes);
      expect(await backEnd.write(id, bytes)).toBe(false);
    });

    test('damaged bytes are delivered as they are, and too many are refused', async () => {
      const store = newStore();
      const { id, bytes } = object();
      await store.open().write(id, bytes);
      const other = randomBytes(100);
      await store.damage(id, other);
      expect(await store.open().read(id)).toEqual(other);
      await store.damage(id, Buffer.alloc(MAX_OBJECT + 1));
      expect((await rejection(store.open().read(id))).code).toBe('io');
    });

    test('writers of the same object at once do not disturb each other', async () => {
      const store = newStore();
      const { id, bytes } = object(1 << 20);
      const writers = Array.from({ length: 8 }, () => store.open());
      const stored = await Promise.all(writers.map((writer) => writer.write(id, bytes)));
      expect(stored).toContain(true);
      await Promise.all(writers.map((writer) => writer.sync([id])));
      expect(await store.open().read(id)).toEqual(bytes);
      expect(await listed(store.open())).toEqual([{ id, size: bytes.length }]);
    });

    test('a listing is complete and sorted, and reading finds what was written and nothing else', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 40 }), async (contents) => {
          const store = newStore();
          const backEnd = store.open();
          const expected = new Map<ObjectId, Uint8Array>();
          for (const content of contents) {
            const { id, bytes } = object(content.length + 1);
            expected.set(id, bytes);
            await backEnd.write(id, bytes);
          }
          await backEnd.sync([...expected.keys()]);
          const names = [...expected.keys()].sort();
          expect(await listed(store.open())).toEqual(
            names.map((id) => ({ id, size: expected.get(id)?.length })),
          );
          expect(await store.open().read(object().id)).toBeUndefined();
        }),
        { numRuns: 5 },
      );
    });

    test('a listing is sorted also where many names start alike', async () => {
      const store = newStore();
      const names = Array.from({ length: 30 }, (_, index) => {
        return `ab${'0'.repeat(60)}${(index * 7).toString(16).padStart(2, '0')}` as ObjectId;
      });
      await Promise.all(names.map((id) => store.open().write(id, randomBytes(10))));
      const found = (await listed(store.open())).map(({ id }) => id);
      expect(found).toEqual([...names].sort());
    });

    test('what is read or listed belongs to the caller', async () => {
      const backEnd = newStore().open();
      const [first, second] = objects(2);
      await backEnd.write(first!.id, first!.bytes);
      await backEnd.write(second!.id, second!.bytes);
      const read = await backEnd.read(first!.id);
      await backEnd.read(second!.id);
      expect(read).toEqual(first!.bytes);
    });

    test('R41: roots form one chain, of which the newest is current', async () => {
      const store = newStore();
      for (const root of new TestRepository().chain(12)) {
        expect(await store.open().addRoot(root.body.previous, root.bytes)).toBe(true);
        expect(await store.open().currentRoot()).toEqual(root.bytes);
      }
    });

    test('R41: a root has one successor, ever', async () => {
      const store = newStore();
      const repository = new TestRepository();
      const [first, second] = repository.chain(2);
      await store.open().addRoot(NO_ROOT, first!.bytes);
      expect(await store.open().addRoot(NO_ROOT, repository.root().bytes)).toBe(false);
      await store.open().addRoot(first!.hash, second!.bytes);
      expect(await store.open().addRoot(first!.hash, repository.root(first).bytes)).toBe(false);
      expect(await store.open().addRoot(first!.hash, second!.bytes)).toBe(false);
      expect(await store.open().currentRoot()).toEqual(second!.bytes);
    });

    test('R41: of many who add a successor at once, one succeeds', async () => {
      const store = newStore();
      const repository = new TestRepository();
      let current = undefined as ReturnType<TestRepository['root']> | undefined;
      for (let round = 0; round < 5; round++) {
        const rivals = Array.from({ length: 8 }, () => repository.root(current));
        const won = await Promise.all(
          rivals.map((root) => store.open().addRoot(current?.hash ?? NO_ROOT, root.bytes)),
        );
        expect(won.filter(Boolean)).toHaveLength(1);
        current = rivals[won.indexOf(true)];
        expect(await store.open().currentRoot()).toEqual(current!.bytes);
      }
    });

    test('a root of the largest size comes back', async () => {
      const backEnd = newStore().open();
      const bytes = randomBytes(MAX_ROOT);
      await backEnd.addRoot(NO_ROOT, bytes);
      expect(await backEnd.currentRoot()).toEqual(bytes);
    });

    test('a pinned key gives way only to the one that replaces it', async () => {
      const store = newStore();
      const [first, second, third] = [randomBytes(32), randomBytes(32), randomBytes(32)];
      expect(await store.open().pinKey(second, first)).toEqual(second); // Nothing is pinned: there is nothing to replace.
      expect(await store.open().pinKey(third, first)).toEqual(second);
      expect(await store.open().pinKey(third)).toEqual(second);
      expect(await store.open().pinKey(third, second)).toEqual(third);
      expect(await store.open().pinKey(first, second)).toEqual(third);
    });

    test('R41: the first key that is pinned stays', async () => {
      const store = newStore();
      const keys = Array.from({ length: 8 }, () => randomBytes(32));
      const pinned = await Promise.all(keys.map((key) => store.open().pinKey(key)));
      expect(new Set(pinned.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1);
      expect(keys.some((key) => key.equals(pinned[0]!))).toBe(true);
      expect(await store.open().pinKey(randomBytes(32))).toEqual(pinned[0]);
      expect(await store.open().currentRoot()).toBeUndefined();
    });
  });
}
