/** Every object that a repository still needs, and the live list that tells storage so (docs/format.md, section 4). */

import type { ObjectId } from '../../shared/ids.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { encodeLiveList, livePrefix } from '../../shared/live-list.ts';
import { NumberSet } from '../../shared/numbers.ts';
import type { Catalog } from './records.ts';
import type { Repository } from './repository.ts';
import { VmHistory } from './vm-history.ts';

/** All objects that a root needs which names `catalog`, without what the root itself names. */
async function* liveObjects(
  repository: Repository,
  { rootSegments, vms }: Catalog,
): AsyncGenerator<ObjectId> {
  yield* rootSegments;
  for (const entry of vms) {
    yield entry.record;
    yield* objectsOfVm(await VmHistory.read(repository, entry));
  }
}

/** All objects that the current root needs, with what it names itself. Each once, as far as records may be shared. */
export async function* neededObjects(repository: Repository): AsyncGenerator<ObjectId> {
  const { catalog, live } = repository.root.body;
  yield catalog;
  yield* live ?? [];
  yield* liveObjects(repository, repository.catalog);
}

async function* objectsOfVm(history: VmHistory): AsyncGenerator<ObjectId> {
  const records = new Set<ObjectId>(); // Snapshots share their configuration.
  for await (const { id } of history.recordObjects()) {
    if (!records.has(id)) yield id;
    records.add(id);
  }
  let needed = NumberSet.empty;
  for await (const { live } of history.snapshotsWithLive()) needed = needed.union(live);
  for (const number of needed) yield (await history.rowOf(number)).id;
}

/**
 * Publishes a root that names every object still needed, so that storage may drop all others once its owner's grace period
 * is over. Throws `store-conflict` if another root was published meanwhile.
 */
export async function publishLiveList(repository: Repository, now: number): Promise<void> {
  await repository.publishRoot(async (catalog) => {
    const prefixes = new Prefixes();
    for await (const id of liveObjects(repository, catalog)) prefixes.add(livePrefix(id));
    const live: ObjectId[] = [];
    for (const part of encodeLiveList(prefixes.all())) {
      const id = objectIdOf(part);
      await repository.store.storage.put({ id, pieces: [part], size: part.length });
      live.push(id);
    }
    return { live };
  }, now);
}

/** Numbers in an array that grows. */
class Prefixes {
  #numbers = new BigUint64Array(1024);
  #count = 0;

  add(prefix: bigint): void {
    if (this.#count === this.#numbers.length) {
      const larger = new BigUint64Array(2 * this.#count);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.#count++] = prefix;
  }

  all(): BigUint64Array {
    return this.#numbers.subarray(0, this.#count);
  }
}
