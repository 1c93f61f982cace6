/** The versions of one path in many snapshots of a volume. */

import type { ByteString } from '../shared/bytes.ts';
import type { Field } from '../shared/protocol/browse.ts';
import type { BlobSource } from './blobs.ts';
import { differingFields } from './compare-entries.ts';
import type { State } from './compare-entries.ts';
import type { Entry } from './entry.ts';
import { leavesOf, readStates } from './states.ts';
import { decodeTop } from './tree.ts';
import type { Leaf } from './tree.ts';

/** A run of snapshots in which the path was the same, or absent. */
export interface PathVersion {
  /** Indexes of the newest and the oldest snapshot of the run. */
  readonly newest: number;
  readonly oldest: number;
  readonly entry: Entry | undefined;
  /** How it differs from the run before it in time; empty if there is none, or the path was absent in either. */
  readonly changed: readonly ('type' | Field)[];
}

/**
 * The versions of `path` in the trees `tops`, newest first, without a gap. What two snapshots share is read once. Of
 * hard links only whether there are any is known. Throws `store-damaged`.
 */
export async function* readHistory(
  tops: readonly number[],
  path: ByteString,
  blobs: BlobSource,
): AsyncGenerator<PathVersion> {
  let run: { newest: number; oldest: number; state: State | undefined } | undefined;
  for await (const [index, state] of statesOf(tops, path, blobs)) {
    if (run === undefined) {
      run = { newest: index, oldest: index, state };
      continue;
    }
    const changed = changes(state, run.state);
    if (changed === undefined) {
      run.oldest = index;
      continue;
    }
    yield { newest: run.newest, oldest: run.oldest, entry: run.state?.entry, changed };
    run = { newest: index, oldest: index, state };
  }
  if (run !== undefined)
    yield { newest: run.newest, oldest: run.oldest, entry: run.state?.entry, changed: [] };
}

/** Undefined if `after` is the same version as `before`. */
function changes(before: State | undefined, after: State | undefined): PathVersion['changed'] | undefined {
  if (before === after) return undefined;
  if (before === undefined || after === undefined) return [];
  if (before.entry.type !== after.entry.type) return ['type'];
  const fields = differingFields(before, after);
  return fields.length === 0 ? undefined : fields;
}

/** The state of `path` in each tree, with the tree's index; the same object where nothing of it was read again. */
async function* statesOf(
  tops: readonly number[],
  path: ByteString,
  blobs: BlobSource,
): AsyncGenerator<readonly [number, State | undefined]> {
  const states = new Map<string, State | undefined>();
  let state: State | undefined;
  for (const [index, number] of tops.entries()) {
    if (index === 0 || number !== tops[index - 1]) {
      const top = blobs.get(number);
      const next = tops[index + 1];
      if (next !== undefined && next !== number) blobs.prefetch([next]);
      const leaves = leavesOf(decodeTop(await top), path);
      const key = leaves.map((leaf) => leaf.number).join(' ');
      state = states.has(key) ? states.get(key) : await readState(leaves, path, blobs);
      states.set(key, state);
    }
    yield [index, state];
  }
}

async function readState(
  leaves: readonly Leaf[],
  path: ByteString,
  blobs: BlobSource,
): Promise<State | undefined> {
  for await (const state of readStates(leaves, blobs)) if (state.path === path) return state;
  return undefined;
}
