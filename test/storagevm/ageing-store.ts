/** A store whose clock the test turns, and a repository that publishes live lists in it. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { encodeLiveList, livePrefix } from '../../shared/live-list.ts';
import type { Root } from '../../shared/root.ts';
import type { BackEnd } from '../../storagevm/back-end.ts';
import { publish } from '../../storagevm/set-root.ts';
import type { Settings, Store } from '../../storagevm/store.ts';
import { tempFolder } from '../support/temp.ts';
import { TestRepository, object } from './fixtures.ts';
import type { TestObject } from './fixtures.ts';
import { namesOf, putInto, storeIn } from './stores.ts';

export const HOUR = 3600_000;
export const DAY = 24 * HOUR;

/** What a root has that lists `live` and nothing else, and the objects that it names itself. */
export function listOf(live: readonly TestObject[]) {
  const catalog = object();
  const prefixes = BigUint64Array.from(live.map(({ id }) => livePrefix(id)));
  const parts = [...encodeLiveList(prefixes)].map((bytes) => ({ id: objectIdOf(bytes), bytes }));
  return {
    objects: [catalog, ...parts],
    changes: { catalog: catalog.id, live: parts.map(({ id }) => id) },
  };
}

export class AgeingStore {
  readonly folder: string;
  readonly repository = new TestRepository();
  readonly #settings: Partial<Settings>;
  /** This machine's clock. */
  now = Date.UTC(2026, 0, 1);
  /** The newest root. */
  root: Root | undefined;
  backEnd: BackEnd | undefined;

  /** `name`: of its folder, which is in one of its own. */
  constructor(settings: Partial<Settings> = {}, name = 'store') {
    this.folder = join(tempFolder(), name);
    this.#settings = settings;
  }

  /** As another process would open it. */
  open(): Store {
    const backEnd = this.backEnd === undefined ? {} : { backEnd: this.backEnd };
    return storeIn(this.folder, { ...this.#settings, ...backEnd, now: () => this.now });
  }

  async put(...objects: readonly TestObject[]): Promise<void> {
    await putInto(this.open(), objects);
  }

  names(): Promise<ObjectId[]> {
    return namesOf(this.open());
  }

  async has({ id }: TestObject): Promise<boolean> {
    return (await this.open().read(id)) !== undefined;
  }

  /** Publishes a root without a list. */
  async publish(): Promise<Root> {
    return this.#publish(this.repository.root(this.root));
  }

  /** Publishes a root whose list names `live`, and nothing else but its own objects. Their catalog comes new. */
  async publishList(live: readonly TestObject[]): Promise<Root> {
    const { objects, changes } = listOf(live);
    await this.put(...objects);
    return this.#publish(this.repository.root(this.root, changes));
  }

  /** Lets days pass, of which each has its backup, and so its turn of the clock, and a sweep if there is something to do. */
  async live(days: number): Promise<void> {
    const store = this.open();
    mkdirSync(join(this.folder, 'ledger'), { recursive: true }); // Where the test removed it.
    for (let day = 0; day < days; day++) {
      this.now += DAY;
      await store.ledger.clock.advance();
      await store.sweepABit(Infinity);
    }
  }

  async #publish(root: Root): Promise<Root> {
    const answer = await publish(this.open(), root, root.body.previous);
    if (answer !== root.hash) throw new Error(`not published: ${answer} is current`);
    this.root = root;
    return root;
  }
}
