/** A blob table larger than what is kept of it in memory. */

import { beforeAll, expect, test } from 'vitest';
import type * as z from 'zod';
import { BlobTable } from '../../dom0/repository/blob-table.ts';
import type { ObjectStore, Sealer } from '../../dom0/repository/object-store.ts';
import type { Reference, VmRecord } from '../../dom0/repository/records.ts';
import { KIND } from '../../dom0/seal/object.ts';
import type { Kind } from '../../dom0/seal/object.ts';
import { decodeWith, encodeWith } from '../../shared/cbor.ts';
import { newRepositoryId, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { TABLE_LEAF_ROWS } from '../../shared/limits.ts';
import { u32 } from '../../shared/bytes.ts';

const LEAVES = 300;
const ROWS = LEAVES * TABLE_LEAF_ROWS - 100;

/** Records under their names, as their bytes; each read is counted. */
class Records {
  readonly #bytes = new Map<ObjectId, Uint8Array>();
  reads: ObjectId[] = [];
  underWay = 0;
  most = 0;

  async putRecord<S extends z.ZodType>(_sealer: Sealer, schema: S, record: z.output<S>): Promise<ObjectId> {
    this.underWay += 1;
    this.most = Math.max(this.most, this.underWay);
    await Promise.resolve();
    this.underWay -= 1;
    const bytes = encodeWith(schema, record);
    const id = objectIdOf(bytes);
    this.#bytes.set(id, bytes);
    return id;
  }

  getRecord<S extends z.ZodType>(_sealer: Sealer, schema: S, id: ObjectId): Promise<z.output<S>> {
    this.reads.push(id);
    const bytes = this.#bytes.get(id);
    if (bytes === undefined) throw new Error(`there is no record ${id}`);
    return Promise.resolve(decodeWith(schema, bytes));
  }
}

const records = new Records();
const repository = newRepositoryId();
const sealer = (kind: Kind, number: number, epoch: number): Sealer => ({
  key: new Uint8Array(32),
  place: { kind, repository, vm: undefined, number, epoch },
});
const idOf = (number: number) => objectIdOf(u32(number));
const rowOf = (number: number) => ({ id: idOf(number), kind: KIND.content, epoch: number % 3 });

/** What a table needs of the record of its VM. */
const tableOf = (nextNumber: number, leaves: readonly Reference[]) =>
  new BlobTable(records as unknown as ObjectStore, sealer, { nextNumber, leaves } as VmRecord);

let stored: Reference[];
beforeAll(async () => {
  const table = tableOf(0, []);
  for (let number = 0; number < ROWS; number++) await table.append(rowOf(number));
  stored = await table.write(0, ROWS, new Set(), [], 1);
});

test('is written a few leaves at a time, and read leaf by leaf, each once', async () => {
  expect(stored).toHaveLength(LEAVES);
  expect(records.most).toBeLessThanOrEqual(32);
  const table = tableOf(ROWS, stored);
  records.reads = [];
  for (let number = 0; number < ROWS; number += 97) expect(await table.row(number)).toEqual(rowOf(number));
  expect(records.reads).toEqual(stored.map(({ object }) => object));
  expect(await table.row(ROWS)).toBeUndefined();
});

test('reads again what it has let go of, and keeps what was used last', async () => {
  const table = tableOf(ROWS, stored);
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    await table.row(leaf * TABLE_LEAF_ROWS);
    await table.row(7);
  }
  records.reads = [];
  expect(await table.row(8)).toEqual(rowOf(8));
  expect(await table.row(TABLE_LEAF_ROWS)).toEqual(rowOf(TABLE_LEAF_ROWS));
  expect(records.reads).toEqual([stored[1]?.object]);
});

test('what was changed and is not yet stored is never let go of', async () => {
  const table = tableOf(ROWS, stored);
  const touched = await table.drop([5]);
  expect(await table.append(rowOf(ROWS))).toBe(ROWS);
  for (let leaf = 0; leaf < LEAVES; leaf++) await table.row(leaf * TABLE_LEAF_ROWS);
  expect(await table.row(5)).toBeUndefined();
  expect(await table.row(ROWS)).toEqual(rowOf(ROWS));
  const leaves = await table.write(ROWS, ROWS + 1, touched, stored, 2);
  expect(leaves.flatMap(({ epoch }, index) => (epoch === 2 ? [index] : []))).toEqual([0, LEAVES - 1]);
  const again = tableOf(ROWS + 1, leaves);
  expect(await again.row(5)).toBeUndefined();
  expect(await again.row(6)).toEqual(rowOf(6));
  expect(await again.row(ROWS)).toEqual(rowOf(ROWS));
});
