/**
 * What of snapshots needs certain blobs: which files have content in them, and which parts of the lists of files they are. For a
 * damage report: what is told of a tree cannot be extracted without these blobs, and all else of it can.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { NumberSet } from '../shared/numbers.ts';
import type { Need } from '../shared/protocol/browse.ts';
import type { BlobSource } from './blobs.ts';
import { shownPath } from './restore-report.ts';
import { comparePaths, decodeTop, isWithin, parentOf, readChosenLeaves } from './tree.ts';
import type { Leaf, Top, TreeRecord } from './tree.ts';

/** What needs `wanted` in each of the trees `tops`, none of which is in it. Never asks for a blob of `wanted`. Throws `store-damaged`. */
export async function* findNeeds(
  tops: readonly number[],
  wanted: NumberSet,
  blobs: BlobSource,
): AsyncGenerator<Need> {
  // Most leaves are in many trees. Those that were read and need nothing are not read again.
  const clear = new Set<number>();
  for (const [index, number] of tops.entries()) {
    const top = decodeTop(await blobs.get(number));
    for await (const need of needsOfTree(top, wanted, clear, blobs)) yield { ...need, top: index };
  }
}

/** A row without its tree. */
type TreeNeed<N = Need> = N extends Need ? Omit<N, 'top'> : never;

async function* needsOfTree(
  top: Top,
  wanted: NumberSet,
  clear: Set<number>,
  blobs: BlobSource,
): AsyncGenerator<TreeNeed> {
  const toRead = top.leaves.filter(({ number }) => !clear.has(number) && !wanted.has(number));
  const walk = new Walk();
  let next = 0;
  /** Passes over what is not read, up to index `end`. */
  const passTo = function* (end: number): Generator<TreeNeed> {
    while (next < end) {
      const leaf = top.leaves[next];
      next += 1;
      if (leaf !== undefined && wanted.has(leaf.number)) yield* walk.lost(leaf, top.leaves[next]);
      else yield* walk.clear();
    }
  };
  for await (const { leaf, records } of readChosenLeaves(toRead, blobs)) {
    yield* passTo(top.leaves.indexOf(leaf, next));
    next += 1;
    const before = walk.needs;
    yield* walk.read(leaf, records, wanted);
    if (walk.needs === before) clear.add(leaf.number);
  }
  yield* passTo(top.leaves.length);
  yield* walk.end();
}

/** Leaves that are lost one after the other. */
interface Gap {
  readonly from: Leaf;
  /** The first leaf after them, if there is one. */
  until: Leaf | undefined;
  entries: number;
}

/** Gathers rows: of one file, whose chunks may be in several leaves, and of one gap. */
class Walk {
  /** Chunks in wanted blobs so far. */
  needs = 0;
  #file: { readonly path: ByteString; bytes: number } | undefined;
  #gap: Gap | undefined;
  /** A folder whose entry is lost: nothing in it can be extracted. */
  #within: ByteString | undefined;

  /** A leaf that is lost itself. */
  *lost(leaf: Leaf, after: Leaf | undefined): Generator<TreeNeed> {
    // What goes on in this leaf, or began in it and goes on, is hit though its entry may be elsewhere.
    if (leaf.skip > 0) yield* this.#hit(leaf.firstPath, 0);
    if (leaf.entries > 0) {
      if (this.#gap === undefined) this.#gap = { from: leaf, until: after, entries: 0 };
      this.#gap.until = after;
      this.#gap.entries += leaf.entries;
    }
    if (after !== undefined && after.skip > 0) yield* this.#hit(after.firstPath, 0);
  }

  /** A leaf that is known to need nothing. */
  *clear(): Generator<TreeNeed> {
    yield* this.#endGap();
  }

  *read(leaf: Leaf, records: readonly TreeRecord[], wanted: NumberSet): Generator<TreeNeed> {
    yield* this.#endGap();
    let path = leaf.firstPath;
    for (const record of records) {
      if (record.kind === 'entry') path = record.entry.path;
      else if (wanted.has(record.chunk.place.blob)) {
        this.needs += 1;
        yield* this.#hit(path, record.chunk.length);
      }
    }
  }

  *end(): Generator<TreeNeed> {
    yield* this.#endGap();
    yield* this.#endFile();
  }

  *#hit(path: ByteString, bytes: number): Generator<TreeNeed> {
    if (this.#within !== undefined && isWithin(path, this.#within)) return;
    if (this.#file?.path !== path) {
      yield* this.#endFile();
      this.#file = { path, bytes: 0 };
    }
    this.#file.bytes += bytes;
  }

  *#endFile(): Generator<TreeNeed> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) yield { kind: 'file', path: shownPath(file.path), bytes: file.bytes };
  }

  *#endGap(): Generator<TreeNeed> {
    const gap = this.#gap;
    this.#gap = undefined;
    if (gap === undefined) return;
    const { from, until, entries } = gap;
    const within = until === undefined ? undefined : folderLostWith(from, until.firstPath);
    yield {
      kind: 'list',
      path: shownPath(from.firstPath),
      until: until === undefined ? null : shownPath(until.firstPath),
      within: within === undefined ? null : shownPath(within),
      entries,
    };
    if (within !== undefined) this.#within = within;
  }
}

/** The outermost folder above `until` whose own entry is in the gap from `from` on. */
function folderLostWith(from: Leaf, until: ByteString): ByteString | undefined {
  let lost: ByteString | undefined;
  for (let at = parentOf(until); at !== undefined; at = parentOf(at)) {
    const order = comparePaths(at, from.firstPath);
    if (order < 0) break;
    // The first path of a leaf that begins with chunks is of an entry before it.
    if (order > 0 || from.skip === 0) lost = at;
  }
  return lost;
}
