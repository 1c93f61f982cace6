/**
 * Writes a tree beside the one that it comes after: a leaf of which nothing changed is taken over as it is stored, and
 * neither encoded nor hashed again. A leaf is a function of its records alone, so the tree is the same either way.
 */

import { StoredEntry } from './tree.ts';
import type { Leaf, TreeEntry, TreeWriter } from './tree.ts';

export class LeafReuse {
  readonly #tree: TreeWriter;
  /** Leaves of whole entries, by the place of their first. */
  readonly #whole: ReadonlyMap<number, Leaf>;
  /** Unchanged entries that one of them starts with; whether the others are as well is not known yet. */
  #held: StoredEntry[] = [];

  /** `base`: the leaves of the tree that {@link StoredEntry} come from. */
  constructor(tree: TreeWriter, base: readonly Leaf[]) {
    this.#tree = tree;
    this.#whole = wholeLeaves(base);
  }

  /** Adds the next entry, unchanged if it is a {@link StoredEntry}. After a call that returned a promise, wait for it before the next. */
  add(item: TreeEntry): Promise<void> | void {
    if (item instanceof StoredEntry) {
      const leaf = this.#leafWith(item);
      if (leaf !== undefined) {
        this.#hold(leaf, item);
        return;
      }
    }
    if (this.#held.length > 0) return this.release().then(() => this.add(item));
    return this.#tree.add(item.entry, item.chunks);
  }

  /** Brings into the tree what is held; call it before anything is done with the tree. */
  async release(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    for (const { entry, chunks } of held) {
      const added = this.#tree.add(entry, chunks);
      if (added !== undefined) await added;
    }
  }

  /** The leaf that `item` starts, or goes on with after what is held. */
  #leafWith({ at }: StoredEntry): Leaf | undefined {
    const [first] = this.#held;
    if (first === undefined) return this.#tree.isAtLeafStart ? this.#whole.get(at) : undefined;
    return at === first.at + this.#held.length ? this.#whole.get(first.at) : undefined;
  }

  #hold(leaf: Leaf, item: StoredEntry): void {
    this.#held.push(item);
    if (this.#held.length < leaf.entries) return;
    this.#tree.addLeaf(leaf, this.#held);
    this.#held = [];
  }
}

/** Leaves that start with an entry and hold all chunks of their last one. The tree's last may end for no other reason than that it is. */
function wholeLeaves(leaves: readonly Leaf[]): Map<number, Leaf> {
  const whole = new Map<number, Leaf>();
  let at = 0;
  for (const [index, leaf] of leaves.entries()) {
    if (leaf.skip === 0 && leaves[index + 1]?.skip === 0) whole.set(at, leaf);
    at += leaf.entries;
  }
  return whole;
}
