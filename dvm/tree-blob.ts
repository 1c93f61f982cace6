/**
 * The envelope of a tree blob (docs/format.md, section 8): version, codec, raw length, stored bytes.
 */

import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompressSync } from 'node:zlib';
import { concat, readU32, u32 } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_BLOB, MAX_TREE_RAW } from '../shared/limits.ts';
import { damagedTree } from './leaf.ts';

const compressAsync = promisify(zstdCompress);

const VERSION = 2;
const CODEC = { raw: 0, zstd: 1 } as const;
const HEADER_SIZE = 6;
/** Base-2 logarithm of the largest window: a frame may not make the decoder allocate more than the largest tree. */
const WINDOW_LOG = 26;

/** The raw bytes of an untrusted tree blob. Throws `store-damaged`; never allocates more than MAX_TREE_RAW. */
export function unwrapTreeBlob(untrustedBlob: Uint8Array): Uint8Array {
  if (untrustedBlob.length < HEADER_SIZE || untrustedBlob.length > MAX_BLOB)
    throw damagedTree('a blob has an impossible length');
  if (untrustedBlob[0] !== VERSION) throw damagedTree('a blob is no tree, or one of another version');
  const rawLength = readU32(untrustedBlob, 2);
  if (rawLength === 0 || rawLength > MAX_TREE_RAW) throw damagedTree('a blob’s raw length is impossible');
  const stored = untrustedBlob.subarray(HEADER_SIZE);
  const raw = decode(untrustedBlob[1], stored, rawLength);
  if (raw.length !== rawLength) throw damagedTree('a blob has another length than it says');
  return raw;
}

function decode(codec: number | undefined, stored: Uint8Array, rawLength: number): Uint8Array {
  if (codec === CODEC.raw) return stored;
  if (codec !== CODEC.zstd) throw damagedTree('a blob has an unknown codec');
  try {
    return zstdDecompressSync(stored, {
      maxOutputLength: rawLength,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
    });
  } catch (cause) {
    throw damagedTree('a blob does not decompress', cause);
  }
}

/** A tree blob of `raw`: compressed where that helps, unless `compress` is false (R08). Throws `limit` if too large. */
export async function wrapTreeBlob(raw: Uint8Array, compress: boolean): Promise<Uint8Array> {
  if (raw.length > MAX_TREE_RAW) throw tooLarge();
  const packed = compress ? await compressAsync(raw) : raw;
  const smaller = packed.length < raw.length;
  const stored = smaller ? packed : raw;
  if (HEADER_SIZE + stored.length > MAX_BLOB) throw tooLarge();
  return concat([Uint8Array.of(VERSION, smaller ? CODEC.zstd : CODEC.raw), u32(raw.length), stored]);
}

function tooLarge(): BackupError {
  return new BackupError(
    'limit',
    'the volume has more files than one backup can hold: back up parts of it as several VMs',
  );
}
