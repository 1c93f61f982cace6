/** What becomes of a VM's backups without certain records, as far as dom0 knows by itself. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { damageOf, undamaged } from '../../dom0/repository/vm-damage.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { SNAPSHOT_SEGMENT } from '../../shared/limits.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';

/** A VM with so many snapshots of one blob and one tree each. */
async function filled(snapshots: number) {
  const folder = storeFolder();
  const machine = new Machine(folder);
  const repository = await machine.create();
  for (let i = 0; i < snapshots; i++) {
    const writer = await writerFor(repository);
    const tree = await appendBlob(writer, `tree ${i}`, 'tree');
    await commitVolume(writer, tree, [tree, await appendBlob(writer, `content ${i}`)]);
  }
  const history = await historyFor(repository);
  const [entry] = repository.vms;
  if (entry === undefined) throw new Error('no VM');
  const of = (ids: readonly ObjectId[], withUnreadable = true) =>
    damageOf(repository, entry, { isLost: (id) => ids.includes(id), withUnreadable });
  /** A machine that keeps no copy, and a store that lost `ids`. */
  const remove = async (ids: readonly ObjectId[]) => {
    await machine.stores.close();
    for (const id of ids) rmSync(join(folder, 'objects', id.slice(0, 2), id));
    const fresh = await new Machine(folder).open();
    return (withUnreadable: boolean) => damageOf(fresh, entry, { isLost: () => false, withUnreadable });
  };
  return { machine, repository, history, entry, of, remove };
}

const numbersOf = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, i) => from - i);

it('a list of snapshots that is lost is all of them, and nobody can say which', async () => {
  const { of, remove, history, machine } = await filled(SNAPSHOT_SEGMENT + 2);
  const segment = history.record.segments[0]?.object ?? ('' as ObjectId);
  const removed = await remove([segment]);
  expect((await removed(false)).parts).toEqual([]);
  for (const found of [await of([segment]), await removed(true)])
    expect(found.parts).toMatchObject([{ snapshots: undefined, volume: undefined, what: 'all' }]);
  await machine.stores.close();
}, 120_000);

it('without the record of a snapshot those before it are lost, and those after it are not', async () => {
  const { of, remove, history, machine } = await filled(4);
  const second = (await history.entries())[1]?.object ?? ('' as ObjectId);
  const found = await of([second]);
  expect(found.parts).toMatchObject([{ snapshots: [2, 1], what: 'all' }]);
  expect([found.snapshots, found.trees]).toEqual([numbersOf(4, 1), []]);
  const removed = await remove([second]);
  expect((await removed(true)).parts).toMatchObject([{ snapshots: [2, 1], what: 'all' }]);
  expect((await removed(false)).parts).toEqual([]); // It is told with what is lost, not with what is elsewhere.
  await machine.stores.close();
});

it('without the live set, a table, or the settings', async () => {
  const { of, history, machine } = await filled(2);
  const { live, leaves } = history.record;
  const all = await of([live?.object ?? ('' as ObjectId)]);
  expect(all.parts).toMatchObject([{ snapshots: [2, 1], what: 'all' }]);
  const table = await of([leaves[0]?.object ?? ('' as ObjectId)]);
  expect(table.parts).toMatchObject([
    { snapshots: [2], volume: 'private', what: 'all' },
    { snapshots: [1], volume: 'private', what: 'all' },
  ]);
  const [newest] = (await history.entries()).slice(-1);
  const { config } = await history.snapshot(newest!);
  expect((await of([config.object])).parts).toContainEqual(expect.objectContaining({ what: 'settings' }));
  await machine.stores.close();
});

it('a live set, and settings, that cannot be read', async () => {
  for (const which of ['live', 'config'] as const) {
    const { history, remove, machine } = await filled(2);
    const [newest] = (await history.entries()).slice(-1);
    const object = {
      live: history.record.live?.object,
      config: (await history.snapshot(newest!)).config.object,
    }[which];
    const removed = await remove([object!]);
    const [what, snapshots] = which === 'live' ? (['all', [2, 1]] as const) : (['settings', [2]] as const);
    expect((await removed(true)).parts).toContainEqual(expect.objectContaining({ what, snapshots }));
    expect((await removed(false)).parts).toEqual([]);
    await machine.stores.close();
  }
});

it('of a VM that has no fault only the snapshots are told', async () => {
  const { repository, entry, machine } = await filled(3);
  expect(await undamaged(repository, entry)).toMatchObject({ parts: [], trees: [], snapshots: [3, 2, 1] });
  await machine.stores.close();
});

it('a tree that cannot be read counts as lost, though a listing has it; content that was not read does not', async () => {
  const { history, remove, machine } = await filled(2);
  const rows = await Promise.all([0, 1, 2, 3].map((number) => history.table.row(number)));
  const [tree, content] = [rows[0]?.id, rows[3]?.id].map((id) => id ?? ('' as ObjectId)) as [
    ObjectId,
    ObjectId,
  ];
  const removed = await remove([tree, content]);
  expect(await removed(true)).toMatchObject({ parts: [{ snapshots: [1], what: 'all' }], trees: [] });
  expect(await removed(false)).toMatchObject({ parts: [], trees: [] });
  await machine.stores.close();
});

it('snapshots of one tree that lack content of theirs are told together', async () => {
  const folder = storeFolder();
  const machine = new Machine(folder);
  const repository = await machine.create();
  let tree: number | undefined;
  for (const text of ['first', 'second']) {
    const writer = await writerFor(repository);
    tree ??= await appendBlob(writer, 'tree', 'tree');
    await commitVolume(writer, tree, [tree, await appendBlob(writer, text)]);
  }
  const history = await historyFor(repository);
  const lost = (await Promise.all([1, 2].map((number) => history.table.row(number)))).map((row) => row?.id);
  const loss = { isLost: (id: ObjectId) => lost.includes(id), withUnreadable: true };
  const { parts, trees } = await damageOf(repository, repository.vms[0]!, loss);
  expect(parts).toEqual([]);
  expect(trees.map(({ snapshots, volume }) => [snapshots, volume.top])).toEqual([[[2, 1], tree]]);
  await machine.stores.close();
});

it('a VM without its record is lost', async () => {
  const { of, entry, remove, machine } = await filled(1);
  expect((await of([entry.record])).parts).toMatchObject([{ snapshots: undefined, what: 'all' }]);
  const removed = await remove([entry.record]);
  expect((await removed(true)).parts).toHaveLength(1);
  expect((await removed(false)).parts).toEqual([]);
  await machine.stores.close();
});
