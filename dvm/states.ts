/** The states that a tree holds: its entries with a mark of their content, without holding the chunks of a huge file. */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { ContentMark, NO_CONTENT } from './compare-entries.ts';
import type { State } from './compare-entries.ts';
import { TYPE } from './entry.ts';
import type { Entry } from './entry.ts';
import { readChosenLeaves } from './tree.ts';
import type { Leaf, Top } from './tree.ts';
import { leafOf } from './tree-search.ts';

/**
 * The states in `leaves`: some of a tree's, in order, in which no file's chunks go on outside of them. Throws
 * `store-damaged`.
 */
export async function* readStates(leaves: readonly Leaf[], blobs: BlobSource): AsyncGenerator<State> {
  let open: { entry: Entry; mark: ContentMark } | undefined;
  for await (const { records } of readChosenLeaves(leaves, blobs)) {
    for (const record of records) {
      if (record.kind === 'chunk') {
        open?.mark.add(record.chunk);
        continue;
      }
      if (open !== undefined) yield stateOf(open.entry, open.mark);
      open = { entry: record.entry, mark: new ContentMark() };
    }
  }
  if (open !== undefined) yield stateOf(open.entry, open.mark);
}

/** `entry` with the mark of its chunks. */
export function stateOf(entry: Entry, mark: ContentMark): State {
  const unread = entry.type === TYPE.file && entry.unreadable;
  return { path: entry.path, entry, content: unread ? NO_CONTENT : mark.finish() };
}

/** The leaves that hold `path`, if the tree has it: one, or more for a file of very many chunks. */
export function leavesOf(top: Top, path: ByteString): readonly Leaf[] {
  const first = leafOf(top, path);
  let end = first + 1;
  while (top.leaves[end]?.firstPath === path && (top.leaves[end]?.skip ?? 0) > 0) end += 1;
  return top.leaves.slice(first, end);
}

/**
 * The leaves of `top` that `other` does not have as well. What one tree shares with the other by hash is the same in
 * both: paths are in order, so nothing else lies between. A leaf stays with those its last file goes on in.
 */
export function leavesNotIn(top: Top, other: Top): { readonly own: Leaf[]; readonly shared: Leaf[] } {
  const theirs = new Set(runsOf(other).map(keyOf));
  const own: Leaf[] = [];
  const shared: Leaf[] = [];
  for (const run of runsOf(top)) (theirs.has(keyOf(run)) ? shared : own).push(...run);
  return { own, shared };
}

/** Leaves, cut before each that starts with an entry. */
function runsOf(top: Top): Leaf[][] {
  const runs: Leaf[][] = [];
  for (const leaf of top.leaves) {
    const last = runs.at(-1);
    if (leaf.skip > 0 && last !== undefined) last.push(leaf);
    else runs.push([leaf]);
  }
  return runs;
}

function keyOf(run: readonly Leaf[]): string {
  return run.map(({ hash }) => Buffer.from(hash).toString('latin1')).join('');
}
