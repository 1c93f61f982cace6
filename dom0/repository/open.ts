/**
 * The way from an untrusted storage VM to an open repository. Nothing is derived, unwrapped or asked for before the
 * root's signature and its place relative to this machine's pin are right (architecture.md, "Keys"; R05, R06):
 * signature by the embedded key; pinned repository and key; counter and hash; then the slot; then the unwrapped key;
 * then, for a newer root, descent from the pinned one.
 */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { RepositoryId } from '../../shared/ids.ts';
import type { KeySlot, Root } from '../../shared/root.ts';
import { formatTime } from '../../shared/format.ts';
import type { Keyring } from '../keys/keyring.ts';
import { openKeyring } from '../keys/slots.ts';
import type { Opener } from '../keys/slots.ts';
import { ObjectCache } from '../state/cache.ts';
import type { Pin, PinFile } from '../state/pin.ts';
import type { PrimaryFile } from '../state/primary.ts';
import type { Store } from '../storage/store.ts';
import type { Stores } from '../storage/stores.ts';
import { fingerprint } from '../words.ts';
import { isDescendant } from './catalog.ts';
import { ObjectStore } from './object-store.ts';
import { Repository } from './repository.ts';
import { acceptableRoots, forked, judgeStores, override, refuseRoot, rootToAccept } from './standings.ts';

/** Where a repository is kept, and what this machine knows of it. */
export interface StoreOptions {
  readonly storage: Stores;
  readonly pin: PinFile;
  readonly primary: PrimaryFile;
  readonly stateFolder: string;
  /** Bytes of sealed records and trees kept in dom0. */
  readonly cacheSize: number;
}

export interface OpenOptions extends StoreOptions {
  /** Asked only after the root proved authentic, and told the slots that there are; its bytes are zeroed after use. */
  readonly secret: (slots: readonly KeySlot[]) => Promise<Opener>;
  readonly trust: Trust;
  /** The run is to publish something: it needs the primary store, and ends at once without it. */
  readonly publishes: boolean;
}

/** What a person says about the root that the store offers. */
export interface Trust {
  /** Fingerprint of a root to accept although it is older, forked, or of another repository, or lacks VMs. */
  readonly acceptRoot: string | undefined;
  /** Fingerprint of a root that the offered one must be or come after. */
  readonly expectRoot: string | undefined;
  /** Asked before {@link acceptRoot} takes the place of another root that this machine has seen; throws unless a person agrees. */
  readonly overrule?: (root: Root, pinned: Pin) => Promise<void>;
  /** Told of an authentic root that nothing on this machine vouches for, before it is used. */
  readonly firstUse: (root: Root) => void;
}

/** An open repository, and the slot of its root that opened it. */
export interface Opened {
  readonly repository: Repository;
  readonly slot: KeySlot;
}

/** Opens the newest repository that a store offers, pins its root, and sets how every store stands to it. */
export async function openRepository(options: OpenOptions): Promise<Opened> {
  const { storage, pin, primary, trust } = options;
  await storage.survey();
  if (options.publishes && 'error' in storage.primary.standing && storage.all.length > 1)
    storage.requirePrimary();
  if (storage.hasPrimary) await settlePending(storage.primary, pin);
  const accepted = trust.acceptRoot === undefined ? undefined : rootToAccept(storage, trust.acceptRoot);
  const seen = pin.read();
  if (accepted !== undefined && seen !== undefined && seen.hash !== accepted.hash)
    await trust.overrule?.(accepted, seen);
  const pinned = accepted === undefined ? seen : undefined;
  const roots = accepted === undefined ? acceptableRoots(storage, pinned) : [accepted];
  const opened = await openFirst(options, roots, pinned);
  const { repository } = opened;
  const { root } = repository;
  if (pinned !== undefined) checkVms(storage.offering(root), repository, pinned);
  if (trust.expectRoot !== undefined)
    await checkExpected(storage.offering(root), repository, trust.expectRoot);
  pin.write(root, repository.vms, accepted !== undefined);
  if (storage.hasPrimary) primary.write(storage.primary.name);
  const differ = storage.all.some((store) => store.root !== undefined && store.root.hash !== root.hash);
  judgeStores(storage, root, differ ? await repository.earlierRoots() : []);
  storage.report();
  if (options.publishes) storage.requirePrimary();
  return opened;
}

/** The first of `roots` that opens and descends from the pinned one; stores with those before it are marked. Throws as the first fails. */
async function openFirst(
  options: OpenOptions,
  roots: readonly Root[],
  pinned: Pin | undefined,
): Promise<Opened> {
  const { storage } = options;
  const secret = await options.secret(roots.flatMap(({ body }) => body.slots));
  let failure: unknown;
  try {
    for (const root of roots) {
      for (const store of storage.all) if (store.root?.hash === root.hash) store.standing = { is: 'in-step' };
      try {
        return await openRoot(options, root, secret, pinned);
      } catch (error) {
        if (!isBackupError(error) || roots.length === 1) throw error;
        failure ??= error;
        refuseRoot(storage, root, error);
      }
    }
  } finally {
    secret.bytes.fill(0);
  }
  throw failure;
}

async function openRoot(
  options: OpenOptions,
  root: Root,
  secret: Opener,
  pinned: Pin | undefined,
): Promise<Opened> {
  const { storage, pin, trust } = options;
  const { keyring, slot } = await openKeyring(root.body, secret);
  if (pinned === undefined) trust.firstUse(root);
  const store = openStore(options, root.body.repository);
  const repository = await Repository.open(keyring, store, pin, root).catch((error: unknown) => {
    throw withoutCatalog(error, root);
  });
  if (pinned !== undefined) await checkDescent(storage.offering(root), repository, pinned);
  return { repository, slot };
}

/** What is left to do where no store has the catalog of `root`, the way to all else. */
function withoutCatalog(error: unknown, { body: { counter } }: Root): unknown {
  if (!isBackupError(error, 'store-missing', 'store-damaged')) return error;
  return new BackupError(
    error.code,
    `${error.message}. Nothing of root ${counter} can be opened without it, nor checked. A store, or a copy of one, that has it repairs this one ` +
      '("check --repair"). Else go back to an older root: run "qubes-backup-storage roots" and "restore-root" in the storage VM, then look ' +
      'what it has here: "--accept-root" and its fingerprint, "check"',
    { cause: error },
  );
}

/** Publishes the first root; the store must be empty and this machine must have pinned nothing. */
export async function createRepository(
  options: StoreOptions,
  keyring: Keyring,
  makeSlots: () => Promise<Root['body']['slots']>,
): Promise<Repository> {
  const { storage, pin, primary } = options;
  if (pin.read() !== undefined)
    throw new BackupError(
      'usage',
      `this machine already uses a repository in ${storage.name}: it is not replaced`,
    );
  await storage.survey();
  for (const store of storage.all) {
    if (store === storage.primary && 'error' in store.standing) throw store.standing.error;
    if (store.root === undefined && store.standing.is !== 'damaged') continue;
    throw new BackupError(
      'usage',
      `${store.name} already holds a repository: use it, or choose an empty storage VM`,
    );
  }
  const slots = await makeSlots();
  storage.primary.standing = { is: 'in-step' };
  const created = await Repository.create(
    keyring,
    openStore(options, keyring.repository),
    pin,
    slots,
    Date.now(),
  );
  primary.write(storage.primary.name);
  return created;
}

function openStore({ storage, stateFolder, cacheSize }: StoreOptions, repository: RepositoryId): ObjectStore {
  return new ObjectStore(storage, new ObjectCache(stateFolder, repository, cacheSize));
}

/** Finishes what a dead run was about to publish: the very same bytes, or nothing. */
async function settlePending(primary: Store, pin: PinFile): Promise<void> {
  const { root: offered, client } = primary;
  const pending = pin.pending();
  if (pending === undefined || offered === undefined) return;
  if (pending.hash === offered.hash || pending.body.previous !== offered.hash) return;
  if (pin.read()?.hash !== offered.hash) return;
  await client.setRoot(pending, offered.hash);
  primary.root = pending;
  pin.write(pending);
}

async function checkDescent(name: string, repository: Repository, pinned: Pin): Promise<void> {
  const { root } = repository;
  if (root.hash === pinned.hash) return;
  const earlier = await repository.earlierRoots();
  const samePlace = earlier.filter((reference) => reference.counter === pinned.counter);
  if (!isDescendant(root, samePlace, pinned.hash)) throw forked(name, root);
}

/** A VM that this machine has seen must be there, unless it was forgotten on purpose. */
function checkVms(name: string, { root, catalog }: Repository, pinned: Pin): void {
  const known = new Set([...catalog.vms.map(({ id }) => id), ...catalog.forgotten]);
  const missing = pinned.vms.filter(({ id }) => !known.has(id)).map((vm) => vm.name);
  if (missing.length === 0) return;
  throw new BackupError(
    'vm-missing',
    `root ${root.body.counter} of ${name} lists no backups of ${missing.join(', ')}, which this machine has seen, and does not say that they were forgotten: look at your other machines and stores before you write to it; ${override(root)}`,
  );
}

/** The offered root must be the one that a person noted, or come after it. */
async function checkExpected(name: string, repository: Repository, expected: string): Promise<void> {
  const { root } = repository;
  const hashes = [root.hash, ...(await repository.earlierRoots()).map(({ hash }) => hash)];
  if (hashes.some((hash) => fingerprint(hash) === expected)) return;
  throw new BackupError(
    'store-rolled-back',
    `${name} offers root ${root.body.counter} of ${formatTime(root.body.time)}, which does not come after the root that you noted (${expected}): it is older, or another history; look for a newer copy of the store`,
  );
}
