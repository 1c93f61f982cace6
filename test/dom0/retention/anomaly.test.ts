/** R55: much that was deleted or rewritten at once. */

import { describe, expect, it } from 'vitest';
import type { SnapshotVolume } from '../../../dom0/repository/records.ts';
import { anomalyOf } from '../../../dom0/retention/anomaly.ts';
import { NumberSet } from '../../../shared/numbers.ts';
import {
  Machine,
  appendBlob,
  historyFor,
  storeFolder,
  volumeOf,
  writerFor,
} from '../../support/repository-bench.ts';

type Counted = Partial<SnapshotVolume['counts']>;

const volume = (counts: Counted, changes: Partial<SnapshotVolume> = {}): SnapshotVolume => {
  const plain = volumeOf(0, changes);
  return { ...plain, counts: { ...plain.counts, ...counts } };
};
const before = (...volumes: SnapshotVolume[]) => ({ volumes });
const LIMIT = { percent: 50, files: 100 };
const thousand = volume({ files: 1000 });

describe('R55: an anomaly', () => {
  it.each<[string, Counted, boolean]>([
    ['nothing', {}, false],
    ['half of the files deleted', { deletedFiles: 500 }, false],
    ['more than half deleted', { deletedFiles: 501 }, true],
    ['more than half rewritten', { rewrittenFiles: 501 }, true],
    ['more than half, both together', { deletedFiles: 300, rewrittenFiles: 201 }, true],
    ['many new ones, as many as you like', { newFiles: 90_000, changedFiles: 90_000 }, false],
    ['all touched, of the same content', { changedFiles: 1000 }, false],
    [
      'what a liar says',
      { deletedFiles: Number.MAX_SAFE_INTEGER, rewrittenFiles: Number.MAX_SAFE_INTEGER },
      true,
    ],
  ])('%s', (_, counts, expected) => {
    expect(anomalyOf(before(thousand), [volume({ files: 1000, ...counts })], LIMIT) !== null).toBe(expected);
  });

  it('needs so many files at least, a snapshot before, and a share below all', () => {
    const all = volume({ files: 0, deletedFiles: 99 });
    expect(anomalyOf(before(volume({ files: 99 })), [all], LIMIT)).toBeNull();
    expect(anomalyOf(before(volume({ files: 99 })), [all], { percent: 50, files: 99 })).toEqual({
      ...{ files: 99, deleted: 99, rewritten: 0, acknowledged: false },
    });
    expect(anomalyOf(undefined, [all], { percent: 0, files: 1 })).toBeNull();
    expect(anomalyOf(before(volume({ files: 99 })), [all], { percent: 100, files: 1 })).toBeNull();
  });

  it('is judged by files: a device is one file, and a volume that was read in another way is new', () => {
    const device = (counts: Counted) => volume(counts, { name: 'root', mode: 'blocks' });
    const limit = { percent: 0, files: 1 };
    expect(anomalyOf(before(device({ files: 1 })), [device({ rewrittenFiles: 1 })], limit)).toBeNull();
    const asBlocks = volume({ files: 1 }, { mode: 'blocks' });
    expect(anomalyOf(before(asBlocks), [volume({ deletedFiles: 1 })], limit)).toBeNull();
  });

  it('is found though runs were interrupted on the way, and stored with the snapshot', async () => {
    const machine = new Machine(storeFolder());
    await machine.create();
    const commit = async (counts: Counted, partial = false) => {
      const writer = await writerFor(await machine.open());
      const top = await appendBlob(writer, 'tree', 'tree');
      const said = { ...volume({ files: 20, ...counts }), top };
      const earlier = writer.changesOfBase(said);
      const changed = {
        rewrittenFiles: said.counts.rewrittenFiles + earlier.rewrittenFiles,
        deletedFiles: said.counts.deletedFiles + earlier.deletedFiles,
      };
      const summed = { ...said, counts: { ...said.counts, ...changed } };
      if (partial) await writer.checkpoint(summed, writer.history.table.next);
      else {
        await writer.finishVolume(summed, NumberSet.of([top]));
        await writer.commit();
      }
      return (await (await historyFor(await machine.open())).entries()).map(({ anomaly }) => anomaly);
    };
    expect(await commit({ files: 20 })).toEqual([null]);
    expect(await commit({ rewrittenFiles: 6 }, true)).toEqual([null, null]);
    expect(await commit({ deletedFiles: 3 }, true)).toEqual([null, null]);
    const anomaly = { files: 20, deleted: 5, rewritten: 6, acknowledged: false };
    expect(await commit({ deletedFiles: 2 })).toEqual([null, anomaly]);
    // What a complete snapshot counted is no part of the next one.
    expect(await commit({ deletedFiles: 9 })).toEqual([null, anomaly, null]);
  });
});
