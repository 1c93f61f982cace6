/** What stores say of themselves, and reading where none, or only a failing one, is left (R44). */

import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Listing } from '../../dom0/storage/listing.ts';
import { Store } from '../../dom0/storage/store.ts';
import { Stores } from '../../dom0/storage/stores.ts';
import type { Standing } from '../../dom0/storage/store.ts';
import { PinFile } from '../../dom0/state/pin.ts';
import { StorePinFile } from '../../dom0/state/store-pin.ts';
import { concat, u32 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { idBytes } from '../../shared/ids.ts';
import { MAX_OBJECT } from '../../shared/limits.ts';
import { MIN_OBJECT } from '../../shared/protocol/storage.ts';
import { TestRepository, object } from '../storagevm/fixtures.ts';
import { rejection } from '../support/failure.ts';
import { Machine, storeFolder } from '../support/repository-bench.ts';
import { tempFolder } from '../support/temp.ts';

it('each standing of a store is said in words', () => {
  const error = new BackupError('io', 'the cable is out');
  const standings: readonly (readonly [Standing, string])[] = [
    [{ is: 'unknown' }, 'has not been asked'],
    [{ is: 'in-step' }, 'is in step'],
    [{ is: 'behind', roots: 1 }, 'is behind by 1 root'],
    [{ is: 'behind', roots: 2 }, 'is behind by 2 roots'],
    [{ is: 'empty' }, 'is empty'],
    [{ is: 'absent', error }, 'is absent: the cable is out'],
  ];
  const store = new Store(
    new Machine(storeFolder()).stores.primary.client,
    new StorePinFile(tempFolder(), 'vault'),
  );
  for (const [standing, words] of standings) {
    store.standing = standing;
    expect(store.describe()).toBe(words);
  }
});

it('a listing says what is wrong with an object', async () => {
  const sizes = [MIN_OBJECT - 1, MIN_OBJECT, MAX_OBJECT, MAX_OBJECT + 1];
  const rows = sizes.map((size) => ({ ...object(), size })).sort((a, b) => (a.id < b.id ? -1 : 1));
  const page = concat(rows.flatMap(({ id, size }) => [idBytes(id), u32(size)]));
  const listPages = async function* () {
    yield await Promise.resolve(page);
  };
  const listing = await Listing.of({ name: 'vault', listPages });
  expect(listing.problemOf(object().id)).toBe('is missing');
  for (const { id, size } of rows)
    expect(listing.problemOf(id)).toBe(
      size < MIN_OBJECT || size > MAX_OBJECT ? 'has an impossible size' : undefined,
    );
});

it('where no store is in step, none is asked at random; a failing one is named', async () => {
  const { stores } = new Machine(storeFolder());
  const error = await rejection(stores.getFromOne(object().id));
  expect([error.code, error.message]).toEqual(['store-missing', 'no store is left to read from']);
});

it('a root that was about to be published is given up also where nothing is pinned', () => {
  const pin = new PinFile(join(tempFolder(), 'state'));
  pin.dropPending();
  pin.writePending(new TestRepository().root());
  pin.dropPending();
  expect([pin.pending(), pin.read()]).toEqual([undefined, undefined]);
});

it('every failing store is said once, and its failure is thrown where no other is left', async () => {
  const said: string[] = [];
  const say = (text: string) => void said.push(text);
  const all = [1, 2].map((number) => {
    const { client } = new Machine(storeFolder()).stores.primary;
    client.get = () => Promise.reject(new Error(`disk ${number} is out`));
    const store = new Store(client, new StorePinFile(tempFolder(), 'vault'));
    store.joined(new TestRepository().root());
    return store;
  });
  const stores = new Stores(all, { note: say, warn: say, warnOnly: say });
  const both = await Promise.allSettled([stores.get(object().id), stores.get(object().id)]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(said).toHaveLength(2);
  await expect(stores.get(object().id)).rejects.toThrow('disk 1 is out');
  await stores.abort();
  expect(stores.inStep).toEqual([all[0]]); // Without the primary there is no going on: it may be tried again.
});

it('a store that cannot be asked is absent, or has failed', async () => {
  const { client } = new Machine(storeFolder()).stores.primary;
  const store = new Store(client, new StorePinFile(tempFolder(), 'vault'));
  for (const [error, is] of [
    [new BackupError('store-missing', 'no such VM'), 'absent'],
    [new BackupError('timeout', 'it is silent'), 'failed'],
    [new Error('no descriptor is left'), 'failed'],
  ] as const) {
    client.root = () => Promise.reject(error);
    await store.survey();
    expect(store.standing.is).toBe(is);
    expect(store.describe()).toContain(error.message);
  }
});
