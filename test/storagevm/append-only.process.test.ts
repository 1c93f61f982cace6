/**
 * R42: whoever has dom0's keys and calls the four services for a day cannot destroy what was there yesterday before the grace
 * period is over. The attacker signs any root, publishes any list, and puts whatever they like, by the services' own processes.
 */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { equalBytes } from '../../shared/bytes.ts';
import { setRoot } from '../../shared/protocol/storage.ts';
import type { Root, RootBody } from '../../shared/root.ts';
import { AgeingStore, listOf } from './ageing-store.ts';
import { Caller, getAll, publishRoot, putAll } from './caller.ts';
import { object, objects } from './fixtures.ts';
import type { TestObject, TestRepository } from './fixtures.ts';

/** Somebody with the keys of `repository`, and nothing of the storage VM but its services. */
class Attacker {
  readonly #home: string;
  readonly #repository: TestRepository;
  #root: Root;

  constructor(home: string, repository: TestRepository, root: Root) {
    this.#home = home;
    this.#repository = repository;
    this.#root = root;
  }

  /** Publishes a root, whatever it says; answers whether it was taken. */
  async publish(changes: Partial<RootBody>): Promise<boolean> {
    const root = this.#repository.root(this.#root, changes);
    const answer = await publishRoot(this.#home, root, this.#root.hash).catch(() => 'refused');
    if (answer === 'done') this.#root = root;
    return answer === 'done';
  }

  /** Publishes a list of nothing but `live`. */
  async publishList(live: readonly TestObject[]): Promise<boolean> {
    const { objects: own, changes } = listOf(live);
    await putAll(this.#home, own);
    return this.publish(changes);
  }
}

/** A store with yesterday's objects, and the attacker who comes today. */
async function besieged() {
  const store = new AgeingStore({}, 'qubes-backup');
  const home = join(store.folder, '..');
  store.now = Date.now() - 20 * 24 * 3600_000;
  const yesterday = objects(40, 20_000);
  await store.put(...yesterday);
  const good = await store.publish();
  await store.live(19);
  return { store, home, yesterday, good, attacker: new Attacker(home, store.repository, good) };
}

test('R42: an attacker with dom0’s keys takes nothing of yesterday before the grace period ends', async () => {
  const { store, home, yesterday, good, attacker } = await besieged();
  for (let kept = 36; kept >= 0; kept -= 4)
    expect(await attacker.publishList(yesterday.slice(0, kept))).toBe(true); // Slice by slice, to nothing.
  expect(await attacker.publishList([object()])).toBe(false); // It names what is absent.
  expect(await attacker.publish({ counter: good.body.counter + 2 ** 17 })).toBe(false); // To exhaust the counter.
  expect(await attacker.publish({ counter: good.body.counter })).toBe(false);
  await putAll(home, objects(30, 100_000)); // To make yesterday's a smaller share.
  for (let i = 0; i < 3; i++) expect(await attacker.publishList([])).toBe(true);
  const silent = new Caller(home, setRoot); // And one that never ends its sessions.
  silent.child.kill('SIGKILL');

  store.now = Date.now();
  await store.live(28);
  const found = await getAll(
    home,
    yesterday.map(({ id }) => id),
  );
  expect(
    found.map((bytes, index) => bytes !== undefined && equalBytes(yesterday[index]!.bytes, bytes)),
  ).not.toContain(false);
  await store.open().restoreRoot(1);
  expect(await store.open().currentRoot()).toEqual(good.bytes);
  await store.live(100);
  for (const one of yesterday) expect(await store.has(one)).toBe(true);
});

test('R42: who does not look for longer than that loses what was declared dead, a quarter of it at most each day', async () => {
  const { store, yesterday, attacker } = await besieged();
  for (let kept = 36; kept >= 0; kept -= 4) await attacker.publishList(yesterday.slice(0, kept));
  store.now = Date.now();
  await store.live(60);
  const left = await Promise.all(yesterday.map((one) => store.has(one)));
  expect(left.filter(Boolean).length).toBeGreaterThanOrEqual(28);
  expect(left.filter(Boolean).length).toBeLessThan(40); // So the rules are at work in this test.
});
