/**
 * What the attacks start from: a home with two VMs and three snapshots, something new to back up, and what an attacker
 * may have kept or made: older roots, forks, other stores, and recordings of honest conversations.
 */

import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { decodeRoot } from '../../shared/root.ts';
import { namesOf, storeIn } from '../storagevm/stores.ts';
import { TestRepository, rootFields } from '../storagevm/fixtures.ts';
import { Home } from '../support/home.ts';
import { runInProcess } from '../support/in-process.ts';

/** Roots that a store may offer instead of its own. */
export interface Roots {
  /** After the first snapshot. */
  readonly old: Uint8Array;
  /** Signed by the right key with the number that is pinned, and with higher ones: from a copy of dom0's state. */
  readonly forkedSame: Uint8Array;
  readonly forkedHigher: Uint8Array;
  /** Of another repository. */
  readonly other: Uint8Array;
  /** Of an attacker's own making, properly signed, with these slots, whatever they are. */
  readonly slots: (slots: readonly unknown[]) => Uint8Array;
  /** The current one's successor as far as anybody can tell, but signed by a key of the attacker's own. */
  readonly rekeyed: Uint8Array;
  /** The same, with a forged entry by which the right key seems to hand over. */
  readonly handedOver: Uint8Array;
  /** The current one. */
  readonly current: Uint8Array;
}

export interface World {
  readonly home: Home;
  readonly roots: Roots;
  /** The catalog of the root before, sealed as the present one is. */
  readonly olderCatalog: Uint8Array;
  /** The bytes of an object of another store. */
  readonly otherObject: Uint8Array;
  /** The largest object of the store itself, and the smallest. */
  readonly objects: readonly Uint8Array[];
}

/** Builds it in `folder`. */
export async function makeWorld(folder: string): Promise<World> {
  const home = await newHome(join(folder, 'home'));
  home.configure('[vm.work]', 'drill_command = ["true"]');
  for (let i = 0; i < 12; i++) home.write('work', `file-${i}`, contentOf(`work ${i}`, 40));
  mkdirSync(join(home.volume('work'), 'folder'));
  home.write('work', 'folder/inside', 'inside');
  symlinkSync('file-0', join(home.volume('work'), 'link'));
  for (let i = 0; i < 3; i++) home.write('vault', `secret-${i}`, contentOf(`vault ${i}`, 20));
  for (const vm of ['work', 'vault']) await run(home, vm);
  const old = await rootOf(home);
  const fork = new Home({ folder: join(folder, 'fork'), existing: true });
  cpSync(home.folder, fork.folder, { recursive: true, preserveTimestamps: true });
  const forked: Uint8Array[] = [];
  for (let i = 0; i < 2; i++) {
    fork.write('work', 'file-0', `another history ${i}`);
    await run(fork, 'work');
    forked.push(await rootOf(fork));
  }
  home.write('work', 'file-0', contentOf('work 0, changed', 40));
  await run(home, 'work');
  const current = await rootOf(home);
  home.write('work', 'file-new', contentOf('something new to store', 40));
  // A store that forks history serves what the fork refers to.
  cpSync(join(fork.store, 'objects'), join(home.store, 'objects'), { recursive: true, force: false });
  const other = await newHome(join(folder, 'other'));
  other.write('work', 'file-0', contentOf('work 0', 40));
  await run(other, 'work');
  const attacker = new TestRepository();
  const objects = await objectsOf(home);
  const older = decodeRoot(old).body.catalog;
  return {
    home,
    roots: {
      old,
      forkedSame: forked[0] ?? old,
      forkedHigher: forked[1] ?? old,
      other: await rootOf(other),
      ...rekeyed(attacker, current),
      slots: (slots) => attacker.forge({ slots }),
      current,
    },
    otherObject: (await objectsOf(other))[0] ?? current,
    olderCatalog: objects.find((bytes) => objectIdOf(bytes) === older) ?? current,
    objects,
  };
}

/** What `attacker` makes of the root `current`: everything in it is public but the key that signs. */
function rekeyed(attacker: TestRepository, current: Uint8Array): Pick<Roots, 'rekeyed' | 'handedOver'> {
  const fields = rootFields(current);
  const { body, hash } = decodeRoot(current);
  const counter = body.counter + 1;
  const changed = { ...fields, counter, publicKey: attacker.publicKey };
  const previous = Buffer.from(hash, 'hex');
  const entry = { counter, previous, publicKey: body.publicKey, signature: new Uint8Array(64) };
  return {
    rekeyed: attacker.forge(changed),
    handedOver: attacker.forge({ ...changed, previous, rotations: [entry] }),
  };
}

async function newHome(folder: string): Promise<Home> {
  mkdirSync(folder);
  const home = new Home({ folder });
  for (const [index, vm] of ['work', 'vault'].entries()) {
    const uuid = `00000000-0000-4000-8000-00000000000${index + 1}`;
    writeFileSync(join(home.volume(vm), '../vm.json'), JSON.stringify({ uuid }));
  }
  createKeyFile(home.keyFile).bytes.fill(0);
  await runInProcess(home, (app) => init(app, () => app.secrets()));
  return home;
}

async function run(home: Home, vm: string): Promise<void> {
  await runInProcess(home, (app) => backup(app, [vm]));
}

async function rootOf(home: Home): Promise<Uint8Array> {
  const root = await storeIn(home.store).currentRoot();
  if (root === undefined) throw new Error('a store without a root');
  return root;
}

async function objectsOf(home: Home): Promise<Uint8Array[]> {
  const names = await namesOf(storeIn(home.store));
  const objects = names.map((id) => readFileSync(join(home.store, 'objects', id.slice(0, 2), id)));
  return objects.sort((a, b) => a.length - b.length);
}

/** Some kilobytes that look random and are the same each time. */
function contentOf(seed: string, times: number): string {
  return createHash('sha512').update(seed).digest('hex').repeat(times);
}
