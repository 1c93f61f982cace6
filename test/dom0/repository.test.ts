import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmHistory } from '../../dom0/repository/vm-history.ts';
import type { VmWriter } from '../../dom0/repository/vm-writer.ts';
import { lockFolder } from '../../dom0/state/lock.ts';
import { BackupError } from '../../shared/errors.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { rejection } from '../support/failure.ts';
import { removeTree, makeTemp, tempFolder } from '../support/temp.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  volumeOf,
  writerFor,
} from '../support/repository-bench.ts';

/** Commits a snapshot of one new content blob, one new tree, and `kept` blobs of the base. */
async function commitOne(writer: VmWriter, text: string, kept: Iterable<number> = [], partial = false) {
  const content = await appendBlob(writer, text);
  const top = await appendBlob(writer, `tree of ${text}`, 'tree');
  if (partial) await writer.checkpoint(volumeOf(top), writer.history.table.next);
  else await commitVolume(writer, top, [...kept, content, top]);
  return { content, top };
}

describe('snapshots of a VM', () => {
  it('R05: is opened again with every blob where it was put', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const writer = await writerFor(await machine.create());
    const first = await commitOne(writer, 'one');
    const again = await new Machine(store).open();
    const history = await historyFor(again);
    expect((await history.entries()).map(({ number }) => number)).toEqual([1]);
    expect(await history.table.row(first.content)).toMatchObject({ kind: 16, epoch: 1 });
    expect(await history.table.row(first.top)).toMatchObject({ kind: 17 });
    expect(await history.table.row(2)).toBeUndefined();
    expect([...(await history.newestLive())]).toEqual([0, 1]);
  });

  it('R05: refuses a live set or top that the session does not own, and changes nothing', async () => {
    const machine = new Machine(storeFolder());
    const repository = await machine.create();
    await commitOne(await writerFor(repository), 'one');
    const before = repository.root.hash;
    for (const [top, live] of [
      [3, [2, 3, 4]], // a number never put
      [3, [2]], // a top that is not kept
      [2, [2, 3]], // a top that is content
    ] as const) {
      const writer = await writerFor(repository);
      await appendBlob(writer, 'two');
      await appendBlob(writer, 'tree', 'tree');
      const error = await rejection(commitVolume(writer, top, live));
      expect(error.code).toBe('refused');
    }
    expect(repository.root.hash).toBe(before);
  });

  it('R05: a blob that died is never allowed again', async () => {
    const repository = await new Machine(storeFolder()).create();
    const one = await commitOne(await writerFor(repository), 'one');
    const two = await commitOne(await writerFor(repository), 'two');
    const writer = await writerFor(repository);
    const top = await appendBlob(writer, 'three', 'tree');
    const error = await rejection(commitVolume(writer, top, [one.content, two.content, top]));
    expect(error.code).toBe('refused');
  });

  it('R50: a checkpoint is replaced by the next snapshot, in the same run and after a dead one', async () => {
    const store = storeFolder();
    const writer = await writerFor(await new Machine(store).create());
    const one = await commitOne(writer, 'one', [], true);
    const two = await commitOne(writer, 'two', [one.content], true);
    // The run dies here; another goes on from the checkpoint.
    const next = await writerFor(await new Machine(store).open());
    expect(next.base).toMatchObject({ number: 1, partial: true });
    // A checkpoint keeps all that its run put.
    expect([...next.baseLive]).toEqual([one.content, one.top, two.content, two.top]);
    const three = await commitOne(next, 'three', [one.content]);
    const history = await historyFor(await new Machine(store).open());
    const entries = await history.entries();
    expect(entries).toMatchObject([{ number: 1, partial: false }]);
    expect(await history.snapshot(entries[0]!)).toMatchObject({ firstNumber: 0, endNumber: 6 });
    expect([...(await history.liveAt(1))]).toEqual([one.content, three.content, three.top]);
    // What only the checkpoints used is dropped.
    for (const dropped of [one.top, two.content, two.top])
      expect(await history.table.row(dropped)).toBeUndefined();
  });

  it('R21: keeps blobs of the base that a checkpoint did not use, for the rest of its run', async () => {
    const store = storeFolder();
    const repository = await new Machine(store).create();
    const one = await commitOne(await writerFor(repository), 'one');
    const writer = await writerFor(repository);
    await commitOne(writer, 'two', [], true);
    const three = await commitOne(writer, 'three', [one.content]);
    const history = await historyFor(await new Machine(store).open());
    expect([...(await history.liveAt(2))]).toEqual([one.content, three.content, three.top]);
    expect([...(await history.liveAt(1))]).toEqual([one.content, one.top]);
  });

  it('R50: keeps what the run put before a checkpoint that does not refer to it yet', async () => {
    const store = storeFolder();
    const writer = await writerFor(await new Machine(store).create());
    const early = await appendBlob(writer, 'a chunk of a file that is still being read');
    await commitOne(writer, 'one', [], true);
    await commitOne(writer, 'two', [early]);
    const history = await historyFor(await new Machine(store).open());
    expect(await history.table.row(early)).toMatchObject({ kind: 16 });
  });

  describe('of several volumes', () => {
    const BOTH = [
      { name: 'private', mode: 'files' },
      { name: 'root', mode: 'blocks' },
    ] as const;
    const root = (top: number) => volumeOf(top, { name: 'root', mode: 'blocks', size: 4096 });

    it('R22: is one consistent set, whose blobs are those of all of them', async () => {
      const store = storeFolder();
      const repository = await new Machine(store).create();
      const writer = await writerFor(repository, 'work', BOTH);
      const one = await appendBlob(writer, 'private', 'tree');
      await writer.finishVolume(volumeOf(one), NumberSet.of([one]));
      const two = await appendBlob(writer, 'root', 'tree');
      expect((await rejection(writer.commit())).code).toBe('internal');
      await writer.finishVolume(root(two), NumberSet.of([two]));
      await writer.commit();
      const history = await historyFor(await new Machine(store).open());
      const entries = await history.entries();
      expect(entries).toMatchObject([{ number: 1, partial: false }]);
      expect((await history.snapshot(entries[0]!)).volumes).toMatchObject([
        { name: 'private', mode: 'files', top: one },
        { name: 'root', mode: 'blocks', size: 4096, top: two },
      ]);
      expect([...(await history.liveAt(1))]).toEqual([one, two]);
    });

    it('R50: a checkpoint keeps the volumes that were read, and the base of those to come', async () => {
      const store = storeFolder();
      const repository = await new Machine(store).create();
      const first = await writerFor(repository, 'work', BOTH);
      const one = await appendBlob(first, 'private', 'tree');
      await first.finishVolume(volumeOf(one), NumberSet.of([one]));
      // The run dies before its second volume: the first is not lost.
      expect((await historyFor(repository)).record.head).toMatchObject([{ number: 1, partial: true }]);
      const second = await writerFor(repository, 'work', BOTH);
      expect(second.baseOf(BOTH[0])).toMatchObject({ top: one });
      expect(second.baseOf(BOTH[1])).toBeUndefined();
      await second.finishVolume(volumeOf(one), NumberSet.of([one]));
      const two = await appendBlob(second, 'root', 'tree');
      await second.finishVolume(root(two), NumberSet.of([two]));
      expect((await second.commit()).number).toBe(1);
      const third = await writerFor(repository, 'work', BOTH);
      const three = await appendBlob(third, 'private again', 'tree');
      const checkpoint = await third.checkpoint(volumeOf(three), third.history.table.next);
      expect(checkpoint).toMatchObject({ number: 2, partial: true });
      expect(checkpoint.volumes.map(({ top }) => top)).toEqual([three, two]);
    });

    it('a volume read in another mode, or left out, is not compared with', async () => {
      const repository = await new Machine(storeFolder()).create();
      const { top } = await commitOne(await writerFor(repository), 'one');
      const writer = await writerFor(repository, 'work', [{ name: 'private', mode: 'blocks' }]);
      expect(writer.base).toMatchObject({ number: 1 });
      expect(writer.baseOf({ name: 'private', mode: 'blocks' })).toBeUndefined();
      const next = await appendBlob(writer, 'device', 'tree');
      await writer.finishVolume(volumeOf(next, { mode: 'blocks' }), NumberSet.of([next]));
      await writer.commit();
      const history = await historyFor(repository);
      expect([...(await history.liveAt(2))]).toEqual([next]);
      expect((await history.liveAt(1)).has(top)).toBe(true);
    });
  });

  it('finds the live set of any snapshot of any history, across closed segments', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(), fc.boolean()), { minLength: 1, maxLength: 12 }),
        async (steps) => {
          const folder = makeTemp();
          try {
            const machine = new Machine(join(folder, 'store'), join(folder, 'state'));
            const repository = await machine.create();
            const model: number[][] = [];
            let base: number[] = [];
            for (const [choice, partial] of steps) {
              const writer = await writerFor(repository);
              const kept = base.filter((_number, i) => (choice >> (i % 16)) % 2 === 1);
              const { content, top } = await commitOne(writer, 'blob', kept, partial);
              base = [...(partial ? base : kept), content, top]; // A checkpoint lets nothing go.
              if (!partial) model.push(base);
            }
            const history = await historyFor(await machine.open());
            const complete = (await history.entries()).filter((entry) => !entry.partial);
            expect(complete).toHaveLength(model.length);
            for (const [i, entry] of complete.entries()) {
              expect([...(await history.liveAt(entry.number))]).toEqual([...NumberSet.of(model[i] ?? [])]);
            }
          } finally {
            removeTree(folder);
          }
        },
      ),
      { numRuns: 10 },
    );
  }, 60_000);

  it('closes segments of 64 snapshots, and tables of 1,024 rows', async () => {
    const store = storeFolder();
    const repository = await new Machine(store).create();
    for (let i = 0; i < 130; i++) {
      const writer = await writerFor(repository);
      const many = [];
      for (let k = 0; k < 15; k++) many.push(await writer.append(16, new Uint8Array([i, k])));
      await Promise.all(many.map(({ durable }) => durable));
      const top = await appendBlob(writer, `tree ${i}`, 'tree');
      await commitVolume(writer, top, [...many.map(({ number }) => number), top]);
    }
    const history = await historyFor(await new Machine(store).open());
    expect(history.record.segments).toHaveLength(2);
    expect(history.record.head).toHaveLength(2);
    expect(history.record.leaves).toHaveLength(3);
    expect((await history.entries()).map(({ number }) => number)).toEqual(
      Array.from({ length: 130 }, (_, i) => i + 1),
    );
    expect(await history.table.row(1030)).toMatchObject({ kind: 16 });
  }, 120_000);
});

describe('two machines', () => {
  it('R41: the record is applied again on top of a root that touched another VM', async () => {
    const store = storeFolder();
    const here = await new Machine(store).create();
    const there = await new Machine(store).open();
    const slow = await writerFor(here, 'work');
    await commitOne(await writerFor(there, 'vault'), 'theirs');
    await commitOne(slow, 'ours');
    const names = (await new Machine(store).open()).vms.map(({ name }) => name).sort();
    expect(names).toEqual(['vault', 'work']);
  });

  it('R41: the second of two runs on the same VM is refused, and nothing is lost', async () => {
    const store = storeFolder();
    const here = await new Machine(store).create();
    await commitOne(await writerFor(here), 'base');
    const there = await new Machine(store).open();
    const [ours, theirs] = [await writerFor(here), await writerFor(there)];
    await commitOne(theirs, 'theirs');
    const error = await rejection(commitOne(ours, 'ours'));
    expect(error.code).toBe('store-conflict');
    const history = await historyFor(await new Machine(store).open());
    expect(await history.entries()).toHaveLength(2);
  });
});

describe('the pin', () => {
  it('R06: no counter is signed twice, also after a root that was never published', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await commitOne(await writerFor(repository), 'one');
    const pinned = machine.pin.read();
    expect(pinned?.counter).toBe(2);
    machine.pin.writePending({ ...repository.root, hash: repository.root.hash });
    const again = await machine.open();
    await commitOne(await writerFor(again), 'two');
    expect(machine.pin.read()?.counter).toBe(3);
    expect(machine.pin.pending()).toBeUndefined();
  });

  it('R41: a root that was about to be published is sent again, the very same bytes', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const setRoot = machine.storage.setRoot.bind(machine.storage);
    machine.storage.setRoot = () => Promise.reject(new BackupError('timeout', 'the cable was pulled'));
    const error = await rejection(commitOne(await writerFor(repository), 'one'));
    expect(error.code).toBe('timeout');
    const pending = machine.pin.pending();
    expect(pending?.body.counter).toBe(2);
    machine.storage.setRoot = setRoot;
    const again = await machine.open();
    expect(again.root.hash).toBe(pending?.hash);
    expect(again.vms.map(({ name }) => name)).toEqual(['work']);
  });

  it('R06: is not lowered by a run that looked before another one published', async () => {
    const [store, state] = [storeFolder(), tempFolder()];
    const machine = new Machine(store, state);
    const repository = await machine.create();
    const seen = repository.root;
    await commitOne(await writerFor(repository), 'one');
    machine.pin.writePending(repository.root);
    machine.pin.write(seen);
    expect(machine.pin.read()?.counter).toBe(2);
    expect(machine.pin.pending()?.hash).toBe(repository.root.hash);
    machine.pin.write(seen, [], true);
    expect(machine.pin.read()).toMatchObject({ counter: 1, highestCounter: 2 });
  });

  it('is refused if it is damaged, not ignored', async () => {
    const state = tempFolder();
    const machine = new Machine(storeFolder(), state);
    await machine.create();
    writeFileSync(join(state, 'pins/pin.json'), '{}');
    expect((await rejection(machine.open())).code).toBe('io');
  });
});

describe('the cache', () => {
  it('costs time, never correctness, when it is damaged or gone', async () => {
    const [store, state] = [storeFolder(), tempFolder()];
    const machine = new Machine(store, state);
    await commitOne(await writerFor(await machine.create()), 'one');
    const { readdirSync } = await import('node:fs');
    for (const entry of readdirSync(join(state, 'cache'), { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) writeFileSync(join(entry.parentPath, entry.name), 'damage');
    }
    const history = await historyFor(await new Machine(store, state).open());
    expect(await history.newest()).toMatchObject({ number: 1 });
    rmSync(join(state, 'cache'), { recursive: true });
    expect(await (await historyFor(await new Machine(store, state).open())).newest()).toMatchObject({
      number: 1,
    });
  });
});

describe('the state lock', () => {
  it('R50: is held by one run, told at once to the second, and free after it', async () => {
    const folder = tempFolder();
    mkdirSync(join(folder, 'other'));
    const release = await lockFolder(folder);
    expect((await rejection(lockFolder(folder))).code).toBe('locked');
    const other = await lockFolder(join(folder, 'other'));
    await release();
    await other();
    await (
      await lockFolder(folder)
    )();
  });
});

it('a VM record names its key epochs', async () => {
  const repository = await new Machine(storeFolder()).create();
  await commitOne(await writerFor(repository), 'one');
  const history = await historyFor(repository);
  expect(history).toBeInstanceOf(VmHistory);
  expect(() => history.sealer(16, 0, 2)).toThrow(BackupError);
});
