/**
 * Deletion (R42), by the rules of docs/retention.md. A sweep takes in what was put, applies the newest live list, removes what
 * was dead for the grace period, and roots that were superseded as long. It stops between two shards whenever it is told to,
 * and goes on there the next time. It holds one shard in memory. Only under the ledger's lock.
 */

import { isDeepStrictEqual } from 'node:util';
import { decodeRoot } from '../../shared/root.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { SHARDS, objectName, rootName, shardOf } from '../back-end.ts';
import type { BackEnd } from '../back-end.ts';
import { LiveNames } from '../live-names.ts';
import type { LiveShard } from '../live-names.ts';
import { ShardListing, listShard } from '../listing.ts';
import type { StoredObject } from '../listing.ts';
import type { Roots } from '../roots.ts';
import type { Ledger, LedgerState, Pass } from './ledger.ts';
import type { Mark, ShardMarks } from './marks.ts';
import { PURGED_AT_ONCE } from './purging.ts';
import type { PutRow } from './puts.ts';

const HOUR = 3600;
/** Seconds before a list in which an object was put that the list cannot know: sessions are shorter (SESSION_TIMEOUT). */
export const FRESH = 7 * 24 * HOUR;
/** Share of the store's bytes that lists may leave out within a day before one waits for the owner's word. */
const MAX_DEAD_SHARE = 0.25;
/** Seconds of that day: the longest step of the store's clock. */
const DAY = 26 * HOUR;
/** Put rows that are held before they are taken into the marks. */
const ROWS_HELD = 256 * 1024;
/** Shards done before the state is written again. */
const SHARDS_AT_ONCE = 16;

export interface SweepOptions {
  readonly backEnd: BackEnd;
  readonly ledger: Ledger;
  readonly roots: Roots;
  /** Seconds. */
  readonly grace: number;
}

/** What a sweep did. */
export interface Swept {
  readonly removedObjects: number;
  readonly removedBytes: number;
  readonly removedRoots: number;
  /** Files that should be gone and are kept by a lock against deletion: they count as alive until a later list leaves them out. */
  readonly kept: number;
  /** False if it was stopped. */
  readonly finished: boolean;
}

/** True if a sweep has something to do: what a call looks at before it begins one on the side. Cheap. */
export async function isDue({ ledger, roots, grace }: SweepOptions): Promise<boolean> {
  const state = await ledger.readState();
  const latest = (await ledger.clock.age()) - grace;
  if (state.pass !== null || (state.oldestDead !== null && state.oldestDead <= latest)) return true;
  const newest = (await roots.newest())?.number ?? 0;
  if (((await ledger.rootAges.newestWithList(newest)) ?? 0) > state.applied) return true;
  const second = await ledger.rootAges.read(state.firstRoot + 1);
  if (state.firstRoot < newest && second !== undefined && second.at <= latest) return true;
  return ledger.readPuts(state.offsets).isFull();
}

/** Sweeps until it is done, or `stopped` answers true. */
export async function sweep(options: SweepOptions, stopped: () => boolean): Promise<Swept> {
  const { ledger } = options;
  await ledger.purging.end(); // Of a sweep that died.
  const age = await ledger.clock.advance();
  await takeInPuts(ledger, age);
  const removed: Removed = { objects: 0, bytes: 0, kept: 0 };
  const done =
    (await applyNewestList(options, age, stopped)) && (await purge(options, age, removed, stopped));
  const removedRoots = done ? await removeOldRoots(options, age, removed) : 0;
  const { objects, bytes, kept } = removed;
  return { removedObjects: objects, removedBytes: bytes, removedRoots, kept, finished: done };
}

/** What a sweep did so far. */
interface Removed {
  objects: number;
  bytes: number;
  /** Of objects and roots. */
  kept: number;
}

// ---- What was put ------------------------------------------------------------------------------------

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

// ---- The live list ---------------------------------------------------------------------------------------

/** False if it was stopped before the newest list was applied. */
async function applyNewestList(options: SweepOptions, age: number, stopped: () => boolean): Promise<boolean> {
  const { ledger, roots } = options;
  const list = await ledger.rootAges.newestWithList((await roots.newest())?.number ?? 0);
  const state = await ledger.readState();
  if (list === undefined || (state.pass === null && list <= state.applied)) return true;
  const pass = state.pass?.root === list ? state.pass : newPass(list);
  await ledger.writeState({ ...state, pass });
  return goOver(options, pass, age, stopped);
}

export function newPass(root: number): Pass {
  return { root, phase: 'weigh', shards: 0, deadBytes: 0, objects: 0, bytes: 0, oldestDead: null };
}

/** Weighs all shards, then marks them. False if it was stopped. */
async function goOver(
  options: SweepOptions,
  start: Pass,
  age: number,
  stopped: () => boolean,
): Promise<boolean> {
  const { ledger } = options;
  const list = await openList(options, start.root);
  if (list === undefined) {
    // The root is gone or was never published: its list says nothing. The next one will.
    await ledger.writeState({ ...(await ledger.readState()), pass: null, applied: start.root });
    return true;
  }
  let pass: Pass | null = start;
  while (pass !== null) {
    const [names, listing] = [list.names(), new ShardListing(options.backEnd)];
    while (pass.shards < SHARDS.length) {
      if (stopped()) return false;
      pass = await goOverShard(options, pass, { names, listing }, { at: list.at, age });
      if (pass.shards % SHARDS_AT_ONCE === 0)
        await ledger.writeState({ ...(await ledger.readState()), pass });
    }
    const state = await ledger.readState();
    const next: LedgerState = pass.phase === 'weigh' ? weighed(state, pass) : finished(state, pass);
    await ledger.writeState(next);
    pass = next.pass;
  }
  return true;
}

async function goOverShard(
  { ledger }: SweepOptions,
  pass: Pass,
  { names, listing }: { readonly names: LiveNames; readonly listing: ShardListing },
  moment: Moment,
): Promise<Pass> {
  const shard = SHARDS[pass.shards] ?? '';
  const live = await names.shard(shard);
  const listed = await listing.shard(shard);
  const marks = await ledger.marks.read(shard);
  const shards = pass.shards + 1;
  if (pass.phase === 'weigh')
    return {
      ...pass,
      shards,
      deadBytes: pass.deadBytes + deadBytes(listed, live, marks, moment),
      objects: pass.objects + listed.length,
      bytes: pass.bytes + listed.reduce((sum, { size }) => sum + size, 0),
    };
  const waits = (await ledger.readState()).waiting?.root === pass.root;
  const after = applied(listed, live, marks, moment, !waits);
  await ledger.marks.write(shard, after);
  return { ...pass, shards, oldestDead: oldest(pass.oldestDead, after) };
}

/** The earliest store-age since which an object is dead, of `before` and those of a shard. */
function oldest(before: number | null, marks: ShardMarks): number | null {
  let earliest = before;
  for (const { dead } of marks.values())
    if (dead !== undefined && dead < (earliest ?? Infinity)) earliest = dead;
  return earliest;
}

/** The list of root `number`, and when it was published. */
async function openList({ backEnd, ledger, roots }: SweepOptions, number: number) {
  const [root, published] = [await roots.read(number), await ledger.rootAges.read(number)];
  if (root === undefined || published === undefined) return undefined;
  const { live, catalog } = decodeRoot(root.bytes).body;
  if (live === null) return undefined;
  return { at: published.at, names: () => new LiveNames(backEnd, live, [catalog]) };
}

/** After all shards were weighed: does the list wait for the owner? */
function weighed(state: LedgerState, pass: Pass): LedgerState {
  const { root, deadBytes, bytes, objects } = pass;
  const waits = deadBytes > MAX_DEAD_SHARE * bytes && state.accepted < root;
  return {
    ...state,
    pass: { ...pass, phase: 'mark', shards: 0, oldestDead: null },
    waiting: waits ? { root, deadBytes, bytes } : null,
    counted: { objects, bytes },
  };
}

function finished(state: LedgerState, { root, oldestDead }: Pass): LedgerState {
  return { ...state, applied: root, oldestDead, pass: null };
}

/** When a list was published, and now: store-ages in seconds. */
interface Moment {
  readonly at: number;
  readonly age: number;
}

/** True if a list of age `at` may say that an object is dead. Without a row it was put before the ledger knew it, or long ago. */
function mayDie(mark: Mark | undefined, at: number): boolean {
  return (mark?.put ?? 0) < at - FRESH;
}

/** Bytes that the list would newly leave out, and those that lists of this day did. */
function deadBytes(
  listed: readonly StoredObject[],
  live: LiveShard,
  marks: ShardMarks,
  { at, age }: Moment,
): number {
  let bytes = 0;
  for (const { id, size } of listed) {
    const mark = marks.get(id);
    if (live.has(id)) continue;
    const isNew = mark?.dead === undefined ? mayDie(mark, at) : mark.dead > age - DAY;
    if (isNew) bytes += size;
  }
  return bytes;
}

/** The marks of a shard under a list; without `marking` it only un-marks. */
function applied(
  listed: readonly StoredObject[],
  live: LiveShard,
  marks: ShardMarks,
  { at, age }: Moment,
  marking: boolean,
): ShardMarks {
  const present = new Set(listed.map(({ id }) => id));
  const result: ShardMarks = new Map();
  for (const [id, { put, dead }] of marks) {
    const fresh = put !== undefined && put >= at - FRESH ? put : undefined;
    if (!present.has(id)) {
      if (fresh !== undefined) result.set(id, { put: fresh, dead: undefined }); // Being put at this instant, or failed.
    } else result.set(id, { put: fresh, dead: live.has(id) ? undefined : dead });
  }
  if (!marking) return result;
  for (const { id } of listed)
    if (!live.has(id) && result.get(id)?.dead === undefined && mayDie(marks.get(id), at))
      result.set(id, { put: undefined, dead: age });
  return result;
}

// ---- The end ---------------------------------------------------------------------------------------------

/** Removes what was dead for the grace period; false if it was stopped. */
async function purge(
  options: SweepOptions,
  age: number,
  removed: Removed,
  stopped: () => boolean,
): Promise<boolean> {
  const { ledger, grace } = options;
  const { oldestDead } = await ledger.readState();
  if (oldestDead === null || oldestDead > age - grace) return true;
  let left: number | null = null;
  for (const shard of SHARDS) {
    if (!(await purgeShard(options, shard, age, removed, stopped))) return false;
    left = oldest(left, await ledger.marks.read(shard));
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
    if (stopped()) return false;
    const { gone, kept } = await purgeSome(options, shard, expired.slice(at, at + PURGED_AT_ONCE), age);
    const bytes = gone.reduce((sum, id) => sum + (sizes.get(id) ?? 0), 0);
    await uncount(ledger, { objects: gone.length, bytes });
    removed.objects += gone.length;
    removed.bytes += bytes;
    removed.kept += kept;
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
async function removeOldRoots(
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
