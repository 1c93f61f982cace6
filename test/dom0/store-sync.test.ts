/** R44: a store that missed roots, or lost objects, is given what it lacks. */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Repository } from '../../dom0/repository/repository.ts';
import { syncStore } from '../../dom0/repository/sync.ts';
import type { Synced } from '../../dom0/repository/sync.ts';
import { objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { list } from '../../shared/protocol/storage.ts';
import { rejection } from '../support/failure.ts';
import { callStorageHere } from '../support/here.ts';
import { Machine, historyFor, storeFolder } from '../support/repository-bench.ts';
import { Bench, backUp, blob, corrupt, namesOf, objectsOf, quiet } from '../support/stores-bench.ts';

describe('R44: bringing a store up to date', () => {
  /** Store 2 behind by `count` backups. */
  async function behind(count: number): Promise<{ bench: Bench; repository: Repository }> {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(1);
    const repository = await bench.fresh().open();
    for (let i = 0; i < count; i++) await backUp(repository, `later ${i}`);
    await bench.machine.stores.close();
    bringBack();
    return { bench, repository: await bench.fresh().open() };
  }

  it('copies what it lacks, each object once, and then the newest root', async () => {
    const { bench, repository } = await behind(4);
    expect(bench.standings()[1]).toBe('behind 4');
    const before = namesOf(bench.folder(1));
    const seen: Synced[] = [];
    const listener = {
      progress: (synced: Synced) => void seen.push(synced),
      lost: () => expect.unreachable(),
    };
    const synced = await syncStore(repository, bench.machine.stores.named('vault2'), listener);
    const after = namesOf(bench.folder(1));
    expect(after.length - before.length).toBe(synced.objects);
    expect(seen.map(({ objects }) => objects)).toEqual(seen.map((_, index) => index + 1));
    expect(seen.at(-1)).toEqual(synced);
    await bench.machine.stores.close();
    // It suffices alone.
    const alone = await new Machine(bench.folder(1)).open();
    expect(alone.root.hash).toBe(repository.root.hash);
    expect(await blob(alone, 0)).toBe('one');
    expect(await blob(alone, 8)).toBe('later 3');
  });

  it('R50: is interrupted, and does not copy again what was copied', async () => {
    const { bench, repository } = await behind(12);
    const store = bench.machine.stores.named('vault2');
    const before = namesOf(bench.folder(1)).length;
    const put = store.client.put.bind(store.client);
    let puts = 0;
    store.client.put = (object) => {
      puts += 1;
      return puts > 10 ? Promise.reject(new Error('the power went')) : put(object);
    };
    await expect(syncStore(repository, store, quiet)).rejects.toThrow('the power went');
    await bench.machine.stores.close();
    const copied = namesOf(bench.folder(1)).length - before;
    expect(copied).toBe(10);
    const again = await bench.fresh().open();
    expect(bench.standings()[1]).toBe('behind 12');
    const { total, objects } = await syncStore(again, bench.machine.stores.named('vault2'), quiet);
    expect([objects, total > 0]).toEqual([total, true]);
    expect(namesOf(bench.folder(1)).length).toBe(before + copied + objects);
    expect(bench.standings()[1]).toBe('in-step');
  });

  it('fills an empty store, which then suffices alone', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    const added = storeFolder();
    bench.folders.push(added);
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step', 'empty']);
    expect(bench.machine.said).toEqual(['note: store vault4 is empty']);
    await syncStore(again, bench.machine.stores.named('vault4'), quiet);
    const alone = await new Machine(added).open();
    expect(alone.root.hash).toBe(repository.root.hash);
    expect(await blob(alone, 0)).toBe('one');
    await backUp(again, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step', 'in-step']);
  });

  it('copies nothing that is damaged, but the same from another store; what none has is named', async () => {
    const { bench, repository } = await behind(1);
    const lost = (await (await historyFor(repository)).table.row(2))!.id;
    for (const index of [0, 2]) rmSync(join(bench.folder(index), 'objects', lost.slice(0, 2), lost));
    for (const file of objectsOf(bench.folder(0))) corrupt(file);
    const named: ObjectId[] = [];
    const listener = { progress: () => undefined, lost: (id: ObjectId) => void named.push(id) };
    const { objects, total } = await syncStore(repository, bench.machine.stores.named('vault2'), listener);
    expect([named, objects]).toEqual([[lost], total - 1]);
    for (const file of objectsOf(bench.folder(1)))
      expect(objectIdOf(readFileSync(file))).toBe(file.slice(-64));
    expect(bench.machine.said.some((text) => text.startsWith('warning: store vault: object'))).toBe(true);
  });

  it('leaves alone a store that got another root meanwhile', async () => {
    const { bench, repository } = await behind(1);
    const other = await new Machine(bench.folder(1)).open();
    await backUp(other, 'else');
    const { code } = await rejection(syncStore(repository, bench.machine.stores.named('vault2'), quiet));
    expect(code).toBe('store-conflict');
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'forked', 'in-step']);
  });

  it('believes a listing that lies, as any listing', async () => {
    const { bench, repository } = await behind(1);
    // It lists what store 1 has.
    bench.machine.wrap = (call, store, service) => {
      if (store !== 'vault2' || service !== list.service) return call;
      call.kill();
      return callStorageHere(service, bench.folder(0));
    };
    const { objects } = await syncStore(repository, bench.machine.stores.named('vault2'), quiet);
    expect(objects).toBe(0);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    rmSync(join(bench.state, 'cache'), { recursive: true });
    for (const index of [0, 2]) for (const file of objectsOf(bench.folder(index))) rmSync(file);
    expect((await rejection(bench.fresh().open())).code).toBe('store-missing');
  });
});
