/** How what was put comes into the marks of a ledger. Only under its lock. */

import { isDeepStrictEqual } from 'node:util';
import { SHARDS } from '../back-end.ts';
import type { Ledger } from './ledger.ts';
import { PutRows } from './put-rows.ts';

/** Put rows that are held before they are taken into the marks: 20 MiB, as each time all marks are written anew. */
const ROWS_HELD = 512 * 1024;

/** Takes the rows of put sessions into the marks: what was put again is alive. */
export async function takeInPuts(ledger: Ledger, age: number): Promise<void> {
  const state = await ledger.readState();
  const reader = ledger.readPuts(state.offsets);
  let counted = state.counted;
  let held: PutRows[] = [];
  const settle = async () => {
    const sum = { objects: 0, bytes: 0 };
    for (const [shard, rows] of PutRows.byShard(held)) {
      if (rows.count > 0) await markPut(ledger, shard, rows);
      for (const { size } of rows) {
        sum.objects += size > 0 ? 1 : 0;
        sum.bytes += size;
      }
    }
    held = [];
    if (counted !== null)
      counted = { objects: counted.objects + sum.objects, bytes: counted.bytes + sum.bytes };
  };
  for await (const rows of reader.rows()) {
    held.push(rows);
    if (held.reduce((sum, { count }) => sum + count, 0) >= ROWS_HELD) await settle();
  }
  await settle();
  if (!isDeepStrictEqual(reader.offsets, state.offsets))
    await ledger.writeState({ ...state, counted, offsets: reader.offsets });
  await reader.removeEnded(age); // Not before the marks are durable.
}

async function markPut(ledger: Ledger, shard: string, rows: PutRows): Promise<void> {
  const marks = await ledger.marks.read(shard);
  for (const { id, at } of rows)
    marks.set(id, { put: Math.max(at, marks.get(id)?.put ?? 0), dead: undefined });
  await ledger.marks.write(shard, marks);
}

/** What died at store-age `since` or later is alive again, and as good as put now. */
async function revive(ledger: Ledger, since: number, age: number): Promise<void> {
  for (const shard of SHARDS) {
    const marks = await ledger.marks.read(shard);
    const died = [...marks].filter(([, { dead }]) => dead !== undefined && dead >= since);
    for (const [id] of died) marks.set(id, { put: age, dead: undefined });
    await ledger.marks.write(shard, marks);
  }
  await ledger.marks.sync();
}

/** Root `number` becomes the newest again, as root `next`: what died since it was superseded is alive. */
export async function takeBack(ledger: Ledger, number: number, next: number, age: number): Promise<void> {
  await takeInPuts(ledger, age);
  await revive(ledger, (await ledger.rootAges.read(number + 1))?.at ?? 0, age);
  await ledger.rootAges.record(next, { at: age, hasList: false });
  await ledger.writeState({ ...(await ledger.readState()), applied: next, pass: null, waiting: null });
}
