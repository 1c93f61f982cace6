/** R44: several stores as one: what is written goes to all, what is read comes from any. */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { syncStore } from '../../dom0/repository/sync.ts';
import { lackingStores } from '../../dom0/storage/quorum.ts';
import { BackupError } from '../../shared/errors.ts';
import { get, put, setRoot } from '../../shared/protocol/storage.ts';
import { decodeRoot } from '../../shared/root.ts';
import { Ledger } from '../../storagevm/ledger/ledger.ts';
import { rejection } from '../support/failure.ts';
import { historyFor } from '../support/repository-bench.ts';
import { Bench, backUp, blob, corrupt, dying, namesOf, objectsOf, quiet } from '../support/stores-bench.ts';

describe('R44: writing', () => {
  it('goes to all stores, which are then the same', async () => {
    const { bench, repository } = await Bench.make();
    const [first, ...others] = bench.folders.map(namesOf);
    expect(first!.length).toBeGreaterThan(5);
    for (const other of others) expect(other).toEqual(first);
    for (const { client } of bench.machine.stores.all)
      expect(decodeRoot((await client.root())!).hash).toBe(repository.root.hash);
    await bench.machine.stores.close();
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    expect(bench.machine.said).toEqual([]);
  });

  it('tells once a run that a live list waits for the owner of a store, and every run until it does not', async () => {
    const { bench, repository } = await Bench.make();
    const ledger = new Ledger(join(bench.folder(1), 'ledger'));
    const state = await ledger.readState();
    await ledger.writeState({ ...state, waiting: { root: 1, deadBytes: 3 << 20, bytes: 4 << 20 } });
    await backUp(repository, 'two');
    await backUp(repository, 'three');
    expect(bench.machine.said).toEqual([
      expect.stringMatching(
        /^warning: store vault2: 3.00 MiB of 4.00 MiB are needed no more .*"qubes-backup-storage status" there/,
      ),
    ]);
    await bench.machine.stores.close();
    const again = await bench.fresh().open();
    const waits = () => bench.machine.said.filter((text) => text.includes('waits for its owner'));
    expect(waits()).toEqual([expect.stringContaining('note: store vault2 ')]);
    await ledger.writeState({ ...(await ledger.readState()), waiting: null });
    await backUp(again, 'four');
    bench.machine.said.length = 0;
    bench.machine.stores.report();
    expect(waits()).toEqual([]);
    await bench.machine.stores.close();
  });

  it.each(['dies', 'is full', 'stalls'])(
    'goes on without a store that %s, of which is told once',
    async (how) => {
      const { bench, repository } = await Bench.make();
      await bench.machine.stores.abort();
      let left = 3;
      bench.machine.wrap = (call, store, service) => {
        if (store !== 'vault2' || service !== put.service) return call;
        if (how === 'dies') return dying(call, () => left-- === 0);
        if (how === 'is full')
          return {
            ...call,
            io: { ...call.io, read: () => Promise.reject(new BackupError('store-full', 'has no room left')) },
          };
        return {
          ...call,
          idleTimeout: 100,
          io: { read: () => new Promise(() => undefined), write: () => Promise.resolve() },
        };
      };
      await backUp(repository, 'two');
      await backUp(repository, 'three');
      expect(bench.standings()).toEqual(['in-step', 'failed', 'in-step']);
      expect(bench.machine.said).toHaveLength(1);
      expect(bench.machine.said[0]).toMatch(
        /^remark: store vault2 failed, and is left out of the rest of this run: /,
      );
      expect(lackingStores(bench.machine.stores.all, 'all')).toMatch(
        /^only 2 of 3 stores have it all, 3 are wanted \(quorum\): vault2 failed: .*"qubes-backup storage sync"$/,
      );
      expect(lackingStores(bench.machine.stores.all, 2)).toBeUndefined();
      expect(lackingStores(bench.machine.stores.all, 3)).toBeDefined();
      await bench.machine.stores.abort();
      const again = await bench.fresh().open();
      expect(bench.standings()).toEqual(['in-step', 'behind 2', 'in-step']);
      expect(bench.machine.said).toEqual(['note: store vault2 is behind by 2 roots']);
      expect(await blob(again, 4)).toBe('three');
    },
  );

  it('ends where the primary fails, and leaves the others as they were', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.abort();
    let broken = true;
    bench.machine.wrap = (call, store, service) =>
      store === 'vault' && service === put.service && broken ? dying(call, () => true) : call;
    expect((await rejection(backUp(repository, 'two'))).code).toBe('service-died');
    await bench.machine.stores.abort();
    broken = false;
    await backUp(repository, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });

  it('is refused at once where the primary is absent, before a secret is asked for; reading is not', async () => {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(0);
    const machine = bench.fresh();
    machine.publishes = true;
    machine.secret = () => expect.unreachable('asked for a secret');
    const { code, message } = await rejection(machine.open());
    expect(code).toBe('store-missing');
    expect(message).toMatch(/^the primary store vault is absent: .*"qubes-backup storage primary NAME"$/);
    const repository = await bench.fresh().open();
    expect(await blob(repository, 0)).toBe('one');
    expect(bench.machine.said).toEqual([expect.stringMatching(/^remark: store vault is absent: /)]);
    expect((await rejection(backUp(repository, 'two'))).message).toContain(
      'the primary store vault is absent',
    );
    bringBack();
  });

  it('says of a lost race at another store that it was lost there, and of none at the primary', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.abort();
    bench.machine.wrap = (call, store, service) =>
      store === 'vault3' && service === setRoot.service ? dying(call, () => true) : call;
    await backUp(repository, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'failed']);
  });

  it('needs the primary that was chosen, in whatever order the stores are named', async () => {
    const { bench } = await Bench.make();
    bench.folders.reverse(); // The names stay, so that "vault" is another store now.
    const machine = bench.fresh();
    machine.publishes = true;
    await machine.open();
    expect(machine.stores.primary.name).toBe('vault');
    writeFileSync(join(bench.state, 'pins/primary.json'), '{"primary":"gone"}');
    const { code, message } = await rejection(Object.assign(bench.fresh(), { publishes: true }).open());
    expect([code, message]).toEqual([
      'usage',
      expect.stringContaining('is gone, which is not configured any more'),
    ]);
    await bench.fresh().open();
    expect(readFileSync(join(bench.state, 'pins/primary.json'), 'latin1')).toBe('{"primary":"gone"}');
  });
});

describe('R44: a removable store', () => {
  it('is noted while it is away, does not count, and is behind when it is back', async () => {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(1);
    const repository = await bench.fresh(['vault2']).open();
    expect(bench.machine.said).toEqual([expect.stringMatching(/^note: store vault2 is absent: /)]);
    await backUp(repository, 'two');
    await backUp(repository, 'three');
    expect(lackingStores(bench.machine.stores.all, 'all')).toBeUndefined();
    expect(lackingStores(bench.machine.stores.all, 3)).toContain('vault2 is absent');
    await bench.machine.stores.close();
    bringBack();
    const again = await bench.fresh(['vault2']).open();
    expect(bench.standings()).toEqual(['in-step', 'behind 2', 'in-step']);
    const { objects, total } = await syncStore(again, bench.machine.stores.named('vault2'), quiet);
    expect(objects).toBe(total);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });
});

describe('R44: reading', () => {
  it('takes from another store what one lost or altered, and says which', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(join(bench.state, 'cache'), { recursive: true });
    const files = objectsOf(bench.folder(0));
    files.forEach((file, index) => (index % 2 === 0 ? corrupt(file) : rmSync(file)));
    const repository = await bench.fresh().open();
    expect(await blob(repository, 0)).toBe('one');
    expect(await blob(repository, 1)).toBe('tree of one');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    expect(bench.machine.said.length).toBeGreaterThan(3);
    for (const text of bench.machine.said)
      expect(text).toMatch(
        /^warning: store vault: object [0-9a-f]{16}… is (missing|damaged), another store is asked/,
      );
  });

  it('goes on with another store where one dies', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const machine = bench.fresh();
    const repository = await machine.open();
    let dead = false;
    await machine.stores.abort();
    machine.wrap = (call, store, service) =>
      store === 'vault' && service === get.service && !dead ? dying(call, () => (dead = true)) : call;
    expect(await blob(repository, 0)).toBe('one');
    expect(machine.said).toEqual([expect.stringMatching(/^remark: store vault failed/)]);
  });

  it('fails where no store has an object, and says so of all', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const repository = await bench.fresh().open();
    const row = (await (await historyFor(repository)).table.row(0))!;
    for (const folder of bench.folders) rmSync(join(folder, 'objects', row.id.slice(0, 2), row.id));
    const { code, message } = await rejection(blob(repository, 0));
    expect([code, message]).toEqual([
      'store-missing',
      expect.stringMatching(/^vault, vault2 and vault3 lost object/),
    ]);
  });

  it('R58: finds out a store that acknowledges and discards, though others have what it had', async () => {
    const { bench, repository } = await Bench.make();
    for (const file of objectsOf(bench.folder(2))) rmSync(file);
    const row = (await (await historyFor(repository)).table.row(0))!;
    const sealer = (await historyFor(repository)).sealer(row.kind, 0, row.epoch);
    const answers = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const answer = repository.store.getFromOneStore(sealer, row.id, 'blob').then(
        () => 'had it',
        (error: unknown) => (error instanceof BackupError ? error.message.split(' object')[0]! : 'odd'),
      );
      answers.add(await answer);
    }
    expect([...answers].sort()).toEqual(['had it', 'vault3 lost']);
  });
});

it('a new primary never publishes what was for the old one, and its counter is not used again', async () => {
  const { bench, repository } = await Bench.make();
  const { machine } = bench;
  machine.storage.setRoot = () => Promise.reject(new BackupError('timeout', 'the cable was pulled'));
  await expect(backUp(repository, 'two')).rejects.toThrow('the cable was pulled');
  expect(machine.pin.pending()?.body.counter).toBe(3);
  machine.pin.dropPending();
  expect(machine.pin.pending()).toBeUndefined();
  expect(existsSync(join(bench.state, 'pins/pending-root'))).toBe(false);
  await machine.stores.abort();
  writeFileSync(join(bench.state, 'pins/primary.json'), '{"primary":"vault2"}');
  const again = await bench.fresh().open();
  expect(again.root.body.counter).toBe(2);
  await backUp(again, 'two');
  expect(again.root.body.counter).toBe(4);
  expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
});
