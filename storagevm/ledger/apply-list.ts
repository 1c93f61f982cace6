/**
 * Applies the newest live list of a store, by the rules of docs/retention.md: goes over all shards twice, first to weigh what the
 * list would leave out, then to mark it. Stops after a shard whenever it is told to, and goes on there the next time. Only
 * under the ledger's lock.
 */

import { decodeRoot } from '../../shared/root.ts';
import { SHARDS } from '../back-end.ts';
import { LiveNames } from '../live-names.ts';
import type { LiveShard } from '../live-names.ts';
import { ShardListing } from '../listing.ts';
import type { StoredObject } from '../listing.ts';
import type { LedgerState, Pass } from './ledger.ts';
import { oldest } from './marks.ts';
import type { Mark, ShardMarks } from './marks.ts';
import type { SweepOptions } from './sweep-options.ts';

const HOUR = 3600;
/** Seconds before a list in which an object was put that the list cannot know: sessions are shorter (SESSION_TIMEOUT). */
const FRESH = 7 * 24 * HOUR;
/** Share of the store's bytes that lists may leave out within a day before one waits for the owner's word. */
const MAX_DEAD_SHARE = 0.25;
/** Seconds of that day: the longest step of the store's clock. */
const DAY = 26 * HOUR;
/** Shards done before the state is written again. */
const SHARDS_AT_ONCE = 16;

/** False if it was stopped before the newest list was applied. */
export async function applyNewestList(
  options: SweepOptions,
  age: number,
  stopped: () => boolean,
): Promise<boolean> {
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
      pass = await goOverShard(options, pass, { names, listing }, { at: list.at, age });
      options.progress?.(pass.phase, pass.shards);
      // Looked at after a shard: however little time there is, each call comes further.
      const stops = stopped();
      if (stops || pass.shards % SHARDS_AT_ONCE === 0)
        await ledger.writeState({ ...(await ledger.readState()), pass });
      if (stops) return false;
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
