import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Listing } from '../../dom0/storage/listing.ts';
import { concat, u32, u64 } from '../../shared/bytes.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { MAX_LISTED } from '../../shared/limits.ts';
import { LIST_ROW } from '../../shared/protocol/storage.ts';
import { rejection } from '../support/failure.ts';

async function listingOf(pages: Iterable<Uint8Array>): Promise<Listing> {
  const listPages = async function* () {
    for (const page of pages) yield await Promise.resolve(page);
  };
  return Listing.of({ name: 'vault', listPages });
}

const prefixOf = (number: bigint) => number.toString(16).padStart(16, '0');
const idOf = (number: bigint) => `${prefixOf(number)}${'7'.repeat(48)}` as ObjectId;
const sizeOf = (number: bigint) => Number(number & 0xffff_ffffn);
const rowOf = (number: bigint) => concat([Buffer.from(idOf(number), 'hex'), u32(sizeOf(number))]);

it('knows exactly what was listed, and its size', async () => {
  const number = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(number, { maxLength: 500 }),
      number,
      fc.nat(7),
      async (numbers, other, cut) => {
        const rows = numbers.toSorted((a, b) => (a < b ? -1 : 1)).map(rowOf);
        const listing = await listingOf([concat(rows.slice(0, cut)), concat(rows.slice(cut))]);
        expect(listing.size).toBe(numbers.length);
        for (const each of numbers) expect(listing.sizeOf(idOf(each))).toBe(sizeOf(each));
        if (!numbers.includes(other)) expect(listing.sizeOf(idOf(other))).toBeUndefined();
      },
    ),
    { numRuns: 50 },
  );
});

it('finds objects in every block of a long listing', async () => {
  const step = 2 ** 40;
  const page = concat(
    Array.from({ length: 200_000 }, (_, i) => concat([u64(i * step), new Uint8Array(24), u32(i)])),
  );
  const listing = await listingOf([page]);
  for (let i = 0; i < 200_000; i += 997) expect(listing.sizeOf(idOf(BigInt(i * step)))).toBe(i);
  expect(listing.sizeOf(idOf(BigInt(step + 1)))).toBeUndefined();
});

it('R02: ends where a storage VM lists more than dom0 can hold', async () => {
  const page = new Uint8Array(LIST_ROW * 2 ** 16);
  let pages = 0;
  const flood = function* () {
    for (;;) {
      pages += 1;
      yield page;
    }
  };
  const error = await rejection(listingOf(flood()));
  expect(error.code).toBe('limit');
  expect(error.message).toContain('vault');
  expect(pages).toBe(MAX_LISTED / 2 ** 16 + 1);
});
