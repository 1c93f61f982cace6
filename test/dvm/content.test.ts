/** Chunks that are read again are hashed several at a time; none is taken for another. */

import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { OpenFile } from '../../dvm/access.ts';
import { ContentReader } from '../../dvm/content.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
import { sha256, sha256Aside } from '../../dvm/sha256.ts';

const KiB = 1024;

/** An open file of these bytes. */
function fileOf(bytes: Buffer): OpenFile {
  return {
    read: (target, position) => bytes.copy(target, 0, position),
    seekData: (position) => position,
    stat: () => {
      throw new Error('its metadata is nothing to whoever reads it again');
    },
    flags: () => 0,
    close: () => undefined,
  };
}

/** Chunks of these lengths, one after the other. */
function chunksOf(bytes: Buffer, lengths: readonly number[]): ChunkContent[] {
  let at = 0;
  return lengths.map((length) => {
    const hash = createHash('sha256')
      .update(bytes.subarray(at, (at += length)))
      .digest();
    return { gap: 0, length, hash };
  });
}

/** Small ones are hashed at once, large ones aside. */
const LENGTHS = [300, 1000, 70, 500, 1, 64, 2000, 128, 90, 700].map((kibibytes) => kibibytes * KiB);

async function rereadAll(bytes: Buffer, chunks: readonly ChunkContent[]): Promise<boolean> {
  const rereads = new ContentReader(
    () => undefined,
    () => undefined,
    'idle',
  ).rereads(fileOf(bytes));
  let at = 0;
  for (const chunk of chunks) {
    if (!(await rereads.add(at, chunk))) return false;
    at += chunk.length;
  }
  return rereads.finish();
}

describe('chunks that are read again', () => {
  const bytes = randomBytes(LENGTHS.reduce((sum, length) => sum + length));
  const chunks = chunksOf(bytes, LENGTHS);

  it('are found to be as they were', async () => {
    expect(await rereadAll(bytes, chunks)).toBe(true);
  });

  it.each([...LENGTHS.keys()])(
    'are found not to be if it is that at index %i which differs',
    async (index) => {
      const at = LENGTHS.slice(0, index).reduce((sum, length) => sum + length, 0);
      const changed = Buffer.from(bytes);
      changed[at] = changed[at]! ^ 1;
      expect(await rereadAll(changed, chunks)).toBe(false);
    },
  );

  it('are found not to be if the file has become shorter', async () => {
    expect(await rereadAll(bytes.subarray(0, -1), chunks)).toBe(false);
  });
});

it.each([0, 1, 64 * KiB - 1, 64 * KiB, 3_000_001])('SHA-256 of %i bytes aside is SHA-256', async (length) => {
  const bytes = randomBytes(length);
  const expected = createHash('sha256').update(bytes).digest();
  expect(expected.equals(await sha256Aside(bytes))).toBe(true);
  expect(expected.equals(sha256(bytes))).toBe(true);
});
