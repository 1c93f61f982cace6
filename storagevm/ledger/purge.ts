/** The end of what was dead, and of roots that were superseded, for the grace period. Only under the ledger's lock. */

import type { ObjectId } from '../../shared/ids.ts';
import { SHARDS, objectName, rootName } from '../back-end.ts';
import { listShard } from '../listing.ts';
import type { Ledger } from './ledger.ts';
import { oldest } from './marks.ts';
import type { ShardMarks } from './marks.ts';
import { PURGED_AT_ONCE } from './purging.ts';
import type { SweepOptions } from './sweep-options.ts';
import { takeInPuts } from './take-in.ts';

/** What a sweep did so far. */
export interface Removed {
  objects: number;
  bytes: number;
  /** Of objects and roots. */
  kept: number;
}

/** Removes what was dead for the grace period; false if it was stopped. */
export async function purge(
  options: SweepOptions,
  age: number,
  removed: Removed,
  stopped: () => boolean,
): Promise<boolean> {
  const { ledger, grace } = options;
  const { oldestDead } = await ledger.readState();
  if (oldestDead === null || oldestDead > age - grace) return true;
  let left: number | null = null;
  for (const [index, shard] of SHARDS.entries()) {
    if (!(await purgeShard(options, shard, age, removed, stopped))) return false;
    left = oldest(left, await ledger.marks.read(shard));
    options.progress?.('remove', index + 1);
  }
  await ledger.writeState({ ...(await ledger.readState()), oldestDead: left });
  return true;
}

async function purgeShard(
  options: SweepOptions,
  shard: string,
  age: number,
  removed: Removed,
  stopped: () => boolean,
): Promise<boolean> {
  const { ledger, backEnd, grace } = options;
  const expired = expiredOf(await ledger.marks.read(shard), age - grace);
  if (expired.length === 0) return true;
  const sizes = new Map((await listShard(backEnd, shard)).map(({ id, size }) => [id, size]));
  for (let at = 0; at < expired.length; at += PURGED_AT_ONCE) {
    const { gone, kept } = await purgeSome(options, shard, expired.slice(at, at + PURGED_AT_ONCE), age);
    const bytes = gone.reduce((sum, id) => sum + (sizes.get(id) ?? 0), 0);
    await uncount(ledger, { objects: gone.length, bytes });
    removed.objects += gone.length;
    removed.bytes += bytes;
    removed.kept += kept;
    if (stopped()) return false; // After some: however little time there is, each call comes further.
  }
  return true;
}

/** Removes those of `ids` that nobody put again, and answers them, and how many a lock kept. */
async function purgeSome(
  { ledger, backEnd, grace }: SweepOptions,
  shard: string,
  ids: readonly ObjectId[],
  age: number,
): Promise<{ readonly gone: readonly ObjectId[]; readonly kept: number }> {
  await ledger.purging.announce(ids);
  await takeInPuts(ledger, age); // Whoever put one before the announcement is in here; who comes later, waits.
  const marks = await ledger.marks.read(shard);
  const still = new Set(expiredOf(marks, age - grace));
  const expired = ids.filter((id) => still.has(id));
  const kept = new Set(expired.length === 0 ? [] : await backEnd.remove(expired.map(objectName)));
  for (const id of expired) marks.delete(id);
  await ledger.marks.write(shard, marks); // If a crash undoes this, the next sweep finds rows of nothing.
  await ledger.purging.end();
  return { gone: expired.filter((id) => !kept.has(objectName(id))), kept: kept.size };
}

/** Objects that are dead since `latest` at the latest. */
function expiredOf(marks: ShardMarks, latest: number): ObjectId[] {
  return [...marks].filter(([, { dead }]) => dead !== undefined && dead <= latest).map(([id]) => id);
}

async function uncount(
  ledger: Ledger,
  { objects, bytes }: { objects: number; bytes: number },
): Promise<void> {
  const state = await ledger.readState();
  if (state.counted === null || objects === 0) return;
  const left = {
    objects: Math.max(0, state.counted.objects - objects),
    bytes: Math.max(0, state.counted.bytes - bytes),
  };
  await ledger.writeState({ ...state, counted: left });
}

/** Removes roots that were superseded for the grace period, and answers how many. Of unknown age: since the ledger began. */
export async function removeOldRoots(
  { backEnd, ledger, roots, grace }: SweepOptions,
  age: number,
  removed: Removed,
): Promise<number> {
  const numbers = (await roots.numbers()).slice(0, -1);
  const old: number[] = [];
  let first = numbers[0] ?? 0;
  for (const number of numbers) {
    const superseded = (await ledger.rootAges.read(number + 1))?.at ?? 0;
    if (superseded > age - grace) break;
    old.push(number);
    first = number + 1;
  }
  const kept = old.length === 0 ? [] : await backEnd.remove(old.map(rootName));
  removed.kept += kept.length;
  const state = await ledger.readState();
  if (state.firstRoot !== first) await ledger.writeState({ ...state, firstRoot: first });
  return old.length - kept.length;
}
