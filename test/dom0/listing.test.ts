import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Listing } from '../../dom0/storage/listing.ts';
import type { Storage } from '../../dom0/storage/storage.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_LISTED } from '../../shared/limits.ts';
import { rejection } from '../support/failure.ts';

const idOf = (prefix: bigint) => `${prefix.toString(16).padStart(16, '0')}${'0'.repeat(48)}` as ObjectId;

async function* rowsOf(prefixes: Iterable<bigint>) {
  for (const prefix of prefixes)
    yield await Promise.resolve({ id: idOf(prefix), size: Number(prefix & 0xffffn) });
}

const listingOf = (rows: AsyncIterable<{ id: ObjectId; size: number }>) =>
  Listing.of({ vm: 'vault', list: () => rows as ReturnType<Storage['list']> });

it('knows exactly what was listed, and its size', async () => {
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(u64, { maxLength: 3000 }), u64, async (prefixes, other) => {
      const sorted = prefixes.toSorted((a, b) => (a < b ? -1 : 1));
      const listing = await listingOf(rowsOf(sorted));
      expect(listing.size).toBe(prefixes.length);
      for (const prefix of prefixes) expect(listing.sizeOf(idOf(prefix))).toBe(Number(prefix & 0xffffn));
      if (!prefixes.includes(other)) expect(listing.sizeOf(idOf(other))).toBeUndefined();
    }),
    { numRuns: 30 },
  );
});

it('R02: ends where a storage VM lists more than dom0 can hold', async () => {
  const id = randomBytes(32).toString('hex') as ObjectId;
  let listed = 0;
  // Not a generator: eight million of its steps would take as long as a slow test.
  const flood: AsyncIterable<{ id: ObjectId; size: number }> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        listed += 1;
        return Promise.resolve({ done: false, value: { id, size: 1 } });
      },
    }),
  };
  expect((await rejection(listingOf(flood))).code).toBe('limit');
  expect(listed).toBe(MAX_LISTED + 1);
}, 60_000);
