/** Large chunks are written on the thread pool: those of one file one after the other, those of several at the same time. */

import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { TYPE } from '../../dvm/entry.ts';
import type * as sparse from '../../dvm/sparse.ts';
import { PackReader } from '../../dvm/pack-reader.ts';
import { ContentWriter } from '../../dvm/restore-contents.ts';
import { Directories } from '../../dvm/restore-directories.ts';
import { Report } from '../../dvm/restore-report.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { MemoryStore, bytes, entryOf } from './tree-kit.ts';

const KiB = 1024;

/** Writes under way, by descriptor, and the most that ever were. */
const running = new Map<number, number>();
const most = { ofOneFile: 0, files: 0 };

vi.mock(import('../../dvm/sparse.ts'), async (original) => {
  const real: typeof sparse = await original();
  return {
    ...real,
    writeSparseOnPool: async (descriptor, piece, start) => {
      const count = (running.get(descriptor) ?? 0) + 1;
      running.set(descriptor, count);
      most.ofOneFile = Math.max(most.ofOneFile, count);
      most.files = Math.max(most.files, running.size);
      for (let turn = 0; turn < 5; turn++) await nextTurn();
      const end = await real.writeSparseOnPool(descriptor, piece, start);
      if (count === 1) running.delete(descriptor);
      return end;
    },
  };
});

test('no two threads write one file, and several files are written at the same time', async () => {
  const folder = tempFolder();
  const root = openSync(folder, 'r');
  onTestFinished(() => closeSync(root));
  const store = new MemoryStore();
  const report = new Report({ send: () => Promise.resolve() });
  const writer = new ContentWriter(new Directories(root), new PackReader(store), report, false);
  const random = new Random(5);
  const contents = [3, 3, 1, 1].map((count) => Array.from({ length: count }, () => random.bytes(200 * KiB)));
  contents.forEach((pieces, i) => {
    const entry = entryOf(`file ${i}`, TYPE.file, { size: pieces.length * 200 * KiB });
    const slot = { directory: bytes(''), name: entry.path, temporary: undefined };
    writer.begin(entry, slot, pieces.length);
    for (const chunk of store.pack(...pieces)) writer.add(chunk);
  });
  await writer.flush();
  await writer.close();
  expect(most.ofOneFile).toBe(1);
  expect(most.files).toBeGreaterThan(1);
  contents.forEach((pieces, i) =>
    expect(readFileSync(join(folder, `file ${i}`)).equals(Buffer.concat(pieces))).toBe(true),
  );
});
