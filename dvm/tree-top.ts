/**
 * The top of a tree (docs/format.md, section 8.2): which leaf starts at which path.
 */

import { ByteReader, byteString, bytesOf, concat } from '../shared/bytes.ts';
import type { ByteString } from '../shared/bytes.ts';
import { MAX_BLOB_NUMBER, MAX_PATH } from '../shared/limits.ts';
import { comparePaths, damagedTree, namesAreValid, sharedPrefix } from './leaf.ts';
import { bounded, zigzag } from './leaf-decoder.ts';
import { ByteWriter } from './leaf-encoder.ts';
import { unwrapTreeBlob, wrapTreeBlob } from './tree-blob.ts';

/** One leaf of a tree, as the top describes it. */
export interface Leaf {
  /** Path of the first record: of the entry itself, or of the file that a leading chunk belongs to. */
  readonly firstPath: ByteString;
  /** Records of `firstPath` in earlier leaves, its entry and chunks; 0 if the leaf starts with the entry. */
  readonly skip: number;
  /** Entry records in the leaf. */
  readonly entries: number;
  /** Blob number. */
  readonly number: number;
  /** SHA-256 of the leaf's raw bytes. */
  readonly hash: Uint8Array;
}

export interface Top {
  readonly totalEntries: number;
  /** Sum of the sizes of regular files. */
  readonly totalBytes: number;
  /** At least one; the first starts with the root entry. */
  readonly leaves: readonly Leaf[];
}

/** Smallest encoding of a leaf: five varints and a hash. */
const MIN_LEAF_SIZE = 37;

/** Decodes an untrusted top blob. Throws `store-damaged`. */
export function decodeTop(untrustedBlob: Uint8Array): Top {
  return decodeRawTop(unwrapTreeBlob(untrustedBlob));
}

/** Decodes a top's raw bytes. Throws `store-damaged`. */
export function decodeRawTop(untrustedRaw: Uint8Array): Top {
  const reader = new ByteReader(untrustedRaw);
  const totalEntries = reader.varint();
  const totalBytes = reader.varint();
  const count = bounded(reader.varint(), reader.remaining / MIN_LEAF_SIZE, 'a number of leaves');
  const leaves: Leaf[] = [];
  let before: Leaf | undefined;
  let entries = 0;
  for (let i = 0; i < count; i++) {
    before = readLeaf(reader, before);
    entries += before.entries;
    leaves.push(before);
  }
  if (before === undefined) throw damagedTree('the top has no leaf');
  if (!reader.atEnd) throw damagedTree('bytes follow the top');
  if (entries !== totalEntries) throw damagedTree('the leaves’ entries do not add up');
  return { totalEntries, totalBytes, leaves };
}

function readLeaf(reader: ByteReader, before: Leaf | undefined): Leaf {
  const pathBefore = before?.firstPath ?? ('' as ByteString);
  const shared = bounded(reader.varint(), pathBefore.length, 'a shared prefix');
  const suffix = reader.take(bounded(reader.varint(), MAX_PATH - shared, 'a path'));
  const path = concat([bytesOf(pathBefore).subarray(0, shared), suffix]);
  if (!namesAreValid(path, path.length, 0)) throw damagedTree('a path has an impossible name in it');
  const firstPath = byteString(path);
  if (sharedPrefix(pathBefore, firstPath) !== shared) throw damagedTree('a path is not in canonical form');
  const skip = reader.varint();
  const entries = reader.varint();
  const number = (before?.number ?? 0) + zigzag(reader);
  if (number < 0 || number > MAX_BLOB_NUMBER) throw damagedTree('a leaf has an impossible number');
  if (skip === 0 && entries === 0) throw damagedTree('a leaf is empty');
  if (before === undefined) {
    if (firstPath !== '' || skip !== 0) throw damagedTree('the first leaf does not start at the root');
  } else {
    const order = comparePaths(before.firstPath, firstPath);
    if (order > 0 || (order === 0 && skip <= before.skip)) throw damagedTree('leaves are out of order');
  }
  return { firstPath, skip, entries, number, hash: new Uint8Array(reader.take(32)) };
}

/** The top as a tree blob. `compress` false keeps it raw (R08). Throws `limit` if there are too many leaves for a blob. */
export function encodeTop(top: Top, compress = true): Promise<Uint8Array> {
  return wrapTreeBlob(encodeRawTop(top), compress);
}

export function encodeRawTop(top: Top): Uint8Array {
  const out = new ByteWriter();
  out.varint(top.totalEntries);
  out.varint(top.totalBytes);
  out.varint(top.leaves.length);
  let path = '' as ByteString;
  let number = 0;
  for (const leaf of top.leaves) {
    const shared = sharedPrefix(path, leaf.firstPath);
    out.varint(shared);
    out.text(leaf.firstPath, shared);
    out.varint(leaf.skip);
    out.varint(leaf.entries);
    out.zigzag(leaf.number - number);
    out.bytes(leaf.hash);
    path = leaf.firstPath;
    number = leaf.number;
  }
  return out.toBytes();
}
