/** R06, R41: what a run does about roots that others publish, or put in place of its own, before and while it works. */

import { cpSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Repository } from '../../dom0/repository/repository.ts';
import { BackupError } from '../../shared/errors.ts';
import { rejection } from '../support/failure.ts';
import { Machine, appendBlob, commitVolume, storeFolder, writerFor } from '../support/repository-bench.ts';
import { tempFolder } from '../support/temp.ts';

/** Publishes a root, by a snapshot of `vm`. */
async function backUp(repository: Repository, vm = 'work'): Promise<void> {
  const writer = await writerFor(repository, vm);
  const top = await appendBlob(writer, `tree of ${vm}`, 'tree');
  await commitVolume(writer, top, [top]);
}

/** Changes a root by nothing but its counter. */
const touch = (repository: Repository) => repository.publishRoot(() => Promise.resolve({}), 5_000);

/** A store with one root, two machines that know it, and a copy in which another history goes on. */
async function fork() {
  const [store, other] = [storeFolder(), storeFolder()];
  const [here, there] = [new Machine(store), new Machine(other)];
  const repository = await here.create();
  await here.storage.close();
  cpSync(store, other, { recursive: true });
  return { store, other, here, repository, forked: await there.open() };
}

/** Puts `replacement` in the place of `store`, or nothing. */
function replace(store: string, replacement?: string): void {
  rmSync(store, { recursive: true });
  if (replacement !== undefined) renameSync(replacement, store);
}

describe('a store that goes on with another history', () => {
  it.each([
    ['as many roots, before a secret is asked for', 1],
    ['more roots', 2],
  ])('is refused by a machine that knows the first, after %s', async (_title, roots) => {
    const { store, other, here, repository, forked } = await fork();
    await backUp(repository);
    for (let i = 0; i < roots; i++) await backUp(forked, 'vault');
    await here.storage.close();
    replace(store, other);
    const pinned = here.pin.read();
    if (roots === 1)
      here.secret = () => {
        throw new Error('a secret was asked for');
      };
    expect((await rejection(here.open())).code).toBe('store-forked');
    expect(here.pin.read()).toEqual(pinned);
  });

  it('is refused by a run that began on the first, and what the run publishes is nowhere', async () => {
    const { store, other, here, repository, forked } = await fork();
    await backUp(repository);
    await backUp(forked, 'vault');
    await here.storage.close();
    replace(store, other);
    expect((await rejection(backUp(repository))).code).toBe('store-forked');
    expect((await new Machine(store).open()).root.hash).toBe(forked.root.hash);
  });
});

describe('a store that is exchanged while a run works', () => {
  it('by nothing is missing', async () => {
    const { store, here, repository } = await fork();
    await here.storage.close();
    replace(store);
    expect((await rejection(touch(repository))).code).toBe('store-missing');
  });

  it('by another repository is replaced, whatever it says of the run’s root', async () => {
    const { here, repository } = await fork();
    const foreign = new Machine(storeFolder());
    await foreign.create();
    here.storage.setRoot = () => Promise.reject(new BackupError('store-conflict', 'another was published'));
    here.storage.root = () => foreign.storage.root();
    expect((await rejection(touch(repository))).code).toBe('store-replaced');
  });
});

describe('a root that another run publishes first', () => {
  it('R41: is not overwritten by a change of the key slots or the live list', async () => {
    const store = storeFolder();
    const here = await new Machine(store).create();
    const there = await new Machine(store).open();
    await backUp(there);
    const lost = await rejection(touch(here));
    expect([lost.code, lost.message]).toEqual([
      'store-conflict',
      'another run published a root meanwhile: nothing was changed, start again',
    ]);
    expect(here.root.hash).toBe(there.root.hash); // It goes on from there, if it is asked to.
    await touch(here);
    expect((await new Machine(store).open()).root.body.counter).toBe(3);
  });

  it('R41: again and again, of other VMs, ends a backup after some tries', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const other = await new Machine(store).open();
    const writer = await writerFor(repository);
    const top = await appendBlob(writer, 'tree', 'tree');
    const setRoot = machine.storage.setRoot.bind(machine.storage);
    let tries = 0;
    machine.storage.setRoot = async (root, current) => {
      tries += 1;
      await backUp(other, `vm-${tries}`);
      return setRoot(root, current);
    };
    const error = await rejection(commitVolume(writer, top, [top]));
    expect([error.code, tries]).toEqual(['store-conflict', 5]);
    expect(error.message).toContain('try again later');
    expect((await new Machine(store).open()).vms).toHaveLength(5); // Theirs.
  });
});

describe('a root that a dead run was about to publish', () => {
  it('is not sent by a machine that has lost its pin: nothing vouches for what it follows', async () => {
    const [store, state] = [storeFolder(), tempFolder()];
    const machine = new Machine(store, state);
    const repository = await machine.create();
    const setRoot = machine.storage.setRoot.bind(machine.storage);
    machine.storage.setRoot = () => Promise.reject(new Error('the power went'));
    await expect(backUp(repository)).rejects.toThrow('the power went');
    machine.storage.setRoot = setRoot;
    rmSync(join(state, 'pins/pin.json'));
    expect((await machine.open()).root.body.counter).toBe(1);
    expect(machine.firstUses).toHaveLength(1);
    // Its counter is not signed twice all the same.
    expect(machine.pin.read()).toMatchObject({ counter: 1, highestCounter: 2 });
  });
});
