/** R44: several stores as one. dom0's real code over the storage VM's real services, each in the test's own process. */

import { cpSync, existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { syncStore } from '../../dom0/repository/sync.ts';
import type { Synced } from '../../dom0/repository/sync.ts';
import { lackingStores } from '../../dom0/storage/quorum.ts';
import { fingerprint } from '../../dom0/words.ts';
import { BackupError } from '../../shared/errors.ts';
import { NO_ROOT, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import { decodeRoot } from '../../shared/root.ts';
import { Ledger } from '../../storagevm/ledger/ledger.ts';
import { TestRepository } from '../storagevm/fixtures.ts';
import { rejection } from '../support/failure.ts';
import { callStorageHere } from '../support/here.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';
import { tempFolder } from '../support/temp.ts';

const NAMES = ['vault', 'vault2', 'vault3'];

/** Three stores and a machine that uses them. */
class Bench {
  readonly folders = NAMES.map(() => storeFolder());
  readonly state = tempFolder();
  machine = this.fresh();

  /** The same machine, in a new run. */
  fresh(removable: readonly string[] = []): Machine {
    this.machine = new Machine(this.folders, this.state, removable);
    return this.machine;
  }

  /** A new repository in all three, and a first backup. */
  static async make(): Promise<{ bench: Bench; repository: Repository }> {
    const bench = new Bench();
    const repository = await bench.machine.create();
    for (const store of bench.machine.stores.all)
      if (!store.inStep) await syncStore(repository, store, quiet);
    await backUp(repository, 'one');
    return { bench, repository };
  }

  standings(): string[] {
    return this.machine.stores.all.map(({ standing }) =>
      standing.is === 'behind' ? `behind ${standing.roots}` : standing.is,
    );
  }

  folder(index: number): string {
    return this.folders[index]!;
  }

  /** Remembers store `index` as it is; the answer puts it back. */
  remember(index: number): () => void {
    const copy = join(tempFolder(), 'copy');
    cpSync(this.folder(index), copy, { recursive: true });
    return () => {
      rmSync(this.folder(index), { recursive: true });
      cpSync(copy, this.folder(index), { recursive: true });
    };
  }

  /** Takes the medium of store `index` away; the answer puts it back. */
  takeAway(index: number): () => void {
    const folder = dirname(this.folder(index));
    const elsewhere = join(tempFolder(), 'away');
    renameSync(folder, elsewhere);
    return () => renameSync(elsewhere, folder);
  }
}

const quiet = { progress: () => undefined, lost: () => undefined };

async function backUp(repository: Repository, text: string): Promise<void> {
  const writer = await writerFor(repository);
  const content = await appendBlob(writer, text);
  const top = await appendBlob(writer, `tree of ${text}`, 'tree');
  await commitVolume(writer, top, [...writer.baseLive, content, top]);
}

/** What blob `number` says, as an open repository reads it. */
async function blob(repository: Repository, number: number): Promise<string> {
  const history = await historyFor(repository);
  const row = (await history.table.row(number))!;
  const sealer = history.sealer(row.kind, number, row.epoch);
  return Buffer.from(await repository.store.getFromStorage(sealer, row.id, 'blob')).toString();
}

function objectsOf(folder: string): string[] {
  const found = readdirSync(join(folder, 'objects'), { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

const namesOf = (folder: string) =>
  objectsOf(folder)
    .map((file) => file.slice(-64))
    .sort();

function corrupt(file: string): void {
  const bytes = readFileSync(file);
  bytes[100] = bytes[100]! ^ 1;
  rmSync(file);
  writeFileSync(file, bytes);
}

/** A call that breaks down: `when` is asked at each write of dom0's. */
function dying(call: ServiceCall, when: () => boolean): ServiceCall {
  const write = (pieces: readonly Uint8Array[]) => {
    if (when()) call.kill();
    return call.io.write(pieces);
  };
  return { ...call, io: { read: (target) => call.io.read(target), write } };
}

describe('R44: writing', () => {
  it('goes to all stores, which are then the same', async () => {
    const { bench, repository } = await Bench.make();
    const [first, ...others] = bench.folders.map(namesOf);
    expect(first!.length).toBeGreaterThan(5);
    for (const other of others) expect(other).toEqual(first);
    for (const { client } of bench.machine.stores.all)
      expect(decodeRoot((await client.root())!).hash).toBe(repository.root.hash);
    await bench.machine.stores.close();
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    expect(bench.machine.said).toEqual([]);
  });

  it('tells once a run that a live list waits for the owner of a store, and every run until it does not', async () => {
    const { bench, repository } = await Bench.make();
    const ledger = new Ledger(join(bench.folder(1), 'ledger'));
    const state = await ledger.readState();
    await ledger.writeState({ ...state, waiting: { root: 1, deadBytes: 3 << 20, bytes: 4 << 20 } });
    await backUp(repository, 'two');
    await backUp(repository, 'three');
    expect(bench.machine.said).toEqual([
      expect.stringMatching(
        /^warning: store vault2: 3.00 MiB of 4.00 MiB are needed no more .*"qubes-backup-storage status" there/,
      ),
    ]);
    await bench.machine.stores.close();
    const again = await bench.fresh().open();
    const waits = () => bench.machine.said.filter((text) => text.includes('waits for its owner'));
    expect(waits()).toEqual([expect.stringContaining('note: store vault2 ')]);
    await ledger.writeState({ ...(await ledger.readState()), waiting: null });
    await backUp(again, 'four');
    bench.machine.said.length = 0;
    bench.machine.stores.report();
    expect(waits()).toEqual([]);
    await bench.machine.stores.close();
  });

  it.each(['dies', 'is full', 'stalls'])(
    'goes on without a store that %s, of which is told once',
    async (how) => {
      const { bench, repository } = await Bench.make();
      await bench.machine.stores.abort();
      let left = 3;
      bench.machine.wrap = (call, store, service) => {
        if (store !== 'vault2' || service !== put.service) return call;
        if (how === 'dies') return dying(call, () => left-- === 0);
        if (how === 'is full')
          return {
            ...call,
            io: { ...call.io, read: () => Promise.reject(new BackupError('store-full', 'has no room left')) },
          };
        return {
          ...call,
          idleTimeout: 100,
          io: { read: () => new Promise(() => undefined), write: () => Promise.resolve() },
        };
      };
      await backUp(repository, 'two');
      await backUp(repository, 'three');
      expect(bench.standings()).toEqual(['in-step', 'failed', 'in-step']);
      expect(bench.machine.said).toHaveLength(1);
      expect(bench.machine.said[0]).toMatch(
        /^remark: store vault2 failed, and is left out of the rest of this run: /,
      );
      expect(lackingStores(bench.machine.stores.all, 'all')).toMatch(
        /^only 2 of 3 stores have it all, 3 are wanted \(quorum\): vault2 failed: .*"qubes-backup storage sync"$/,
      );
      expect(lackingStores(bench.machine.stores.all, 2)).toBeUndefined();
      expect(lackingStores(bench.machine.stores.all, 3)).toBeDefined();
      await bench.machine.stores.abort();
      const again = await bench.fresh().open();
      expect(bench.standings()).toEqual(['in-step', 'behind 2', 'in-step']);
      expect(bench.machine.said).toEqual(['note: store vault2 is behind by 2 roots']);
      expect(await blob(again, 4)).toBe('three');
    },
  );

  it('ends where the primary fails, and leaves the others as they were', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.abort();
    let broken = true;
    bench.machine.wrap = (call, store, service) =>
      store === 'vault' && service === put.service && broken ? dying(call, () => true) : call;
    expect((await rejection(backUp(repository, 'two'))).code).toBe('service-died');
    await bench.machine.stores.abort();
    broken = false;
    await backUp(repository, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });

  it('is refused at once where the primary is absent, before a secret is asked for; reading is not', async () => {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(0);
    const machine = bench.fresh();
    machine.publishes = true;
    machine.secret = () => expect.unreachable('asked for a secret');
    const { code, message } = await rejection(machine.open());
    expect(code).toBe('store-missing');
    expect(message).toMatch(/^the primary store vault is absent: .*"qubes-backup storage primary NAME"$/);
    const repository = await bench.fresh().open();
    expect(await blob(repository, 0)).toBe('one');
    expect(bench.machine.said).toEqual([expect.stringMatching(/^remark: store vault is absent: /)]);
    expect((await rejection(backUp(repository, 'two'))).message).toContain(
      'the primary store vault is absent',
    );
    bringBack();
  });

  it('says of a lost race at another store that it was lost there, and of none at the primary', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.abort();
    bench.machine.wrap = (call, store, service) =>
      store === 'vault3' && service === setRoot.service ? dying(call, () => true) : call;
    await backUp(repository, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'failed']);
  });

  it('needs the primary that was chosen, in whatever order the stores are named', async () => {
    const { bench } = await Bench.make();
    bench.folders.reverse(); // The names stay, so that "vault" is another store now.
    const machine = bench.fresh();
    machine.publishes = true;
    await machine.open();
    expect(machine.stores.primary.name).toBe('vault');
    writeFileSync(join(bench.state, 'pins/primary.json'), '{"primary":"gone"}');
    const { code, message } = await rejection(Object.assign(bench.fresh(), { publishes: true }).open());
    expect([code, message]).toEqual([
      'usage',
      expect.stringContaining('is gone, which is not configured any more'),
    ]);
    await bench.fresh().open();
    expect(readFileSync(join(bench.state, 'pins/primary.json'), 'latin1')).toBe('{"primary":"gone"}');
  });
});

describe('R44: what is wrong with a store is named, and the others go on', () => {
  it('rolled back', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = bench.remember(1);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    putBack();
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'rolled-back', 'in-step']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(
        /^warning: store vault2 was rolled back: vault2 offers root 2, older than root 3 /,
      ),
    ]);
    expect(await blob(again, 2)).toBe('two');
    // It is not forgotten by being seen so.
    await bench.fresh().open();
    expect(bench.standings()[1]).toBe('rolled-back');
    await syncStore(await bench.fresh().open(), bench.machine.stores.named('vault2'), quiet);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });

  it('rolled back as the primary: nothing is written, and the others have all', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = bench.remember(0);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    putBack();
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['rolled-back', 'in-step', 'in-step']);
    expect(await blob(again, 2)).toBe('two');
    const { code, message } = await rejection(Object.assign(bench.fresh(), { publishes: true }).open());
    expect(code).toBe('store-rolled-back');
    expect(message).toContain('run "qubes-backup storage sync vault" first');
    await syncStore(await bench.fresh().open(), bench.machine.stores.primary, quiet);
    await backUp(await Object.assign(bench.fresh(), { publishes: true }).open(), 'three');
    expect(namesOf(bench.folder(0))).toEqual(expect.arrayContaining(namesOf(bench.folder(1))));
  });

  it('of another history: never merged, whichever is newer', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    // The same repository goes on elsewhere, from a copy of store 3 and of this machine.
    const elsewhere = [storeFolder()];
    cpSync(bench.folder(2), elsewhere[0]!, { recursive: true });
    const other = await new Machine(elsewhere).open();
    for (const text of ['else', 'where']) await backUp(other, text);
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    rmSync(bench.folder(2), { recursive: true });
    cpSync(elsewhere[0]!, bench.folder(2), { recursive: true });
    const again = await bench.fresh().open();
    expect(again.root.hash).toBe(repository.root.hash);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'forked']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(/^warning: store vault3 has another history: /),
    ]);
    const before = namesOf(bench.folder(2));
    await backUp(again, 'three');
    expect(namesOf(bench.folder(2)), 'nothing is written there').toEqual(before);
    // A person may choose the other one; then these are of another history.
    await bench.machine.stores.close();
    const chosen = await bench.fresh().open(fingerprint(other.root.hash));
    expect(chosen.root.hash).toBe(other.root.hash);
    expect(bench.standings()).toEqual(['forked', 'forked', 'in-step']);
  });

  it('replaced by another repository, or by a root that another key signed', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(bench.folder(1), { recursive: true });
    const stranger = await new Machine(bench.folder(1)).create();
    for (const text of ['a', 'b', 'c', 'd']) await backUp(stranger, text);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'replaced', 'in-step']);
    expect(bench.machine.said).toEqual([expect.stringMatching(/^warning: store vault2 was replaced: /)]);
    // On a machine that knows nothing, the primary says which repository it is.
    rmSync(join(bench.state, 'pins'), { recursive: true });
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'replaced', 'in-step']);
  });

  it('a newer root of its own making, on a machine that knows nothing yet: the next newest opens', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(bench.folder(2), { recursive: true });
    const forged = new TestRepository(repository.root.body.repository).root(undefined, { counter: 50 });
    await new Machine(bench.folder(2)).storage.setRoot(forged, NO_ROOT);
    rmSync(join(bench.state, 'pins'), { recursive: true });
    const again = await bench.fresh().open();
    expect(again.root.hash).toBe(repository.root.hash);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'forked']);
    expect(bench.machine.firstUses).toEqual([repository.root.hash]);
    // Where nothing else is offered, it is the secret that does not fit.
    const alone = await rejection(new Machine(bench.folder(2)).open());
    expect(alone.code).toBe('wrong-secret');
  });

  it('a newest root whose catalog no store has: the next newest opens on a machine that knows nothing yet', async () => {
    const { bench, repository } = await Bench.make();
    const behind = [1, 2].map((index) => bench.remember(index));
    await backUp(repository, 'two');
    for (const back of behind) back();
    await bench.machine.stores.close();
    const { catalog } = repository.root.body;
    rmSync(join(bench.folder(0), 'objects', catalog.slice(0, 2), catalog));
    const other = new Machine(bench.folders);
    const opened = await other.open();
    expect(opened.root.body.counter).toBe(repository.root.body.counter - 1);
    expect(other.stores.all.map(({ standing }) => standing.is)).toEqual(['damaged', 'in-step', 'in-step']);
    await other.stores.close();
  });

  it('none at all: what is wrong with each store is said, and nothing is accepted', async () => {
    const bench = new Bench();
    bench.takeAway(1);
    const { code, message } = await rejection(bench.machine.open());
    expect(code).toBe('store-missing');
    expect(message).toMatch(/^no store has a root .*vault: .*; vault2: there is no .*; vault3: /);
    const only = new Machine(storeFolder());
    expect((await rejection(only.open('zoo-zoo-zoo-zoo-zoo-zoo-zoo-zoo'))).code).toBe('not-initialised');
  });

  it('is not forgotten because its pin is damaged', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const pin = join(bench.state, 'pins/stores/vault2.json');
    writeFileSync(pin, '{}');
    const { code, message } = await rejection(bench.fresh().open());
    expect([code, message]).toEqual(['io', expect.stringContaining(`${pin} is damaged`)]);
  });

  it('with a damaged root, absent, or empty though it was not', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const roots = join(bench.folder(1), 'roots');
    for (const name of readdirSync(roots)) corrupt(join(roots, name));
    const bringBack = bench.takeAway(2);
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'damaged', 'absent']);
    expect(bench.machine.said).toEqual([
      expect.stringMatching(/^warning: store vault2 has a damaged root: /),
      expect.stringMatching(/^remark: store vault3 is absent: /),
    ]);
    bringBack();
    for (const index of [1, 2]) rmSync(bench.folder(index), { recursive: true });
    await bench.fresh(['vault3']).open();
    expect(bench.standings(), 'a folder without its medium is empty').toEqual([
      'in-step',
      'emptied',
      'absent',
    ]);
    expect(bench.machine.said.map((text) => text.split(':')[0])).toEqual(['warning', 'note']);
  });

  it('all of them: each is named', async () => {
    const { bench, repository } = await Bench.make();
    const putBack = [0, 1].map((index) => bench.remember(index));
    await backUp(repository, 'two');
    await bench.machine.stores.close();
    for (const back of putBack) back();
    bench.takeAway(2);
    const { code, message } = await rejection(bench.fresh().open());
    expect(code).toBe('store-rolled-back');
    expect(message).toMatch(
      /no store has a root .* vault: .*older.*; vault2: .*older.*; vault3: there is no/,
    );
  });
});

describe('R44: a removable store', () => {
  it('is noted while it is away, does not count, and is behind when it is back', async () => {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(1);
    const repository = await bench.fresh(['vault2']).open();
    expect(bench.machine.said).toEqual([expect.stringMatching(/^note: store vault2 is absent: /)]);
    await backUp(repository, 'two');
    await backUp(repository, 'three');
    expect(lackingStores(bench.machine.stores.all, 'all')).toBeUndefined();
    expect(lackingStores(bench.machine.stores.all, 3)).toContain('vault2 is absent');
    await bench.machine.stores.close();
    bringBack();
    const again = await bench.fresh(['vault2']).open();
    expect(bench.standings()).toEqual(['in-step', 'behind 2', 'in-step']);
    const { objects, total } = await syncStore(again, bench.machine.stores.named('vault2'), quiet);
    expect(objects).toBe(total);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
  });
});

describe('R44: reading', () => {
  it('takes from another store what one lost or altered, and says which', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    rmSync(join(bench.state, 'cache'), { recursive: true });
    const files = objectsOf(bench.folder(0));
    files.forEach((file, index) => (index % 2 === 0 ? corrupt(file) : rmSync(file)));
    const repository = await bench.fresh().open();
    expect(await blob(repository, 0)).toBe('one');
    expect(await blob(repository, 1)).toBe('tree of one');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    expect(bench.machine.said.length).toBeGreaterThan(3);
    for (const text of bench.machine.said)
      expect(text).toMatch(
        /^warning: store vault: object [0-9a-f]{16}… is (missing|damaged), another store is asked/,
      );
  });

  it('goes on with another store where one dies', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const machine = bench.fresh();
    const repository = await machine.open();
    let dead = false;
    await machine.stores.abort();
    machine.wrap = (call, store, service) =>
      store === 'vault' && service === get.service && !dead ? dying(call, () => (dead = true)) : call;
    expect(await blob(repository, 0)).toBe('one');
    expect(machine.said).toEqual([expect.stringMatching(/^remark: store vault failed/)]);
  });

  it('fails where no store has an object, and says so of all', async () => {
    const { bench } = await Bench.make();
    await bench.machine.stores.close();
    const repository = await bench.fresh().open();
    const row = (await (await historyFor(repository)).table.row(0))!;
    for (const folder of bench.folders) rmSync(join(folder, 'objects', row.id.slice(0, 2), row.id));
    const { code, message } = await rejection(blob(repository, 0));
    expect([code, message]).toEqual([
      'store-missing',
      expect.stringMatching(/^vault, vault2 and vault3 lost object/),
    ]);
  });

  it('R58: finds out a store that acknowledges and discards, though others have what it had', async () => {
    const { bench, repository } = await Bench.make();
    for (const file of objectsOf(bench.folder(2))) rmSync(file);
    const row = (await (await historyFor(repository)).table.row(0))!;
    const sealer = (await historyFor(repository)).sealer(row.kind, 0, row.epoch);
    const answers = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const answer = repository.store.getFromOneStore(sealer, row.id, 'blob').then(
        () => 'had it',
        (error: unknown) => (error instanceof BackupError ? error.message.split(' object')[0]! : 'odd'),
      );
      answers.add(await answer);
    }
    expect([...answers].sort()).toEqual(['had it', 'vault3 lost']);
  });
});

describe('R44: bringing a store up to date', () => {
  /** Store 2 behind by `count` backups. */
  async function behind(count: number): Promise<{ bench: Bench; repository: Repository }> {
    const { bench } = await Bench.make();
    const bringBack = bench.takeAway(1);
    const repository = await bench.fresh().open();
    for (let i = 0; i < count; i++) await backUp(repository, `later ${i}`);
    await bench.machine.stores.close();
    bringBack();
    return { bench, repository: await bench.fresh().open() };
  }

  it('copies what it lacks, each object once, and then the newest root', async () => {
    const { bench, repository } = await behind(4);
    expect(bench.standings()[1]).toBe('behind 4');
    const before = namesOf(bench.folder(1));
    const seen: Synced[] = [];
    const listener = {
      progress: (synced: Synced) => void seen.push(synced),
      lost: () => expect.unreachable(),
    };
    const synced = await syncStore(repository, bench.machine.stores.named('vault2'), listener);
    const after = namesOf(bench.folder(1));
    expect(after.length - before.length).toBe(synced.objects);
    expect(seen.map(({ objects }) => objects)).toEqual(seen.map((_, index) => index + 1));
    expect(seen.at(-1)).toEqual(synced);
    await bench.machine.stores.close();
    // It suffices alone.
    const alone = await new Machine(bench.folder(1)).open();
    expect(alone.root.hash).toBe(repository.root.hash);
    expect(await blob(alone, 0)).toBe('one');
    expect(await blob(alone, 8)).toBe('later 3');
  });

  it('R50: is interrupted, and does not copy again what was copied', async () => {
    const { bench, repository } = await behind(12);
    const store = bench.machine.stores.named('vault2');
    const before = namesOf(bench.folder(1)).length;
    const put = store.client.put.bind(store.client);
    let puts = 0;
    store.client.put = (object) => {
      puts += 1;
      return puts > 10 ? Promise.reject(new Error('the power went')) : put(object);
    };
    await expect(syncStore(repository, store, quiet)).rejects.toThrow('the power went');
    await bench.machine.stores.close();
    const copied = namesOf(bench.folder(1)).length - before;
    expect(copied).toBe(10);
    const again = await bench.fresh().open();
    expect(bench.standings()[1]).toBe('behind 12');
    const { total, objects } = await syncStore(again, bench.machine.stores.named('vault2'), quiet);
    expect([objects, total > 0]).toEqual([total, true]);
    expect(namesOf(bench.folder(1)).length).toBe(before + copied + objects);
    expect(bench.standings()[1]).toBe('in-step');
  });

  it('fills an empty store, which then suffices alone', async () => {
    const { bench, repository } = await Bench.make();
    await bench.machine.stores.close();
    const added = storeFolder();
    bench.folders.push(added);
    const again = await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step', 'empty']);
    expect(bench.machine.said).toEqual(['note: store vault4 is empty']);
    await syncStore(again, bench.machine.stores.named('vault4'), quiet);
    const alone = await new Machine(added).open();
    expect(alone.root.hash).toBe(repository.root.hash);
    expect(await blob(alone, 0)).toBe('one');
    await backUp(again, 'two');
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step', 'in-step']);
  });

  it('copies nothing that is damaged, but the same from another store; what none has is named', async () => {
    const { bench, repository } = await behind(1);
    const lost = (await (await historyFor(repository)).table.row(2))!.id;
    for (const index of [0, 2]) rmSync(join(bench.folder(index), 'objects', lost.slice(0, 2), lost));
    for (const file of objectsOf(bench.folder(0))) corrupt(file);
    const named: ObjectId[] = [];
    const listener = { progress: () => undefined, lost: (id: ObjectId) => void named.push(id) };
    const { objects, total } = await syncStore(repository, bench.machine.stores.named('vault2'), listener);
    expect([named, objects]).toEqual([[lost], total - 1]);
    for (const file of objectsOf(bench.folder(1)))
      expect(objectIdOf(readFileSync(file))).toBe(file.slice(-64));
    expect(bench.machine.said.some((text) => text.startsWith('warning: store vault: object'))).toBe(true);
  });

  it('leaves alone a store that got another root meanwhile', async () => {
    const { bench, repository } = await behind(1);
    const other = await new Machine(bench.folder(1)).open();
    await backUp(other, 'else');
    const { code } = await rejection(syncStore(repository, bench.machine.stores.named('vault2'), quiet));
    expect(code).toBe('store-conflict');
    await bench.fresh().open();
    expect(bench.standings()).toEqual(['in-step', 'forked', 'in-step']);
  });

  it('believes a listing that lies, as any listing', async () => {
    const { bench, repository } = await behind(1);
    // It lists what store 1 has.
    bench.machine.wrap = (call, store, service) => {
      if (store !== 'vault2' || service !== list.service) return call;
      call.kill();
      return callStorageHere(service, bench.folder(0));
    };
    const { objects } = await syncStore(repository, bench.machine.stores.named('vault2'), quiet);
    expect(objects).toBe(0);
    expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
    rmSync(join(bench.state, 'cache'), { recursive: true });
    for (const index of [0, 2]) for (const file of objectsOf(bench.folder(index))) rmSync(file);
    expect((await rejection(bench.fresh().open())).code).toBe('store-missing');
  });
});

it('a new primary never publishes what was for the old one, and its counter is not used again', async () => {
  const { bench, repository } = await Bench.make();
  const { machine } = bench;
  machine.storage.setRoot = () => Promise.reject(new BackupError('timeout', 'the cable was pulled'));
  await expect(backUp(repository, 'two')).rejects.toThrow('the cable was pulled');
  expect(machine.pin.pending()?.body.counter).toBe(3);
  machine.pin.dropPending();
  expect(machine.pin.pending()).toBeUndefined();
  expect(existsSync(join(bench.state, 'pins/pending-root'))).toBe(false);
  await machine.stores.abort();
  writeFileSync(join(bench.state, 'pins/primary.json'), '{"primary":"vault2"}');
  const again = await bench.fresh().open();
  expect(again.root.body.counter).toBe(2);
  await backUp(again, 'two');
  expect(again.root.body.counter).toBe(4);
  expect(bench.standings()).toEqual(['in-step', 'in-step', 'in-step']);
});
