/** R45: quota and reserve, which only the owner of the storage VM sets. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { rejection } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';
import { object, objects } from './fixtures.ts';
import { namesOf, objectsOf, putInto, storeIn } from './stores.ts';

const KiB = 1024;

describe('R45: the quota of a store', () => {
  test('is never passed, whatever comes', async () => {
    const folder = join(tempFolder(), 'store');
    const open = () => storeIn(folder, { quota: 100 * KiB });
    await putInto(open(), objects(9, 10 * KiB));
    const error = await rejection(putInto(open(), objects(2, 10 * KiB)));
    expect([error.code, error.message]).toEqual(['store-full', expect.stringContaining('quota') as string]);
    expect((await rejection(putInto(open(), [object()]))).code).toBe('store-full');
    const bytes = (await objectsOf(open())).reduce((sum, { size }) => sum + size, 0);
    expect(bytes).toBe(100 * KiB); // The first of the two still fitted.
  });

  test('counts what is there once, however often it is put', async () => {
    const folder = join(tempFolder(), 'store');
    const some = objects(8, 10 * KiB);
    for (let i = 0; i < 5; i++) await putInto(storeIn(folder, { quota: 100 * KiB }), some);
    await putInto(storeIn(folder, { quota: 100 * KiB }), [object(10 * KiB)]);
    expect(await namesOf(storeIn(folder))).toHaveLength(9);
  });

  test('counts what was there before it was set', async () => {
    const folder = join(tempFolder(), 'store');
    await putInto(storeIn(folder), objects(12, 10 * KiB));
    expect((await rejection(putInto(storeIn(folder, { quota: 100 * KiB }), [object()]))).code).toBe(
      'store-full',
    );
    await putInto(storeIn(folder, { quota: 130 * KiB }), [object()]);
  });

  test('is one for all sessions', async () => {
    const folder = join(tempFolder(), 'store');
    await putInto(storeIn(folder, { quota: 200 * KiB }), [object()]);
    const sessions = Array.from({ length: 4 }, () => storeIn(folder, { quota: 200 * KiB }));
    await Promise.allSettled(sessions.map((store) => putInto(store, objects(10, 10 * KiB))));
    // Sessions at the same instant do not see each other's last looks; later ones see all.
    expect(
      (await rejection(putInto(storeIn(folder, { quota: 200 * KiB }), objects(20, 10 * KiB)))).code,
    ).toBe('store-full');
  });
});

describe('R45: the reserve of a disk', () => {
  class SmallDisk extends DirectoryBackEnd {
    override async room(): Promise<number> {
      return Promise.resolve(50 * KiB);
    }
  }

  test('is left free', async () => {
    const folder = join(tempFolder(), 'store');
    const backEnd = new SmallDisk(folder);
    const error = await rejection(
      putInto(storeIn(folder, { backEnd, reserve: 45 * KiB }), [object(10 * KiB)]),
    );
    expect([error.code, error.message]).toEqual(['store-full', expect.stringContaining('reserve') as string]);
    await putInto(storeIn(folder, { backEnd, reserve: 30 * KiB }), [object(10 * KiB)]);
  });

  test('does not keep a root from being published: that is how room is made', async () => {
    const folder = join(tempFolder(), 'store');
    await putInto(storeIn(folder), [object()]);
    const backEnd = new SmallDisk(folder);
    expect(await storeIn(folder, { backEnd, reserve: 100 * KiB }).pinKey(new Uint8Array(32))).toHaveLength(
      32,
    );
  });
});

test('what the system refuses of the ledger is told as of objects', async () => {
  const folder = tempFolder();
  writeFileSync(join(folder, 'ledger'), ''); // Where its folder should be.
  const store = storeIn(folder);
  for (const refused of [store.sweep(), putInto(store, [object()])]) {
    const { code, message } = await rejection(refused);
    expect([code, message]).toEqual([
      'io',
      expect.stringMatching(/^the storage VM failed while writing the ledger/),
    ]);
  }
});
