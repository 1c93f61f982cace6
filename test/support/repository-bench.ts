/** A repository in the test's own process: dom0's real code against the storage VM's real code, over in-memory pipes. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { Keyring } from '../../dom0/keys/keyring.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { createSlot } from '../../dom0/keys/slots.ts';
import { createRepository, openRepository } from '../../dom0/repository/open.ts';
import type { StoreOptions, Trust } from '../../dom0/repository/open.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { VmHistory } from '../../dom0/repository/vm-history.ts';
import { VmWriter, newVmRecord } from '../../dom0/repository/vm-writer.ts';
import type { Plan } from '../../dom0/repository/vm-writer.ts';
import type { Snapshot, SnapshotVolume } from '../../dom0/repository/records.ts';
import { KIND } from '../../dom0/seal/object.ts';
import { PinFile } from '../../dom0/state/pin.ts';
import { PrimaryFile } from '../../dom0/state/primary.ts';
import { StorePinFile } from '../../dom0/state/store-pin.ts';
import { Storage } from '../../dom0/storage/storage.ts';
import { Store } from '../../dom0/storage/store.ts';
import { Stores } from '../../dom0/storage/stores.ts';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { newRepositoryId, parseVmName } from '../../shared/ids.ts';
import type { RootHash } from '../../shared/ids.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { callStorageHere } from './here.ts';
import { tempFolder } from './temp.ts';

const keyFile = (): Secret => ({ kind: 'keyFile', bytes: new Uint8Array(32).fill(7) });

/** Alters the calls of one store. */
export type WrapStore = (call: ServiceCall, store: string, service: string) => ServiceCall;

/** One machine (a state folder) that uses the store in `storeFolder`, or several of those: `vault`, `vault2`, and so on. */
export class Machine {
  readonly pin: PinFile;
  /** The first store. */
  readonly storage: Storage;
  readonly stores: Stores;
  /** What was said of the stores. */
  readonly said: string[] = [];
  /** Roots that nothing vouched for. */
  readonly firstUses: RootHash[] = [];
  /** What opens the repository. A fresh copy each time: who is given it zeroes it. */
  secret = keyFile;
  /** The next repository that is opened is to be written to. */
  publishes = false;
  wrap: WrapStore = (call) => call;
  readonly #options: StoreOptions;

  constructor(
    storeFolder: string | readonly string[],
    stateFolder = tempFolder(),
    removable: readonly string[] = [],
    call: (service: string, folder: string) => ServiceCall | Promise<ServiceCall> = callStorageHere,
  ) {
    const folders = typeof storeFolder === 'string' ? [storeFolder] : storeFolder;
    const all = folders.map((folder, index) => {
      const name = index === 0 ? 'vault' : `vault${index + 1}`;
      const callStorage = async (_vm: string, service: string) => {
        const isThere = existsSync(dirname(folder));
        if (!isThere) throw new BackupError('store-missing', `there is no ${folder}`);
        return this.wrap(await call(service, folder), name, service);
      };
      const client = new Storage({ callStorage }, name);
      return new Store(client, new StorePinFile(stateFolder, name), removable.includes(name));
    });
    const primary = new PrimaryFile(stateFolder);
    const listener = {
      warn: (text: string) => void this.said.push(`warning: ${text}`),
      warnOnly: (text: string) => void this.said.push(`remark: ${text}`),
      note: (text: string) => void this.said.push(`note: ${text}`),
    };
    this.stores = new Stores(all, listener, primary.read());
    this.storage = this.stores.all[0]!.client;
    this.pin = new PinFile(stateFolder);
    this.#options = { storage: this.stores, pin: this.pin, primary, stateFolder, cacheSize: 2 ** 26 };
  }

  create(): Promise<Repository> {
    const keyring = Keyring.create(newRepositoryId());
    return createRepository(this.#options, keyring, async () => [
      await createSlot(keyring, this.secret(), 'key file'),
    ]);
  }

  async open(acceptRoot?: string, expectRoot?: string): Promise<Repository> {
    const trust: Trust = { acceptRoot, expectRoot, firstUse: (root) => this.firstUses.push(root.hash) };
    const opened = await openRepository({
      ...this.#options,
      secret: () => Promise.resolve(this.secret()),
      trust,
      publishes: this.publishes,
    });
    return opened.repository;
  }
}

/** A folder for a store that is removed when the test finishes. */
export function storeFolder(): string {
  return join(tempFolder(), 'qubes-backup');
}

/** The history of the VM `name`, new if there is none. */
export async function historyFor(repository: Repository, name = 'work'): Promise<VmHistory> {
  const entry = repository.vms.find((vm) => vm.name === name);
  if (entry !== undefined) return VmHistory.read(repository, entry);
  const vm = parseVmName(name);
  return new VmHistory(repository, vm, newVmRecord(repository, vm, `uuid of ${name}`), undefined);
}

export async function writerFor(
  repository: Repository,
  name = 'work',
  volumes: Plan['volumes'] = [{ name: 'private', mode: 'files' }],
): Promise<VmWriter> {
  return VmWriter.open(repository, await historyFor(repository, name), {
    config: utf8('{}'),
    takenAt: 1_000,
    volumes,
    marks: { requested: false, tags: [] },
    anomalyLimit: { percent: 50, files: 10 },
    now: () => 1_000,
  });
}

/** Appends a blob whose text is `text`; answers its number, durable. */
export async function appendBlob(
  writer: VmWriter,
  text: string,
  kind: 'content' | 'tree' = 'content',
): Promise<number> {
  const { number, durable } = await writer.append(KIND[kind], utf8(text));
  await durable;
  return number;
}

const NO_FILES = { newFiles: 0, rewrittenFiles: 0, deletedFiles: 0 };

/** A volume with the tree `top`. */
export function volumeOf(top: number, changes: Partial<SnapshotVolume> = {}): SnapshotVolume {
  return {
    name: 'private',
    mode: 'files',
    size: 0,
    takenAt: 1_000,
    top,
    digest: null,
    ownersKnown: true,
    warnings: 0,
    counts: {
      entries: 1,
      files: 1,
      bytes: 1,
      changedFiles: 1,
      ...NO_FILES,
      readBytes: 1,
      storedBytes: 1,
      skipped: 0,
    },
    ...changes,
  };
}

/** Publishes a snapshot of the private volume alone. */
export async function commitVolume(writer: VmWriter, top: number, live: Iterable<number>): Promise<Snapshot> {
  await writer.finishVolume(volumeOf(top), NumberSet.of(live));
  return writer.commit();
}

/** A repository with a snapshot of two blobs: one of content, whose number it answers, and its tree. */
export async function backedUp() {
  const machine = new Machine(storeFolder());
  const repository = await machine.create();
  const writer = await writerFor(repository);
  const [content, top] = [await appendBlob(writer, 'content'), await appendBlob(writer, 'tree', 'tree')];
  await commitVolume(writer, top, [content, top]);
  return { repository, content, history: await historyFor(repository) };
}
