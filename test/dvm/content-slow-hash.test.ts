/** What is being hashed stays as it is until then, however long that takes: a chunk that is as it was is never told to differ. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { OpenFile } from '../../dvm/access.ts';
import { ContentReader } from '../../dvm/content.ts';
import { sha256 } from '../../dvm/sha256.ts';
import { Random } from '../support/random.ts';

const KiB = 1024;

vi.mock(import('../../dvm/sha256.ts'), async (original) => {
  const real = await original();
  const slowly = async (bytes: Uint8Array) => {
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    return real.sha256(bytes);
  };
  return { ...real, sha256Aside: (bytes) => (bytes.length < 64 * KiB ? real.sha256(bytes) : slowly(bytes)) };
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])('large and small chunks in any order (seed %i)', async (seed) => {
  const random = new Random(seed);
  const chunks = Array.from({ length: 60 }, () =>
    random.bytes(random.pick([KiB, 60 * KiB, 64 * KiB, 200 * KiB])),
  );
  const all = Buffer.concat(chunks);
  const file: Pick<OpenFile, 'read'> = { read: (target, position) => all.copy(target, 0, position) };
  const reader = new ContentReader(
    () => undefined,
    () => undefined,
    'idle',
  );
  const rereads = reader.rereads(file as OpenFile);
  let position = 0;
  for (const bytes of chunks) {
    expect(await rereads.add(position, { gap: 0, length: bytes.length, hash: sha256(bytes) })).toBe(true);
    position += bytes.length;
  }
  expect(await rereads.finish()).toBe(true);
});
