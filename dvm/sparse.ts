/** Content as runs of data and of zeros, in the unit in which file systems keep holes. */

import { write, writeSync } from 'node:fs';
import { promisify } from 'node:util';

/** Bytes. */
const BLOCK = 4096;
const ZEROS = new Uint8Array(BLOCK);

const writeOnPool = promisify(write);

/** Bytes `from` up to `to`, not included, of some content. */
export interface Run {
  readonly from: number;
  readonly to: number;
  /** All of them are zero. */
  readonly isZero: boolean;
}

/** `bytes`, which start at `position` of their file, as alternating runs; each ends at a block of the file. */
export function* runsOf(bytes: Uint8Array, position: number): Generator<Run, void, undefined> {
  for (let from = 0; from < bytes.length;) {
    const isZero = isZeroBlock(from);
    let to = blockEnd(from);
    while (to < bytes.length && isZeroBlock(to) === isZero) to = blockEnd(to);
    yield { from, to, isZero };
    from = to;
  }

  function blockEnd(offset: number): number {
    return Math.min(bytes.length, offset + BLOCK - ((position + offset) % BLOCK));
  }

  function isZeroBlock(from: number): boolean {
    const to = blockEnd(from);
    return bytes[from] === 0 && Buffer.compare(bytes.subarray(from, to), ZEROS.subarray(0, to - from)) === 0;
  }
}

/** Writes bytes `from` up to `to` of `bytes` to where they belong if `bytes` starts at `position`. Throws a system error. */
export function writeRun(descriptor: number, bytes: Uint8Array, { from, to }: Run, position: number): void {
  for (let at = from; at < to;) at += writeSync(descriptor, bytes, at, to - at, position + at);
}

/**
 * Writes `bytes` at `start` of a file without content there, except for blocks of zeros: they read the same as holes, and a
 * volume full of sparse images would not fit otherwise. Answers the end of what was written. Throws a system error.
 */
export function writeSparse(descriptor: number, bytes: Uint8Array, start: number): number | undefined {
  let end: number | undefined;
  for (const run of runsOf(bytes, start)) {
    if (run.isZero) continue;
    writeRun(descriptor, bytes, run, start);
    end = start + run.to;
  }
  return end;
}

/** {@link writeSparse} on the thread pool: a page that has to be found for each 4 KiB takes most of its time. Rejects with a system error. */
export async function writeSparseOnPool(
  descriptor: number,
  bytes: Uint8Array,
  start: number,
): Promise<number | undefined> {
  let end: number | undefined;
  for (const { from, to, isZero } of runsOf(bytes, start)) {
    if (isZero) continue;
    for (let at = from; at < to;)
      at += (await writeOnPool(descriptor, bytes, at, to - at, start + at)).bytesWritten;
    end = start + to;
  }
  return end;
}
