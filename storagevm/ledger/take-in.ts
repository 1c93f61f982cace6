/** How what was put comes into the marks of a ledger. Only under its lock. */

import { isDeepStrictEqual } from 'node:util';
import { SHARDS, shardOf } from '../back-end.ts';
import type { Ledger } from './ledger.ts';
import type { PutRow } from './puts.ts';

/** Put rows that are held before they are taken into the marks. */
const ROWS_HELD = 256 * 1024;

/** Takes the rows of put sessions into the marks: what was put again is alive. */
export async function takeInPuts(ledger: Ledger, age: number): Promise<void> {
  const state = await ledger.readState();
  const reader = ledger.readPuts(state.offsets);
  let counted = state.counted;
  let held: PutRow[] = [];
  const settle = async () => {
    if (held.length === 0) return;
    await markPut(ledger, held);
    const stored = held.filter(({ size }) => size > 0);
    const bytes = stored.reduce((sum, { size }) => sum + size, 0);
    if (counted !== null)
      counted = { objects: counted.objects + stored.length, bytes: counted.bytes + bytes };
    held = [];
  };
  for await (const rows of reader.rows()) {
    held.push(...rows);
    if (held.length >= ROWS_HELD) await settle();
  }
  await settle();
  if (!isDeepStrictEqual(reader.offsets, state.offsets))
    await ledger.writeState({ ...state, counted, offsets: reader.offsets });
  await reader.removeEnded(age); // Not before the marks are durable.
}

async function markPut(ledger: Ledger, rows: readonly PutRow[]): Promise<void> {
  const byShard = Map.groupBy(rows, ({ id }) => shardOf(id));
  for (const [shard, some] of byShard) {
    const marks = await ledger.marks.read(shard);
    for (const { id, at } of some)
      marks.set(id, { put: Math.max(at, marks.get(id)?.put ?? 0), dead: undefined });
    await ledger.marks.write(shard, marks);
  }
}

/** What died at store-age `since` or later is alive again, and as good as put now. */
export async function revive(ledger: Ledger, since: number, age: number): Promise<void> {
  for (const shard of SHARDS) {
    const marks = await ledger.marks.read(shard);
    const died = [...marks].filter(([, { dead }]) => dead !== undefined && dead >= since);
    for (const [id] of died) marks.set(id, { put: age, dead: undefined });
    await ledger.marks.write(shard, marks);
  }
  await ledger.marks.sync();
}
