/**
 * Deletion (R42), by the rules of docs/retention.md. A sweep takes in what was put, applies the newest live list, removes what
 * was dead for the grace period, and roots that were superseded as long. It holds one shard in memory. Only under the ledger's
 * lock.
 */

import { applyNewestList } from './apply-list.ts';
import { purge, removeOldRoots } from './purge.ts';
import type { Removed } from './purge.ts';
import type { SweepOptions } from './sweep-options.ts';
import { takeInPuts } from './take-in.ts';

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
