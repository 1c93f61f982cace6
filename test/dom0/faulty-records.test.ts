/** R05: records that are sealed as they should be and say what cannot be: of a faulty program, or of a dom0 that was not ours. */

import { describe, expect, it } from 'vitest';
import { BlobTable } from '../../dom0/repository/blob-table.ts';
import { publishLiveList } from '../../dom0/repository/live-objects.ts';
import { snapshotSchema, tableLeafSchema } from '../../dom0/repository/records.ts';
import type { TableLeaf } from '../../dom0/repository/records.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { SpotCheck } from '../../dom0/repository/spot-check.ts';
import { VmHistory } from '../../dom0/repository/vm-history.ts';
import { KIND } from '../../dom0/seal/object.ts';
import { utf8 } from '../../shared/bytes.ts';
import { objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_BLOB_NUMBER } from '../../shared/limits.ts';
import { decodeLivePart } from '../../shared/live-list.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { rejection } from '../support/failure.ts';
import {
  Machine,
  backedUp,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';

/** Stores what `change` makes of the first leaf of the VM's table. */
async function putLeaf(
  { store }: Repository,
  history: VmHistory,
  change: (leaf: TableLeaf) => TableLeaf,
): Promise<ObjectId> {
  const sealer = history.sealer(KIND.tableLeaf, 0, 1);
  const [leaf] = history.record.leaves;
  const good = await store.getRecord(sealer, tableLeafSchema, leaf!.object, 'the table');
  return store.putRecord(sealer, tableLeafSchema, change(good));
}

describe('a blob table', () => {
  it.each<[string, (leaf: TableLeaf) => TableLeaf]>([
    [
      'too few rows',
      ({ ids, kinds, epochs }) => ({
        ids: ids.subarray(32),
        kinds: kinds.subarray(1),
        epochs: epochs.subarray(4),
      }),
    ],
    ['kinds cut short', ({ ids, kinds, epochs }) => ({ ids, kinds: kinds.subarray(1), epochs })],
    ['names cut short', ({ ids, kinds, epochs }) => ({ ids: ids.subarray(1), kinds, epochs })],
    ['epochs cut short', ({ ids, kinds, epochs }) => ({ ids, kinds, epochs: epochs.subarray(1) })],
  ])('with %s is damage', async (_title, change) => {
    const { repository, history } = await backedUp();
    const object = await putLeaf(repository, history, change);
    const record = { ...history.record, leaves: [{ object, epoch: 1 }] };
    const faulty = new VmHistory(repository, history.name, record, undefined);
    expect(await rejection(faulty.table.row(0))).toMatchObject({ code: 'store-damaged' });
  });

  it('that is full takes no more', async () => {
    const { repository, history } = await backedUp();
    const record = { ...history.record, nextNumber: MAX_BLOB_NUMBER + 1, leaves: [] };
    const table = new BlobTable(repository.store, history.sealer.bind(history), record);
    const row = { id: objectIdOf(utf8('x')), kind: KIND.content, epoch: 1 };
    expect(await rejection(table.append(row))).toMatchObject({ code: 'limit' });
    expect(table.next).toBe(MAX_BLOB_NUMBER + 1);
  });
});

describe('a snapshot', () => {
  it('in the place of another is damage', async () => {
    const { repository, history } = await backedUp();
    const snapshot = await history.newest();
    const [entry] = await history.entries();
    const object = await repository.store.putRecord(history.sealer(KIND.snapshot, 1, 1), snapshotSchema, {
      ...snapshot!,
      number: 2,
    });
    const error = await rejection(history.snapshot({ ...entry!, object }));
    expect([error.code, error.message]).toEqual(['store-damaged', 'snapshot 1 of work says it is number 2']);
  });

  it('with a blob that the table lacks is in no live list, and a fault of the spot check', async () => {
    const { repository, history, content } = await backedUp();
    const object = await putLeaf(repository, history, ({ kinds, ...leaf }) => {
      return { ...leaf, kinds: kinds.map((kind, number) => (number === content ? 0 : kind)) };
    });
    const record = { ...history.record, leaves: [{ object, epoch: 1 }] };
    await repository.publish(record, history.recordId, () => 1);
    const before = repository.root.hash;
    expect((await rejection(publishLiveList(repository, 1))).code).toBe('store-damaged');
    expect(repository.root.hash).toBe(before);
    const check = new SpotCheck(repository.store);
    await check.earlier(await historyFor(repository), NumberSet.of([content]), Infinity);
    expect(check.result.faults).toEqual(['the blob table of work has no row 0']);
  });
});

it('R54: a live list names every object, however many there are; a VM without snapshots has none', async () => {
  const machine = new Machine(storeFolder());
  const repository = await machine.create();
  const objects: string[] = [];
  const fresh = await historyFor(repository);
  for await (const { id } of fresh.recordObjects()) objects.push(id);
  expect(objects).toEqual([]);
  const writer = await writerFor(repository);
  const count = 1100;
  const stored: Promise<void>[] = [];
  for (let i = 0; i < count; i++) stored.push((await writer.append(KIND.tree, utf8(`tree ${i}`))).durable);
  await Promise.all(stored);
  await commitVolume(
    writer,
    0,
    Array.from({ length: count }, (_, number) => number),
  );
  await publishLiveList(repository, 1);
  const history = await historyFor(repository);
  for await (const { id } of history.recordObjects()) objects.push(id);
  const [part] = repository.root.body.live ?? [];
  const prefixes = decodeLivePart((await machine.storage.get(part!))!, -1n);
  expect(prefixes).toHaveLength(count + new Set(objects).size + 1); // The record itself.
});
