/** R42: locks against deletion are renewed before they end, as long as what they protect is needed. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BackupError } from '../../shared/errors.ts';
import { objectName, rootName } from '../../storagevm/back-end.ts';
import type { StoreName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { Ledger } from '../../storagevm/ledger/ledger.ts';
import { Renewal } from '../../storagevm/ledger/renew.ts';
import type { Locks } from '../../storagevm/ledger/renew.ts';
import { Store } from '../../storagevm/store.ts';
import { rejection } from '../support/failure.ts';
import { AgeingStore, DAY } from './ageing-store.ts';
import { object, objects } from './fixtures.ts';
import type { TestObject } from './fixtures.ts';

/** Days of a lock; a round has half of them. */
const DAYS = 40;
const never = () => false;

/** A store whose files are locked when they are renewed, by the test's clock. */
class LockedStore extends AgeingStore implements Locks {
  readonly period = (DAYS * DAY) / 2;
  readonly ends = new Map<StoreName, number>();
  /** How many requests each call made. */
  readonly calls: number[] = [];
  refuse: (name: StoreName) => boolean = never;

  renew(names: readonly StoreName[], now: number): Promise<void> {
    this.calls.push(names.length);
    for (const name of names) {
      if (this.refuse(name)) return Promise.reject(new BackupError('usage', 'forbids renewing'));
      this.ends.set(name, now + DAYS * DAY);
    }
    return Promise.resolve();
  }

  override open(): Store {
    const folder = join(this.folder, 'ledger');
    const settings = { quota: undefined, reserve: 0, grace: (30 * DAY) / 1000 };
    const ledger = new Ledger(folder, () => this.now);
    const renewal = new Renewal(this, folder, () => this.now);
    return new Store(new DirectoryBackEnd(this.folder), ledger, settings, { renewal });
  }

  /** The days for which each is locked from now on at least. */
  left(...some: readonly TestObject[]): number {
    const ends = some.map(({ id }) => this.ends.get(objectName(id)) ?? 0);
    return Math.floor((Math.min(...ends) - this.now) / DAY);
  }
}

describe('R42: locks', () => {
  test('of what is needed never have less than half of their time left, of what is dead they end', async () => {
    const [kept, dead] = [objects(12), object()] as const;
    const store = new LockedStore();
    await store.put(...kept, dead);
    await store.publish();
    await store.live(8);
    await store.publishList(kept);
    store.ends.set(rootName(2), store.now + DAYS * DAY); // As when it was stored.
    for (let day = 0; day < 100; day += 10) {
      await store.live(10);
      expect(store.left(...kept)).toBeGreaterThanOrEqual(DAYS / 2 - 10);
      expect(store.ends.get(rootName(2)) ?? 0).toBeGreaterThan(store.now);
    }
    expect(store.calls.reduce((sum, count) => sum + count)).toBeLessThan(120); // Once a round, not once a day.
    expect(store.ends.get(objectName(dead.id))).toBeLessThan(store.now);
    expect(await store.has(dead)).toBe(false);
  });

  test('are renewed some at a time, and the next call goes on there', async () => {
    const store = new LockedStore();
    const some = Array.from({ length: 600 }, () => object());
    await store.put(...some);
    await store.publish();
    let turns = 0;
    for (let finished = false; !finished; turns += 1) {
      const before = store.calls.length;
      ({ finished } = await store.open().sweep({ stopped: () => true }));
      const made = store.calls.slice(before);
      expect(made.length).toBeLessThanOrEqual(1); // None for a shard in which there is nothing.
      for (const count of made) expect(count).toBeLessThanOrEqual(256);
    }
    expect(turns).toBeGreaterThan(100);
    expect(store.left(...some)).toBe(DAYS);
    expect(store.calls.reduce((sum, count) => sum + count)).toBe(601);
  });

  test('that are refused are told, and tried again there', async () => {
    const store = new LockedStore();
    const some = objects(40);
    await store.put(...some);
    await store.publish();
    const last = some
      .map(({ id }) => objectName(id))
      .sort()
      .at(-1)!;
    store.refuse = (name) => name === last;
    expect((await rejection(store.open().sweep())).message).toBe('forbids renewing');
    store.refuse = never;
    store.calls.length = 0;
    await store.open().sweep();
    expect(store.left(...some)).toBe(DAYS);
    expect(store.calls.length).toBeLessThan(20); // It was beyond most of the shards.
  });

  test('that may have ended are told as overdue', async () => {
    const store = new LockedStore();
    await store.put(...objects(4));
    await store.publish();
    await store.open().sweep();
    expect(await store.open().renewal?.isOverdue()).toBe(false);
    store.now += (DAYS + 1) * DAY;
    expect(await store.open().renewal?.isOverdue()).toBe(true);
    await store.open().sweep();
    expect(await store.open().renewal?.isOverdue()).toBe(false);
    store.now -= 365 * DAY; // A clock that goes back begins a round, rather than none for a year.
    expect(await store.open().renewal?.isDue()).toBe(true);
  });
});
