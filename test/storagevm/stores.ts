/** Stores in folders for tests, opened as each process of a storage VM opens one. */

import { join } from 'node:path';
import type { ObjectId } from '../../shared/ids.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import type { BackEnd } from '../../storagevm/back-end.ts';
import { Ledger } from '../../storagevm/ledger/ledger.ts';
import type { StoredObject } from '../../storagevm/listing.ts';
import { Store } from '../../storagevm/store.ts';
import type { Settings } from '../../storagevm/store.ts';
import type { TestObject } from './fixtures.ts';

const DAY = 24 * 3600;

export interface StoreOptions extends Partial<Settings> {
  readonly backEnd?: BackEnd;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** The store in `folder`, as another process would open it. */
export function storeIn(folder: string, options: StoreOptions = {}): Store {
  const { backEnd = new DirectoryBackEnd(folder), now, quota, reserve = 0, grace = 30 * DAY } = options;
  return new Store(backEnd, new Ledger(join(folder, 'ledger'), now), { quota, reserve, grace });
}

/** Puts `objects` in one session, durably; answers which were new. */
export async function putInto(store: Store, objects: readonly TestObject[]): Promise<boolean[]> {
  const session = store.openPuts();
  try {
    const stored = await Promise.all(objects.map(({ id, bytes }) => session.write(id, bytes)));
    if (objects.length > 0) await session.sync(objects.map(({ id }) => id));
    return stored;
  } finally {
    await session.close();
  }
}

export async function objectsOf(store: Store): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const batch of store.list()) objects.push(...batch);
  return objects;
}

export async function namesOf(store: Store): Promise<ObjectId[]> {
  return (await objectsOf(store)).map(({ id }) => id);
}
