/**
 * Writes a tree beside the one that it comes after: a leaf of which nothing changed is taken over as it is stored, and
 * neither encoded nor hashed again. A leaf is a function of its records alone, so the tree is the same either way.
 */

import { StoredEntry } from './tree.ts';
import type { Leaf, TreeEntry, TreeWriter } from './tree.ts';

/** Where a leaf starts: with which record of which entry of its tree. */
interface LeafStart {
  readonly at: number;
  /** 0 for the entry itself, else the number of one of its chunks, from 1. */
  readonly record: number;
}

/** A leaf that another one follows: the last of a tree ends where it does for no other reason than that it is. */
interface FollowedLeaf {
  readonly leaf: Leaf;
  readonly next: LeafStart;
}

const NO_LEAVES: ReadonlyMap<string, FollowedLeaf> = new Map();

export class LeafReuse {
  readonly #tree: TreeWriter;
  readonly #leaves: ReadonlyMap<string, FollowedLeaf>;
  /** The leaf that unchanged records are the start of; whether the others are as well is not known yet. */
  #leaf: FollowedLeaf | undefined;
  /** Entries that have records in it, none if there is no such leaf. */
  #held: StoredEntry[] = [];
  /** Records of the first of them that are in the tree. */
  #written = 0;

  /** `base`: the leaves of the tree that {@link StoredEntry} come from. */
  constructor(tree: TreeWriter, base: readonly Leaf[]) {
    this.#tree = tree;
    this.#leaves = followedLeaves(base);
  }

  /** Adds the next entry, unchanged if it is a {@link StoredEntry}. After a call that returned a promise, wait for it before the next. */
  add(item: TreeEntry): Promise<void> | void {
    const last = this.#held.at(-1);
    const isStored = item instanceof StoredEntry;
    if (last === undefined)
      return isStored ? this.#addFrom(item, 0) : this.#tree.add(item.entry, item.chunks);
    if (!isStored || item.at !== last.at + 1) return this.release().then(() => this.add(item));
    this.#held.push(item);
    const next = this.#takeOver();
    if (next !== undefined) return this.#addFrom(item, next);
  }

  /** Brings into the tree what is held; call it before anything is done with the tree. */
  async release(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    for (const [i, item] of held.entries()) {
      const added = this.#addFrom(item, i === 0 ? this.#written : 0, NO_LEAVES);
      if (added !== undefined) await added;
    }
  }

  /** Adds the records of an entry, from one on; but holds those that one of `leaves` may take over. */
  #addFrom(item: StoredEntry, from: number, leaves = this.#leaves): Promise<void> | void {
    let record = from;
    while (record <= item.chunks.length) {
      const leaf = this.#tree.isAtLeafStart ? leaves.get(keyOf({ at: item.at, record })) : undefined;
      if (leaf === undefined) {
        const added = this.#addRecord(item, record);
        record += 1;
        if (added !== undefined) return added.then(() => this.#addFrom(item, record, leaves));
      } else {
        this.#leaf = leaf;
        this.#held = [item];
        this.#written = record;
        const next = this.#takeOver();
        if (next === undefined) return;
        record = next;
      }
    }
  }

  #addRecord({ entry, chunks }: StoredEntry, record: number): Promise<void> | void {
    const chunk = chunks[record - 1];
    return chunk === undefined ? this.#tree.beginEntry(entry, chunks.length) : this.#tree.addChunk(chunk);
  }

  /** Takes the leaf over if all of it is held. Answers which record of the last entry comes after it, if one does. */
  #takeOver(): number | undefined {
    const last = this.#held.at(-1);
    if (this.#leaf === undefined || last === undefined) return undefined;
    const { leaf, next } = this.#leaf;
    const isSplit = next.record > 0;
    if (last.at < (isSplit ? next.at : next.at - 1)) return undefined;
    const entries = this.#written > 0 ? this.#held.slice(1) : this.#held;
    this.#tree.addLeaf(leaf, entries, isSplit ? 1 + last.chunks.length - next.record : 0);
    this.#held = [];
    return isSplit ? next.record : undefined;
  }
}

/** The leaves that another one follows, by where they start. */
function followedLeaves(leaves: readonly Leaf[]): Map<string, FollowedLeaf> {
  const followed = new Map<string, FollowedLeaf>();
  let before: { readonly leaf: Leaf; readonly start: LeafStart } | undefined;
  let entries = 0;
  for (const leaf of leaves) {
    const start = { at: leaf.skip > 0 ? entries - 1 : entries, record: leaf.skip };
    if (before !== undefined) followed.set(keyOf(before.start), { leaf: before.leaf, next: start });
    before = { leaf, start };
    entries += leaf.entries;
  }
  return followed;
}

const keyOf = ({ at, record }: LeafStart) => `${at} ${record}`;
