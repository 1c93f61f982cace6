import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Secret } from '../../dom0/keys/secret.ts';
import { createSlot } from '../../dom0/keys/slots.ts';
import { publishLiveList } from '../../dom0/repository/live-objects.ts';
import { rekey } from '../../dom0/repository/rekey.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import type { VmHistory } from '../../dom0/repository/vm-history.ts';
import { fingerprint } from '../../dom0/words.ts';
import type { ObjectId, VmId } from '../../shared/ids.ts';
import { decodeLivePart, livePrefix } from '../../shared/live-list.ts';
import { decodeRoot } from '../../shared/root.ts';
import { rejection } from '../support/failure.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';
import { tempFolder } from '../support/temp.ts';

const NOBODY: ReadonlySet<VmId> = new Set();

/** A snapshot of one content blob and one tree blob. */
async function backUp(repository: Repository, text: string, vm = 'work') {
  const writer = await writerFor(repository, vm);
  const content = await appendBlob(writer, text);
  const top = await appendBlob(writer, `tree of ${text}`, 'tree');
  await commitVolume(writer, top, [content, top]);
  return content;
}

/** The text of a blob, from the store and not from a cache. */
async function textOf(repository: Repository, number: number, vm = 'work'): Promise<string> {
  const history = await historyFor(repository, vm);
  const row = (await history.table.row(number))!;
  const sealer = history.sealer(row.kind, number, row.epoch);
  return Buffer.from(await repository.store.getFromStorage(sealer, row.id, 'a blob')).toString();
}

const epochs = ({ record }: VmHistory) => record.keys.map(({ epoch }) => epoch);

function rotate(machine: Machine, repository: Repository, forget = NOBODY, secret = machine.secret) {
  return rekey(
    repository,
    async (keyring) => [await createSlot(keyring, secret(), 'key file')],
    forget,
    2_000,
  );
}

const otherSecret = (): Secret => ({ kind: 'keyFile', bytes: new Uint8Array(32).fill(9) });

describe('R52: rotation', () => {
  it('replaces every key, and what was stored before is still there', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const before = await backUp(repository, 'before');
    const old = { key: repository.keyring.publicKey, body: repository.root.body };
    await rotate(machine, repository);
    const after = await backUp(repository, 'after');
    expect(Buffer.compare(repository.keyring.publicKey, old.key)).not.toBe(0);
    for (const opened of [repository, await machine.open(), await new Machine(store).open()]) {
      const history = await historyFor(opened);
      expect(epochs(history)).toEqual([1, 2]);
      expect(await history.table.row(before)).toMatchObject({ epoch: 1 });
      expect(await history.table.row(after)).toMatchObject({ epoch: 2 });
      expect(await textOf(opened, before)).toBe('before');
      expect(await textOf(opened, after)).toBe('after');
      expect(opened.root.body.rotations).toHaveLength(1);
      expect((await opened.earlierRoots()).map(({ counter }) => counter)).toEqual([1, 2, 3]);
    }
  });

  it('leaves nothing of the new state to the old keys', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await backUp(repository, 'before');
    await rotate(machine, repository, NOBODY, otherSecret);
    expect((await rejection(machine.open())).code).toBe('wrong-secret');
    machine.secret = otherSecret;
    expect((await machine.open()).vms).toHaveLength(1);
  });

  it('is followed by a machine that last saw the old key, and by none that saw another', async () => {
    const store = storeFolder();
    const here = new Machine(store);
    const repository = await here.create();
    const there = new Machine(store);
    await there.open();
    await rotate(here, repository);
    await backUp(repository, 'after');
    await rotate(here, repository);
    expect((await there.open()).root.hash).toBe(repository.root.hash);
    expect(there.pin.read()?.counter).toBe(4);
    const stranger = new Machine(storeFolder(), tempFolder());
    await stranger.create();
    stranger.storage.root = () => here.storage.root();
    expect((await rejection(stranger.open())).code).toBe('store-replaced');
  });

  it('R06: does not hide that the store went back to before it', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await backUp(repository, 'one');
    const old = (await machine.storage.root())!;
    await rotate(machine, repository);
    machine.storage.root = () => Promise.resolve(old);
    expect((await rejection(machine.open())).code).toBe('store-rolled-back');
  });

  it('stops a run that still has the old keys, and loses nothing of it that was published', async () => {
    const store = storeFolder();
    const here = await new Machine(store).create();
    const machine = new Machine(store);
    const there = await machine.open();
    const writer = await writerFor(here);
    const top = await appendBlob(writer, 'tree', 'tree');
    await backUp(there, 'theirs');
    await rotate(machine, there);
    const error = await rejection(commitVolume(writer, top, [top]));
    expect(error.code).toBe('store-conflict');
    expect(error.message).toContain('rotated');
    expect((await new Machine(store).open()).root.hash).toBe(there.root.hash);
  });

  it('loses against a root that was published meanwhile, and changes nothing', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const other = await new Machine(store).open();
    await backUp(other, 'theirs');
    expect((await rejection(rotate(machine, repository))).code).toBe('store-conflict');
    const opened = await machine.open();
    expect(opened.root.hash).toBe(other.root.hash);
    expect(opened.root.body.rotations).toEqual([]);
  });

  it('is refused without a slot', async () => {
    const machine = new Machine(storeFolder());
    const repository = await machine.create();
    const error = await rejection(rekey(repository, () => Promise.resolve([]), NOBODY, 1));
    expect(error.code).toBe('usage');
    expect((await machine.open()).root.body.counter).toBe(1);
  });

  it('R50: died before its root was sent, it is finished or undone by the next run, never both', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await backUp(repository, 'one');
    const setRoot = machine.storage.setRoot.bind(machine.storage);
    machine.storage.setRoot = () => Promise.reject(new Error('the power went'));
    await expect(rotate(machine, repository)).rejects.toThrow('the power went');
    machine.storage.setRoot = setRoot;
    const opened = await machine.open(); // The very bytes that were signed are sent again.
    expect(opened.root.body.rotations).toHaveLength(1);
    await backUp(opened, 'two');
    expect((await historyFor(await new Machine(store).open())).record.keys).toHaveLength(2);
  });

  it('keeps only the newest rotations; a machine older than those asks a person', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const old = new Machine(store);
    await old.open();
    for (let i = 0; i < 33; i++) await rotate(machine, repository);
    expect(repository.root.body.rotations).toHaveLength(32);
    expect((await rejection(old.open())).code).toBe('store-replaced');
    expect((await old.open(fingerprint(repository.root.hash))).root.hash).toBe(repository.root.hash);
  }, 60_000);
});

describe('R12: forgetting a VM for ever', () => {
  /** Everything the live list of the newest root names. */
  async function listed(machine: Machine): Promise<Set<bigint>> {
    const { live } = decodeRoot((await machine.storage.root())!).body;
    const prefixes = new Set<bigint>();
    for (const part of live!) {
      const bytes = (await machine.storage.get(part))!;
      for (const prefix of decodeLivePart(bytes, -1n)) prefixes.add(prefix);
    }
    return prefixes;
  }

  async function objectsOf(repository: Repository, vm: string): Promise<ObjectId[]> {
    const history = await historyFor(repository, vm);
    const ids: ObjectId[] = [];
    for await (const { id } of history.recordObjects()) ids.push(id);
    for (let number = 0; number < history.record.nextNumber; number++) {
      const row = await history.table.row(number);
      if (row !== undefined) ids.push(row.id);
    }
    return ids;
  }

  it('takes its record, key and objects out of the newest state, and keeps the others whole', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await backUp(repository, 'theirs', 'vault');
    const content = await backUp(repository, 'ours', 'work');
    await backUp(repository, 'ours again', 'work');
    const [gone, kept] = [await objectsOf(repository, 'vault'), await objectsOf(repository, 'work')];
    const forgotten = repository.vms.find(({ name }) => name === 'vault')!;
    await rotate(machine, repository, new Set([forgotten.id]));
    await publishLiveList(repository, 3_000);
    const opened = await new Machine(store).open();
    expect(opened.vms.map(({ name }) => name)).toEqual(['work']);
    expect(opened.catalog.forgotten).toEqual([forgotten.id]);
    const live = await listed(machine);
    for (const id of kept) expect(live.has(livePrefix(id))).toBe(true);
    for (const id of gone) expect(live.has(livePrefix(id))).toBe(false);
    // A store that dropped all that is not listed still restores what is left.
    const swept = `${store}-swept`;
    cpSync(store, swept, { recursive: true });
    const { body } = opened.root;
    const named = new Set<string>([body.catalog, ...(body.live ?? [])]);
    for (const shard of readdirSync(join(swept, 'objects')))
      for (const id of readdirSync(join(swept, 'objects', shard)))
        if (!live.has(livePrefix(id as ObjectId)) && !named.has(id))
          rmSync(join(swept, 'objects', shard, id));
    const rest = await new Machine(swept).open();
    expect(await textOf(rest, content)).toBe('ours');
    for (const id of gone) expect(existsSync(join(swept, 'objects', id.slice(0, 2), id))).toBe(false);
    await backUp(rest, 'and on', 'work');
  });

  it('is remembered: a machine that knew the VM does not miss it', async () => {
    const store = storeFolder();
    const here = new Machine(store);
    const repository = await here.create();
    await backUp(repository, 'theirs', 'vault');
    const there = new Machine(store);
    await there.open();
    await rotate(here, repository, new Set(repository.vms.map(({ id }) => id)));
    expect((await there.open()).vms).toEqual([]);
  });
});

describe('what this machine has seen', () => {
  it('R05: a VM that is no longer listed is an error, not a silence', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    await backUp(repository, 'theirs', 'vault');
    // Another dom0 that holds the keys publishes a catalog without the VM and does not say so.
    const other = new Machine(store);
    const faulty = await other.open();
    Object.defineProperty(faulty, 'catalog', { value: { ...faulty.catalog, vms: [] } });
    await rekey(faulty, async (next) => [await createSlot(next, other.secret(), 'key file')], NOBODY, 2_000);
    const error = await rejection(machine.open());
    expect(error.code).toBe('vm-missing');
    expect(error.message).toContain('vault');
    const words = fingerprint(decodeRoot((await machine.storage.root())!).hash);
    expect((await machine.open(words)).vms).toEqual([]);
    expect((await machine.open()).vms).toEqual([]);
  });

  it('R06: a machine that has seen nothing is told which root it is offered', async () => {
    const store = storeFolder();
    const here = new Machine(store);
    const repository = await here.create();
    await backUp(repository, 'one');
    await here.open();
    expect(here.firstUses).toEqual([]);
    const there = new Machine(store);
    await there.open();
    expect(there.firstUses).toEqual([repository.root.hash]);
    await there.open();
    expect(there.firstUses).toHaveLength(1);
  });

  it('R06: a noted root is the offered one or before it', async () => {
    const store = storeFolder();
    const machine = new Machine(store);
    const repository = await machine.create();
    const first = fingerprint(repository.root.hash);
    const old = (await machine.storage.root())!;
    await backUp(repository, 'one');
    const second = fingerprint(repository.root.hash);
    for (const noted of [first, second])
      expect((await new Machine(store).open(undefined, noted)).root.hash).toBe(repository.root.hash);
    const cheated = new Machine(store);
    cheated.storage.root = () => Promise.resolve(old);
    expect((await rejection(cheated.open(undefined, second))).code).toBe('store-rolled-back');
    expect(cheated.pin.read()).toBeUndefined(); // Nothing of it was believed.
    const other = fingerprint(Buffer.from(randomBytes(32)).toString('hex') as never);
    expect((await rejection(new Machine(store).open(undefined, other))).code).toBe('store-rolled-back');
  });
});
