/**
 * What the leaf encoder and decoder agree on (docs/format.md, section 8): records, path order, names, and
 * where a leaf ends.
 */

import type { ByteString } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_LEAF, MIN_LEAF } from '../shared/limits.ts';
import type { Chunk, Entry } from './entry.ts';

/** One record of a tree: an entry, or a chunk of the regular file whose entry came before. */
export type TreeRecord =
  | { readonly kind: 'entry'; readonly entry: Entry; readonly chunkCount: number }
  | { readonly kind: 'chunk'; readonly chunk: Chunk };

export const TAG = { entry: 1, chunk: 2 } as const;

export const FLAG = {
  linked: 1,
  ownerUnknown: 2,
  groupUnknown: 4,
  doubtful: 8,
  unreadable: 16,
  attributes: 32,
  fileFlags: 64,
} as const;
export const ALL_FLAGS = 127;

/** Largest user, group and device number. */
export const MAX_U32 = 2 ** 32 - 1;
export const MAX_NANOSECONDS = 999_999_999;

const SLASH = 0x2f;
const DOT = 0x2e;

/** The place of a byte in path order: `/` comes before everything else. NUL does not occur in paths. */
export function orderOf(code: number): number {
  return code === SLASH ? 0 : code;
}

/** Negative, 0 or positive: path order, in which a directory's whole subtree follows it. */
export function comparePaths(a: ByteString, b: ByteString): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return orderOf(x) - orderOf(y);
  }
  return a.length - b.length;
}

/** How many leading bytes two paths share. */
export function sharedPrefix(a: ByteString, b: ByteString): number {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

/** The path of the directory that holds `path`; undefined for the root. */
export function parentOf(path: ByteString): ByteString | undefined {
  if (path === '') return undefined;
  return path.slice(0, Math.max(0, path.lastIndexOf('/'))) as ByteString;
}

/** The last component of `path`; empty for the root. */
export function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf('/') + 1) as ByteString;
}

/** True if `path` is `directory` itself or below it. */
export function isWithin(path: ByteString, directory: ByteString): boolean {
  if (directory === '' || path === directory) return true;
  return (
    path.length > directory.length &&
    path.charCodeAt(directory.length) === SLASH &&
    path.startsWith(directory)
  );
}

/**
 * True if the components of `path[0..length)` from the one that holds byte `from` on are names: not empty, not
 * `.` or `..`, without NUL. The root's empty path is one by itself.
 */
export function namesAreValid(path: Uint8Array, length: number, from: number): boolean {
  if (length === 0) return true;
  let start = from === 0 ? 0 : path.lastIndexOf(SLASH, from - 1) + 1;
  for (let i = start; i <= length; i++) {
    const code = i < length ? path[i] : SLASH;
    if (code === 0) return false;
    if (code !== SLASH) continue;
    const size = i - start;
    if (size === 0 || (size <= 2 && path[start] === DOT && path[i - 1] === DOT)) return false;
    start = i + 1;
  }
  return true;
}

/** True if a leaf of `size` bytes of records ends after an entry of this path. */
export function endsAfterEntry(size: number, path: ByteString): boolean {
  return size >= MAX_LEAF || (size >= MIN_LEAF && (fnv1a(path) & 2047) === 0);
}

/** True if a leaf of `size` bytes of records ends after a chunk of this hash. */
export function endsAfterChunk(size: number, hash: Uint8Array): boolean {
  return size >= MAX_LEAF || (size >= MIN_LEAF && hash[3] === 0 && ((hash[2] ?? 0) & 0x0f) === 0);
}

/** FNV-1a, 32 bit, as a signed integer: http://www.isthe.com/chongo/tech/comp/fnv/. */
function fnv1a(text: ByteString): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

export function damagedTree(what: string, cause?: unknown): BackupError {
  return new BackupError('store-damaged', `the tree is damaged: ${what}`, { cause });
}
