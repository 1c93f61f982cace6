/**
 * Picks chosen paths, with all below them and the directories above them, out of a tree. Reads only the leaves
 * that hold some of it; what comes out is a tree in itself and is checked like one.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { comparePaths, isWithin, parentOf, readLeaves } from './tree.ts';
import type { Top, TreeRecord } from './tree.ts';
import { RecordChecker } from './tree-reader.ts';
import { lastLeafWithin, leafOf } from './tree-search.ts';

export class Selection {
  readonly #top: Top;
  /** In path order, none within another. */
  readonly #roots: readonly ByteString[];
  readonly #ancestors: ReadonlySet<ByteString>;
  readonly #wanted: readonly ByteString[];
  readonly #found = new Set<ByteString>();

  constructor(top: Top, paths: readonly ByteString[]) {
    this.#top = top;
    this.#wanted = paths;
    const roots: ByteString[] = [];
    for (const path of [...new Set(paths)].sort(comparePaths)) {
      const last = roots.at(-1);
      if (last === undefined || !isWithin(path, last)) roots.push(path);
    }
    this.#roots = roots;
    const ancestors = new Set<ByteString>();
    for (const root of roots) {
      for (let at = parentOf(root); at !== undefined && !ancestors.has(at); at = parentOf(at))
        ancestors.add(at);
    }
    this.#ancestors = ancestors;
  }

  /** Indexes of the chosen paths that no record so far was of: after records(), those that the tree does not hold. */
  missing(): number[] {
    return this.#wanted.flatMap((path, index) => (this.#found.has(path) ? [] : [index]));
  }

  /** The chosen records, an array a leaf. Throws `store-damaged`. */
  async *records(blobs: BlobSource): AsyncGenerator<readonly TreeRecord[]> {
    const checker = new RecordChecker();
    const wanted = new Set(this.#wanted);
    /** Directories above what may still come: without it they are not wanted either. */
    let pending: TreeRecord[] = [];
    let rootIndex = 0;
    let chosen = false;
    for (const [from, to] of this.#leafRuns()) {
      for await (const { records } of readLeaves(this.#top, blobs, from, to)) {
        const picked: TreeRecord[] = [];
        for (const record of records) {
          if (record.kind === 'entry') {
            const { path } = record.entry;
            rootIndex = this.#rootFor(path, rootIndex);
            const root = this.#roots[rootIndex];
            chosen = root !== undefined && isWithin(path, root);
            if (chosen || this.#ancestors.has(path)) {
              pending = pending.filter((above) => above.kind === 'entry' && isWithin(path, above.entry.path));
            }
            if (chosen) picked.push(...pending.splice(0));
            else if (this.#ancestors.has(path)) pending.push(record);
            if (wanted.has(path)) this.#found.add(path);
          }
          if (chosen) picked.push(record);
        }
        for (const record of picked) checker.check(record);
        yield picked;
      }
    }
    checker.end();
  }

  /** Index, from `index` on, of the root that `path` is within, or else of the next one in order. */
  #rootFor(path: ByteString, index: number): number {
    for (let at = index; at < this.#roots.length; at++) {
      const root = this.#roots[at];
      if (root !== undefined && (comparePaths(root, path) >= 0 || isWithin(path, root))) return at;
    }
    return this.#roots.length;
  }

  /** Runs [from, to) of leaves that hold chosen entries or directories above them, in order. */
  #leafRuns(): [number, number][] {
    const spans = [...this.#ancestors].map((path): [number, number] => {
      const leaf = leafOf(this.#top, path);
      return [leaf, leaf + 1];
    });
    for (const root of this.#roots)
      spans.push([leafOf(this.#top, root), lastLeafWithin(this.#top, root) + 1]);
    spans.sort((a, b) => a[0] - b[0]);
    const runs: [number, number][] = [];
    for (const [from, to] of spans) {
      const last = runs.at(-1);
      if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
      else runs.push([from, to]);
    }
    return runs;
  }
}
