import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SHARDS, objectName, shardOf } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { ShardListing, listShard } from '../../storagevm/listing.ts';
import { tempFolder } from '../support/temp.ts';
import { objects } from './fixtures.ts';

/** A folder that lists all objects in batches of `size`, as a place elsewhere does. */
class Paged extends DirectoryBackEnd {
  readonly #size: number;
  /** Listings that were begun. */
  begun = 0;

  constructor(folder: string, size: number) {
    super(folder);
    this.#size = size;
  }

  override async *list(what: Parameters<DirectoryBackEnd['list']>[0]) {
    this.begun += 1;
    const files = [];
    for await (const batch of super.list(what)) files.push(...batch);
    for (let at = 0; at < files.length; at += this.#size) yield files.slice(at, at + this.#size);
  }
}

test('shards in order are those that are listed one by one, from one listing of all', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 60 }), fc.integer({ min: 1, max: 20 }), async (count, size) => {
      const backEnd = new Paged(tempFolder(), size);
      const some = objects(count, 5);
      for (const { id, bytes } of some) await backEnd.write(objectName(id), bytes);
      const listing = new ShardListing(backEnd);
      for (const shard of SHARDS) {
        const expected = some.filter(({ id }) => shardOf(id) === shard).map(({ id }) => id);
        expect((await listing.shard(shard)).map(({ id }) => id)).toEqual(expected.sort());
      }
      expect(backEnd.begun).toBe(1);
      const resumed = new ShardListing(backEnd);
      for (const shard of SHARDS.slice(200))
        expect(await resumed.shard(shard)).toEqual(await listShard(backEnd, shard));
    }),
    { numRuns: 10 },
  );
});
