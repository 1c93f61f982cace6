/**
 * Two snapshots' trees side by side. Leaves that both have are not read: a day's changes in a huge volume are found by
 * reading a few leaves.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { LinkLeaders, differingFields, sameLinks } from './compare-entries.ts';
import type { State } from './compare-entries.ts';
import { differing } from './comparison.ts';
import type { Differing, LeftOut } from './comparison.ts';
import { joinByPath } from './join.ts';
import { leavesNotIn, readStates } from './states.ts';
import { comparePaths } from './tree.ts';
import type { Leaf, Top } from './tree.ts';

/** Every path in which the trees differ, in path order. Throws `store-damaged`. */
export async function* compareTrees(
  before: Top,
  after: Top,
  blobs: BlobSource,
  leftOut: LeftOut,
): AsyncGenerator<Differing> {
  const { own, shared } = leavesNotIn(before, after);
  const links = new LinkComparison(shared, blobs);
  const pairs = joinByPath(readStates(own, blobs), readStates(leavesNotIn(after, before).own, blobs));
  for await (const [a, b] of pairs) {
    const path = (a ?? b)?.path ?? ('' as ByteString);
    if (leftOut.covers(path, a?.entry.type, b?.entry.type)) continue;
    const fields =
      a?.entry.type === b?.entry.type && a !== undefined && b !== undefined ? differingFields(a, b) : [];
    if ((await links.differ(a, b)) && !fields.includes('links')) fields.push('links');
    const found = differing(path, a?.entry, b?.entry, fields);
    if (found !== undefined) yield found;
  }
}

/** Whether entries are in the same hard-link groups, of which some names are in leaves that nobody read. */
class LinkComparison {
  readonly #before = new LinkLeaders();
  readonly #after = new LinkLeaders();
  readonly #shared: readonly Leaf[];
  readonly #blobs: BlobSource;
  #sharedLeaders: LinkLeaders | undefined;

  constructor(shared: readonly Leaf[], blobs: BlobSource) {
    this.#shared = shared;
    this.#blobs = blobs;
  }

  /** Takes what is at one path on both sides, in path order. True if it is linked on both, to other names. */
  async differ(a: State | undefined, b: State | undefined): Promise<boolean> {
    const before = a && this.#before.leaderOf(a.entry);
    const after = b && this.#after.leaderOf(b.entry);
    if (a?.entry.linked !== true || b?.entry.linked !== true) return false;
    if (sameLinks(a.entry, b.entry) || (before === after && a.entry.inode === b.entry.inode)) return false;
    // The first name of a group may be in a leaf that both have.
    const shared = (this.#sharedLeaders ??= await this.#readShared());
    return firstOf(before, shared.get(a.entry.inode)) !== firstOf(after, shared.get(b.entry.inode));
  }

  async #readShared(): Promise<LinkLeaders> {
    const leaders = new LinkLeaders();
    for await (const { entry } of readStates(this.#shared, this.#blobs)) leaders.leaderOf(entry);
    return leaders;
  }
}

function firstOf(a: ByteString | undefined, b: ByteString | undefined): ByteString | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return comparePaths(a, b) < 0 ? a : b;
}
