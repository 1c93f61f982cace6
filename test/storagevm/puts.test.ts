/** R42: what was put lately is read back, whole rows of it, however many sessions noted it and however it was cut short. */

import { randomBytes } from 'node:crypto';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { objectIdFromBytes } from '../../shared/ids.ts';
import { PutJournal, PutReader } from '../../storagevm/ledger/puts.ts';
import { ROW } from '../../storagevm/ledger/put-rows.ts';
import type { PutRows } from '../../storagevm/ledger/put-rows.ts';
import { tempFolder } from '../support/temp.ts';

/** A session of each count of rows, in `folder`; the names that they noted. */
async function note(folder: string, counts: readonly number[]): Promise<string[]> {
  const ids: string[] = [];
  for (const count of counts) {
    const journal = await PutJournal.create(folder, () => Promise.resolve(7));
    for (let row = 0; row < count; row++) {
      const id = objectIdFromBytes(randomBytes(32));
      await journal.add(id, 100 + row);
      ids.push(id);
    }
    await journal.close();
  }
  return ids.sort();
}

async function readAll(reader: PutReader): Promise<PutRows[]> {
  const all: PutRows[] = [];
  for await (const rows of reader.rows()) all.push(rows);
  return all;
}

const idsOf = (all: readonly PutRows[]) => all.flatMap((rows) => [...rows].map(({ id }) => id)).sort();

test('a reader goes on where it was, and leaves a row that was cut short until it is whole', async () => {
  const folder = join(tempFolder(), 'puts');
  const first = await note(folder, [3, 0, 1]);
  const reader = new PutReader(folder);
  expect(idsOf(await readAll(reader))).toEqual(first);
  expect(await readAll(reader)).toEqual([]);
  const [file = ''] = readdirSync(folder).sort();
  const rows = randomBytes(2 * ROW);
  const names = [0, ROW].map((at) => objectIdFromBytes(rows.subarray(at, at + 32)));
  appendFileSync(join(folder, file), rows.subarray(0, -1));
  expect(idsOf(await readAll(reader))).toEqual([names[0]]);
  appendFileSync(join(folder, file), rows.subarray(-1));
  expect(idsOf(await readAll(new PutReader(folder, reader.offsets)))).toEqual([names[1]]);
});

test('the rows of many sessions take no more memory than they have bytes', async () => {
  const folder = join(tempFolder(), 'puts');
  const ids = await note(
    folder,
    Array.from({ length: 200 }, () => 2),
  );
  const before = process.memoryUsage().arrayBuffers;
  const all = await readAll(new PutReader(folder));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
  expect(idsOf(all)).toEqual(ids);
});
