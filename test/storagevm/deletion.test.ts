/** R42: when an object goes, and when it must not (docs/retention.md). Each rule of it has a test here. */

import { readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ObjectId } from '../../shared/ids.ts';
import { objectName, rootName } from '../../storagevm/back-end.ts';
import type { StoreName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { publish } from '../../storagevm/set-root.ts';
import { rejection } from '../support/failure.ts';
import { AgeingStore, DAY, HOUR } from './ageing-store.ts';
import { TestRepository, object, objects, objectsApart } from './fixtures.ts';
import type { TestObject } from './fixtures.ts';

/** Enough that what a test forgets is less than a quarter. */
const MANY = objects(12);

/** A store with MANY and `others`, all older than a list can spare. */
function oldStore(...others: readonly TestObject[]): Promise<AgeingStore> {
  return oldStoreIn(new AgeingStore(), others);
}

async function oldStoreIn(store: AgeingStore, others: readonly TestObject[]): Promise<AgeingStore> {
  await store.put(...MANY, ...others);
  await store.publish();
  await store.live(8);
  return store;
}

describe('R42: what a live list leaves out', () => {
  test('stays for the grace period, and is gone after it', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(30);
    expect(await store.has(dead)).toBe(true);
    await store.live(1);
    expect(await store.has(dead)).toBe(false);
    for (const one of MANY) expect(await store.has(one)).toBe(true);
  });

  test('is what no list named: the root’s own objects and the parts of its list stay', async () => {
    const store = await oldStore(object());
    await store.publishList(MANY);
    await store.live(60);
    const { live, catalog } = store.root!.body;
    expect(await store.names()).toEqual([...MANY.map(({ id }) => id), catalog, ...live!].sort());
  });

  test('stays as long as a root says nothing', async () => {
    const store = await oldStore(object());
    for (let i = 0; i < 3; i++) await store.publish();
    await store.live(100);
    expect(await store.names()).toHaveLength(MANY.length + 1);
  });

  test('stays if a later list names it again', async () => {
    const back = object();
    const store = await oldStore(back);
    await store.publishList(MANY);
    await store.live(29);
    await store.publishList([...MANY, back]);
    await store.live(60);
    expect(await store.has(back)).toBe(true);
  });

  test('stays if it is put again, also at the last moment, and dies by a later list only', async () => {
    const back = object();
    const store = await oldStore(back);
    await store.publishList(MANY);
    await store.live(30);
    store.now += DAY;
    await store.put(back); // The sweep of this day comes after it.
    await store.live(60);
    expect(await store.has(back)).toBe(true);
    await store.publishList(MANY);
    await store.live(31);
    expect(await store.has(back)).toBe(false);
  });

  test('stays if it was put within seven days before the list: its session may not have published yet', async () => {
    const [fresh, old] = [object(), object()];
    const store = await oldStore(old);
    await store.put(fresh);
    await store.live(6);
    await store.publishList(MANY);
    await store.live(60);
    expect([await store.has(fresh), await store.has(old)]).toEqual([true, false]);
  });

  test('stays if it was put after the list, however late the list is applied', async () => {
    const late = object();
    const store = await oldStore(object());
    await store.publishList(MANY);
    for (let day = 0; day < 20; day++) {
      store.now += DAY;
      if (day === 10) await store.put(late);
      await store.publish(); // A store that never sweeps.
    }
    await store.live(60);
    expect(await store.has(late)).toBe(true);
    expect(await store.names()).not.toHaveLength(MANY.length + 4); // The other is gone.
  });

  test('stays by one part of many: the list may be longer than a part', async () => {
    const store = await oldStore();
    const dead = object();
    await store.put(dead);
    await store.live(8);
    const { body } = await store.publishList(MANY);
    expect(body.live).toHaveLength(1);
    await store.live(31);
    expect(await store.has(dead)).toBe(false);
  });
});

describe('R42: the store’s clock', () => {
  test.each([
    ['forward ten years', 10 * 365 * DAY],
    ['back a year', -365 * DAY],
  ])('that jumps %s ends no grace period', async (_how, jump) => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(5);
    store.now += jump;
    await store.open().sweep();
    expect(await store.has(dead)).toBe(true);
    await store.live(23);
    expect(await store.has(dead)).toBe(true);
    await store.live(5);
    expect(await store.has(dead)).toBe(false);
  });

  test('that jumps to and fro counts no more than 26 hours each time', async () => {
    const store = await oldStore();
    const before = await store.open().ledger.clock.age();
    for (let i = 0; i < 4; i++) {
      store.now += (i % 2 === 0 ? 1 : -1) * 1000 * DAY;
      await store.open().sweep();
    }
    expect((await store.open().ledger.clock.age()) - before).toBe(2 * 26 * 3600);
  });

  test('does not run while the store is not used', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    store.now += 90 * DAY; // The disk was in a drawer.
    await store.open().sweep();
    expect(await store.has(dead)).toBe(true);
  });

  test('counts each hour once, however many processes look', async () => {
    const store = await oldStore();
    const before = await store.open().ledger.clock.age();
    for (let i = 0; i < 10; i++) {
      store.now += HOUR;
      await Promise.all([store.open().sweep(), store.open().sweep(), store.publish()]);
    }
    expect((await store.open().ledger.clock.age()) - before).toBe(10 * 3600);
  });
});

describe('R42: a list that leaves out more than a quarter of the bytes', () => {
  async function robbed() {
    const lost = objects(6);
    const store = await oldStore(...lost);
    await store.publishList(MANY);
    return { store, lost };
  }

  test('waits for the owner’s word', async () => {
    const { store, lost } = await robbed();
    await store.live(100);
    for (const one of lost) expect(await store.has(one)).toBe(true);
    expect((await store.open().ledger.readState()).waiting).toMatchObject({ root: 2 });
  });

  test('is applied once the owner said so, with the full grace period from then on', async () => {
    const { store, lost } = await robbed();
    await store.live(100);
    await store.open().acceptList();
    await store.live(30);
    for (const one of lost) expect(await store.has(one)).toBe(true);
    await store.live(2);
    for (const one of lost) expect(await store.has(one)).toBe(false);
    for (const one of MANY) expect(await store.has(one)).toBe(true);
  });

  test('still names what is alive', async () => {
    const [back, ...lost] = objects(7);
    const store = await oldStore(back!, ...lost);
    await store.publishList([...MANY, ...lost]); // `back` is dead.
    await store.live(10);
    await store.publishList([...MANY, back!]); // It waits, but `back` lives.
    await store.live(60);
    expect(await store.has(back!)).toBe(true);
    for (const one of lost) expect(await store.has(one)).toBe(true);
  });

  test('is no smaller in slices: what lists left out within a day counts together', async () => {
    const lost = objects(10, 50_000);
    const store = await oldStore(...lost);
    for (let slice = 1; slice <= lost.length; slice++) {
      await store.publishList([...MANY, ...lost.slice(slice)]);
      await store.open().sweep();
      store.now += HOUR;
    }
    await store.live(31);
    const left = await Promise.all(lost.map((one) => store.has(one)));
    expect(left.filter(Boolean).length).toBeGreaterThanOrEqual(7); // Three of them are a quarter.
  });
});

describe('R41, R42: setRoot', () => {
  test('refuses a list that names what is absent, and keeps everything as it was', async () => {
    const store = await oldStore();
    const root = store.root!;
    const error = await rejection(store.publishList([...MANY, object()]));
    expect([error.code, error.message]).toEqual(['refused', expect.stringContaining('1 objects') as string]);
    expect(await store.open().currentRoot()).toEqual(root.bytes);
    await store.publish(); // And goes on after that.
  });

  test('refuses a list whose part is absent, or is none', async () => {
    const repository = new TestRepository();
    const store = new AgeingStore();
    const none = object();
    await store.put(none);
    const set = (live: readonly ObjectId[]) => {
      const root = repository.root(undefined, { catalog: none.id, live: [...live] });
      return rejection(publish(store.open(), root, root.body.previous));
    };
    expect((await set([object().id])).code).toBe('store-missing');
    expect((await set([none.id])).code).toBe('store-damaged');
  });

  test('a list whose root was never published is not applied', async () => {
    const dead = object();
    const store = await oldStore(dead);
    // As a crash leaves it: the age of the root is written, the root is not.
    await store.open().ledger.rootAges.record(2, { at: 100, hasList: true });
    await store.live(100);
    expect(await store.has(dead)).toBe(true);
    await store.publish(); // Takes that number, and has no list.
    await store.live(100);
    expect(await store.has(dead)).toBe(true);
  });

  test('a compare-and-set that is lost leaves no list behind', async () => {
    const dead = object();
    const store = await oldStore(dead);
    const before = store.root;
    await store.publishList([...MANY, dead]);
    const winner = store.root;
    store.root = before; // Another run, that saw the same root.
    await expect(store.publishList(MANY)).rejects.toThrow('is current');
    store.root = winner;
    await store.live(100);
    expect(await store.has(dead)).toBe(true);
  });
});

describe('R42: a ledger that went lost', () => {
  test('lets nothing go before another grace period, and applies no list of before', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(29);
    await rm(join(store.folder, 'ledger'), { recursive: true });
    await store.live(60);
    expect(await store.has(dead)).toBe(true);
    await store.publishList(MANY);
    await store.live(30);
    expect(await store.has(dead)).toBe(true);
    await store.live(1);
    expect(await store.has(dead)).toBe(false);
  });

  test('spares what may have been put in its last days', async () => {
    const fresh = object();
    const store = await oldStore();
    await store.put(fresh);
    await rm(join(store.folder, 'ledger'), { recursive: true });
    await store.live(6);
    await store.publishList(MANY);
    await store.live(60);
    expect(await store.has(fresh)).toBe(true);
  });

  test.each(['state', 'clock', 'marks'])(
    'or was damaged in its %s, is named, and nothing goes',
    async (file) => {
      const dead = object();
      const store = await oldStore(dead);
      await store.publishList(MANY);
      await store.live(10);
      const path = join(store.folder, 'ledger', file === 'marks' ? join(file, dead.id.slice(0, 2)) : file);
      await rm(path);
      await writeFile(path, 'zz');
      const error = await rejection(store.live(100));
      expect([error.code, error.message]).toEqual([
        'store-damaged',
        expect.stringContaining('move the folder') as string,
      ]);
      expect(await store.has(dead)).toBe(true);
    },
  );

  test('or has one bit wrong by which a living object is long dead: that is named, and it stays', async () => {
    const [dead, living] = [object(), object()];
    const store = await oldStore(dead);
    await store.put(living);
    await store.publishList([...MANY, living]);
    await store.live(10);
    const path = join(store.folder, 'ledger/marks', living.id.slice(0, 2));
    const bytes = await readFile(path);
    const row = bytes.indexOf(Buffer.from(living.id, 'hex'));
    expect(row).toBeGreaterThanOrEqual(0);
    bytes[row + 39]! ^= 1; // Dead since the store began.
    await rm(path);
    await writeFile(path, bytes);
    expect((await rejection(store.live(100))).code).toBe('store-damaged');
    expect(await store.has(living)).toBe(true);
  });
});

describe('R42: old roots', () => {
  test('stay for the grace period after they were superseded, the newest for ever', async () => {
    const store = new AgeingStore();
    await store.put(object());
    for (let i = 0; i < 3; i++) await store.publish();
    await store.live(20);
    await store.publish();
    const numbers = () => store.open().roots.numbers();
    expect(await numbers()).toEqual([1, 2, 3, 4]);
    await store.live(11);
    expect(await numbers()).toEqual([3, 4]);
    await store.live(20);
    expect(await numbers()).toEqual([4]);
    await store.live(200);
    expect(await numbers()).toEqual([4]);
    expect(await store.open().currentRoot()).toEqual(store.root!.bytes);
    await store.publish();
    expect(await numbers()).toEqual([4, 5]);
  });

  test('of which one is made current again take back what died since', async () => {
    const [dead, later] = objects(2);
    const store = await oldStore(dead!);
    const before = store.root!;
    store.now += DAY;
    await store.publishList(MANY);
    await store.live(20);
    await store.put(later!);
    await store.publish();
    await store.open().restoreRoot(1);
    expect(await store.open().currentRoot()).toEqual(before.bytes);
    store.root = before;
    await store.live(100);
    for (const one of [...MANY, dead!, later!]) expect(await store.has(one)).toBe(true);
  });

  test('cannot be made current once they are gone, or if they never were', async () => {
    const store = new AgeingStore();
    await store.put(object());
    await store.publish();
    await store.publish();
    await store.live(40);
    for (const number of [1, 7])
      expect((await rejection(store.open().restoreRoot(number))).code).toBe('usage');
    await unlink(join(store.folder, rootName(2)));
    expect((await rejection(store.open().restoreRoot(2))).code).toBe('usage');
  });
});

describe('R42: a sweep', () => {
  test('goes on where it was stopped, and ends as one that was not', async () => {
    const dead = objects(4);
    const store = await oldStore(...dead);
    await store.publishList(MANY);
    for (let steps = 0; ; steps++) {
      let left = 40;
      const { finished } = await store.open().sweep({ stopped: () => --left < 0 });
      if (finished) break;
      expect(steps).toBeLessThan(40);
    }
    await store.live(29);
    let purged = 0;
    for (let steps = 0; ; steps++) {
      store.now += DAY / 100;
      let left = 3;
      purged += (await store.open().sweep({ stopped: () => --left < 0 })).removedObjects;
      if (purged === dead.length) break;
      expect(steps).toBeLessThan(400);
    }
    for (const one of MANY) expect(await store.has(one)).toBe(true);
  });

  test('comes further each time, however little time it has', async () => {
    const dead = objectsApart(4);
    const store = await oldStore(...dead);
    await store.publishList(MANY);
    const seen: string[] = [];
    const sweep = (stopped: () => boolean) =>
      store.open().sweep({ stopped, progress: (step, shards) => void seen.push(`${step} ${shards}`) });
    const steps = (step: string) => Array.from({ length: 256 }, (_, index) => `${step} ${index + 1}`);
    for (let i = 1; i <= 20; i++) {
      expect(await sweep(() => true)).toMatchObject({ finished: false });
      expect(seen).toEqual(steps('weigh').slice(0, i));
    }
    expect(await sweep(() => false)).toMatchObject({ finished: true });
    expect(seen).toEqual([...steps('weigh'), ...steps('mark')]);
    await store.live(29);
    store.now += 2 * DAY;
    for (let i = 0; i < dead.length; i++)
      expect(await sweep(() => true)).toMatchObject({ removedObjects: 1, finished: false });
    for (const one of dead) expect(await store.has(one)).toBe(false);
    for (const one of MANY) expect(await store.has(one)).toBe(true);
  });

  test('is done twice without harm', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(31);
    const names = await store.names();
    for (let i = 0; i < 3; i++) expect(await store.open().sweep()).toMatchObject({ removedObjects: 0 });
    expect(await store.names()).toEqual(names);
  });

  test('counts what a lock keeps as kept, and tries again after a later list and another grace period', async () => {
    const [locked, dead] = [object(), object()];
    const store = await oldStore(locked, dead);
    await store.publishList(MANY);
    await store.live(30);
    const locking = new DirectoryBackEnd(store.folder);
    const remove = locking.remove.bind(locking);
    const asked: StoreName[] = [];
    locking.remove = async (names) => {
      asked.push(...names);
      const kept = names.filter((name) => name === objectName(locked.id));
      return [...kept, ...(await remove(names.filter((name) => !kept.includes(name))))];
    };
    store.backEnd = locking;
    store.now += DAY;
    const before = (await store.open().ledger.readState()).counted;
    expect(await store.open().sweep()).toMatchObject({ removedObjects: 1, kept: 1, finished: true });
    expect((await store.open().ledger.readState()).counted?.objects).toBe(before!.objects - 1);
    expect([await store.has(locked), await store.has(dead)]).toEqual([true, false]);
    asked.length = 0;
    await store.live(10);
    expect(asked.filter((name) => name === objectName(locked.id))).toEqual([]); // Not at every turn.
    store.backEnd = undefined; // The lock is over.
    await store.publishList(MANY);
    await store.live(32);
    expect(await store.has(locked)).toBe(false);
  });

  test('that fails while it removes is repeated', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(30);
    const failing = new DirectoryBackEnd(store.folder);
    failing.remove = () => Promise.reject(new Error('the disk is gone'));
    store.backEnd = failing;
    store.now += DAY;
    await expect(store.open().sweep()).rejects.toThrow('the disk is gone');
    store.backEnd = undefined;
    expect(await store.has(dead)).toBe(true);
    await store.put(dead); // It was announced by a sweep that is dead: nobody waits for that one.
    await store.live(60);
    expect(await store.has(dead)).toBe(true);
  });

  test('never removes what is being put at the same instant', async () => {
    for (let round = 0; round < 4; round++) {
      const dead = objects(3);
      const store = await oldStoreIn(new AgeingStore({ grace: 24 * 3600 }), dead);
      await store.publishList(MANY);
      await store.live(1);
      store.now += DAY;
      const puts = dead.map(async (one, index) => {
        for (let i = 0; i < 3 * index * round; i++) await store.open().ledger.clock.age(); // Some later than others.
        await store.put(one);
      });
      await Promise.all([store.open().sweep(), ...puts]);
      for (const one of dead) expect(await store.has(one)).toBe(true); // It was acknowledged.
    }
  });

  test('waits with a put that comes between its look and its deed', async () => {
    const dead = object();
    const store = await oldStore(dead);
    await store.publishList(MANY);
    await store.live(30);
    store.now += DAY;
    const slow = new DirectoryBackEnd(store.folder);
    const remove = slow.remove.bind(slow);
    let putting: Promise<void> = Promise.resolve();
    let acknowledged = false;
    slow.remove = async (names) => {
      expect(names).toEqual([objectName(dead.id)]);
      putting = store.put(dead).then(() => {
        acknowledged = true;
      });
      for (let i = 0; i < 50; i++) await store.open().ledger.clock.age();
      expect(acknowledged).toBe(false);
      return remove(names);
    };
    const sweeper = store.open();
    store.backEnd = slow;
    await Promise.all([store.open().sweep(), sweeper.exists()]);
    await putting;
    expect(await store.has(dead)).toBe(true);
  });

  test(
    'R42: removes nothing that a root younger than the grace period needs, whatever comes',
    { timeout: 120_000 },
    async () => {
      const event = fc.oneof(
        { weight: 4, arbitrary: fc.record({ what: fc.constant('put' as const), which: fc.nat(19) }) },
        { weight: 2, arbitrary: fc.record({ what: fc.constant('list' as const), which: fc.nat(19) }) },
        { weight: 1, arbitrary: fc.record({ what: fc.constant('root' as const) }) },
        {
          weight: 5,
          arbitrary: fc.record({
            what: fc.constant('days' as const),
            which: fc.integer({ min: 1, max: 12 }),
          }),
        },
        {
          weight: 1,
          arbitrary: fc.record({
            what: fc.constant('jump' as const),
            which: fc.integer({ min: -400, max: 400 }),
          }),
        },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
          const store = new AgeingStore({ grace: 20 * 24 * 3600 });
          const all = objects(20);
          await store.put(...all);
          /** When each object was last needed by a root, or put: store-days. */
          const needed = new Map(all.map(({ id }) => [id, 0]));
          let alive = new Set(all.map(({ id }) => id));
          let day = 0;
          const touch = () => {
            for (const id of alive) needed.set(id, day);
          };
          for (const one of events) {
            if (one.what === 'days') {
              await store.live(one.which);
              day += one.which;
            } else if (one.what === 'jump') {
              store.now += one.which * DAY;
              await store.open().sweep();
              if (one.which > 0) day += 26 / 24;
            } else if (one.what === 'root') await store.publish();
            else {
              const some = all.slice(one.which);
              if (one.what === 'put') await store.put(...some);
              else {
                const kept = await Promise.all(
                  some.map(async (each) => ((await store.has(each)) ? [each] : [])),
                );
                await store.publishList(kept.flat());
                touch(); // Until this instant the root before it needed them.
                alive = new Set(kept.flat().map(({ id }) => id));
              }
              for (const { id } of one.what === 'put' ? some : []) {
                needed.set(id, day);
                alive.add(id);
              }
            }
            touch();
            const names = new Set(await store.names());
            for (const { id } of all) {
              const must = alive.has(id) || day - (needed.get(id) ?? 0) < 20;
              if (must) expect(names.has(id), `${objectName(id)} on day ${day}`).toBe(true);
            }
          }
        }),
        { numRuns: 12 },
      );
    },
  );
});
