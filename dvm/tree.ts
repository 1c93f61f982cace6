/**
 * The tree of a snapshot (docs/format.md, section 8): all its entries in path order, in leaves under a top.
 */

export { comparePaths, isWithin, nameOf, parentOf } from './leaf.ts';
export type { TreeRecord } from './leaf.ts';
export { decodeLeaf } from './leaf-decoder.ts';
export { decodeTop, encodeTop } from './tree-top.ts';
export type { Leaf, Top } from './tree-top.ts';
export {
  StoredEntry,
  readChosenLeaves,
  readEntries,
  readLeaves,
  readRecords,
  readTree,
} from './tree-reader.ts';
export type { TreeEntry } from './tree-reader.ts';
export { TreeWriter } from './tree-writer.ts';
export type { EncodedLeaf, TreeWriterOptions } from './tree-writer.ts';
