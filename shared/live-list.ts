/**
 * The live list (docs/format.md, section 4): which objects a root still needs, as prefixes of their names, in parts that are
 * objects of their own. Not sealed: the storage VM reads it. A collision of prefixes only keeps more.
 */

import { readU32, u32 } from './bytes.ts';
import { BackupError } from './errors.ts';
import type { ObjectId } from './ids.ts';
import { MAX_LIVE_PARTS } from './limits.ts';
import { MIN_OBJECT } from './protocol/storage.ts';

const MAGIC = Buffer.from('QIBLIVE1', 'latin1');
const HEADER = MAGIC.length + 4;
const PREFIX = 8;
/** Prefixes in one part: 8 MiB. */
export const PART_PREFIXES = 2 ** 20;

/** The prefix of an object's name: its first 8 bytes, as a number. */
export function livePrefix(id: ObjectId): bigint {
  return BigInt(`0x${id.slice(0, 2 * PREFIX)}`);
}

/**
 * The parts of the list of `prefixes`, one by one; they may come in any order and more than once, and are sorted in place.
 * Throws `limit` on too many.
 */
export function* encodeLiveList(prefixes: BigUint64Array): Generator<Uint8Array> {
  if (prefixes.length > PART_PREFIXES * MAX_LIVE_PARTS)
    throw new BackupError(
      'limit',
      `the repository has ${prefixes.length} objects, more than a live list holds`,
    );
  prefixes.sort();
  const unique = prefixes.filter((prefix, index) => index === 0 || prefix !== prefixes[index - 1]);
  for (let at = 0; at < unique.length; at += PART_PREFIXES)
    yield encodePart(unique.subarray(at, at + PART_PREFIXES));
}

function encodePart(prefixes: BigUint64Array): Uint8Array {
  const part = new Uint8Array(Math.max(MIN_OBJECT, HEADER + PREFIX * prefixes.length));
  part.set(MAGIC);
  part.set(u32(prefixes.length), MAGIC.length);
  const view = new DataView(part.buffer);
  prefixes.forEach((prefix, index) => view.setBigUint64(HEADER + PREFIX * index, prefix));
  return part;
}

/**
 * The prefixes of one part, ascending; all are above `after`, the last one of the part before (-1n for the first part).
 * Throws `store-damaged` on anything that {@link encodeLiveList} does not write.
 */
export function decodeLivePart(untrusted: Uint8Array, after: bigint): BigUint64Array {
  const count = untrusted.length < HEADER ? 0 : readU32(untrusted, MAGIC.length);
  const end = HEADER + PREFIX * count;
  if (
    !MAGIC.equals(untrusted.subarray(0, MAGIC.length)) ||
    count > PART_PREFIXES ||
    untrusted.length !== Math.max(MIN_OBJECT, end)
  )
    throw damaged('its length is impossible');
  if (untrusted.subarray(end).some((byte) => byte !== 0)) throw damaged('its fill is not zero');
  const view = new DataView(untrusted.buffer, untrusted.byteOffset, untrusted.length);
  const prefixes = new BigUint64Array(count);
  let last = after;
  for (let index = 0; index < count; index++) {
    const prefix = view.getBigUint64(HEADER + PREFIX * index);
    if (prefix <= last) throw damaged('its names are out of order');
    prefixes[index] = last = prefix;
  }
  return prefixes;
}

function damaged(what: string): BackupError {
  return new BackupError('store-damaged', `a part of the live list is damaged: ${what}`);
}
