/** The objects of a store, as its back end lists them. */

import type { ObjectId } from '../shared/ids.ts';
import { SHARDS, objectOf, shardOf } from './back-end.ts';
import type { BackEnd, Listed } from './back-end.ts';

/** An object as a listing reports it; `size` in bytes, unverified. */
export interface StoredObject {
  readonly id: ObjectId;
  readonly size: number;
}

/** Objects in batches, sorted by name. */
export async function* listObjects(
  backEnd: BackEnd,
  what: Exclude<Listed, 'roots'> = 'objects',
): AsyncGenerator<readonly StoredObject[]> {
  for await (const batch of backEnd.list(what))
    yield batch.flatMap(({ name, size }) => {
      const id = objectOf(name);
      return id === undefined ? [] : [{ id, size }];
    });
}

/** The objects of one shard: of ten million in a store these are some 40,000. */
export async function listShard(backEnd: BackEnd, shard: string): Promise<readonly StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const batch of listObjects(backEnd, `objects/${shard}`)) objects.push(...batch);
  return objects;
}

/**
 * The objects of shards that are asked for in ascending order. From the first shard on this is one listing of all, which a
 * place elsewhere answers in few requests.
 */
export class ShardListing {
  readonly #backEnd: BackEnd;
  #batches: AsyncGenerator<readonly StoredObject[]> | undefined;
  #batch: readonly StoredObject[] = [];
  #at = 0;

  constructor(backEnd: BackEnd) {
    this.#backEnd = backEnd;
  }

  async shard(shard: string): Promise<readonly StoredObject[]> {
    if (shard === SHARDS[0]) this.#batches = listObjects(this.#backEnd);
    if (this.#batches === undefined) return listShard(this.#backEnd, shard);
    const objects: StoredObject[] = [];
    for (;;) {
      for (; this.#at < this.#batch.length; this.#at += 1) {
        const object = this.#batch[this.#at];
        if (object === undefined || shardOf(object.id) > shard) return objects;
        if (shardOf(object.id) === shard) objects.push(object);
      }
      const next = await this.#batches.next();
      if (next.done === true) return objects;
      this.#batch = next.value;
      this.#at = 0;
    }
  }
}
