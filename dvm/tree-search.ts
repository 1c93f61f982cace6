/**
 * Finds where in a tree a path is, by binary search in the top: reading one directory of a huge tree takes a
 * handful of leaves.
 */

import type { ByteString } from '../shared/bytes.ts';
import { comparePaths, isWithin } from './leaf.ts';
import type { Top } from './tree-top.ts';

/** Index of the leaf that holds the entry of `path`, if the tree has it. */
export function leafOf(top: Top, path: ByteString): number {
  // The last leaf that starts at or before the entry itself; a leaf that starts within its chunks comes after.
  return lastIndex(top, ({ firstPath, skip }) => {
    const order = comparePaths(firstPath, path);
    return order < 0 || (order === 0 && skip === 0);
  });
}

/** Index of the last leaf with records of `path` or below it, if the tree has it. */
export function lastLeafWithin(top: Top, path: ByteString): number {
  return lastIndex(top, ({ firstPath }) => comparePaths(firstPath, path) <= 0 || isWithin(firstPath, path));
}

/** The last index for which `holds`, which is true up to some leaf and false from there; 0 if it never is. */
function lastIndex(top: Top, holds: (leaf: Top['leaves'][number]) => boolean): number {
  let low = 0;
  let high = top.leaves.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    const leaf = top.leaves[middle];
    if (leaf !== undefined && holds(leaf)) low = middle;
    else high = middle;
  }
  return low;
}
