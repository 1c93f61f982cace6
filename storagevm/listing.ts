/** The objects of a store, as its back end lists them. */

import type { ObjectId } from '../shared/ids.ts';
import { objectOf } from './back-end.ts';
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
