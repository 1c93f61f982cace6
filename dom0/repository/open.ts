/**
 * The way from an untrusted storage VM to an open repository. Nothing is derived, unwrapped or asked for before the
 * root's signature and its place relative to this machine's pin are right (architecture.md, "Keys"; R05, R06):
 * signature by the embedded key; pinned repository and key; counter and hash; then the slot; then the unwrapped key;
 * then, for a newer root, descent from the pinned one.
 */

import { BackupError } from '../../shared/errors.ts';
import type { RepositoryId } from '../../shared/ids.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { KeySlot, Root } from '../../shared/root.ts';
import { descendsFromKey } from '../../shared/rotation.ts';
import { formatTime } from '../format.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { Secret } from '../keys/secret.ts';
import { openKeyring } from '../keys/slots.ts';
import { ObjectCache } from '../state/cache.ts';
import type { Pin, PinFile } from '../state/pin.ts';
import type { Storage } from '../storage/storage.ts';
import { fingerprint } from '../words.ts';
import { isDescendant } from './catalog.ts';
import { ObjectStore } from './object-store.ts';
import { Repository } from './repository.ts';

/** Where a repository is kept, and what this machine knows of it. */
export interface StoreOptions {
  readonly storage: Storage;
  readonly pin: PinFile;
  readonly stateFolder: string;
  /** Bytes of sealed records and trees kept in dom0. */
  readonly cacheSize: number;
}

export interface OpenOptions extends StoreOptions {
  /** Asked only after the root proved authentic; its bytes are zeroed after use. */
  readonly secret: () => Promise<Secret>;
  readonly trust: Trust;
}

/** What a person says about the root that the store offers. */
export interface Trust {
  /** Fingerprint of a root to accept although it is older, forked, or of another repository, or lacks VMs. */
  readonly acceptRoot: string | undefined;
  /** Fingerprint of a root that the offered one must be or come after. */
  readonly expectRoot: string | undefined;
  /** Told of an authentic root that nothing on this machine vouches for, before it is used. */
  readonly firstUse: (root: Root) => void;
}

/** An open repository, and the slot of its root that opened it. */
export interface Opened {
  readonly repository: Repository;
  readonly slot: KeySlot;
}

/** Opens the repository of `storage` and pins its root. */
export async function openRepository(options: OpenOptions): Promise<Opened> {
  const { storage, pin, trust } = options;
  const root = await settlePending(storage, pin, await offeredRoot(storage, pin));
  const accepted = isAccepted(root, trust.acceptRoot);
  const pinned = accepted ? undefined : pin.read();
  if (pinned !== undefined) checkAgainstPin(storage.vm, root, pinned);
  const { keyring, slot } = await unlock(root, await options.secret());
  if (pinned === undefined) trust.firstUse(root);
  const store = openStore(options, root.body.repository);
  const repository = await Repository.open(keyring, store, pin, root);
  if (pinned !== undefined) await checkDescent(storage.vm, repository, pinned);
  if (pinned !== undefined) checkVms(storage.vm, repository, pinned);
  if (trust.expectRoot !== undefined) await checkExpected(storage.vm, repository, trust.expectRoot);
  pin.write(root, repository.vms, accepted);
  return { repository, slot };
}

/** True if `root` is the one that a person accepts; throws `usage` if that is another. */
function isAccepted(root: Root, acceptRoot: string | undefined): boolean {
  if (acceptRoot === undefined) return false;
  if (fingerprint(root.hash) === acceptRoot) return true;
  throw new BackupError(
    'usage',
    `--accept-root names ${acceptRoot}, but the store offers ${fingerprint(root.hash)}`,
  );
}

/** Publishes the first root; the store must be empty and this machine must have pinned nothing. */
export async function createRepository(
  options: StoreOptions,
  keyring: Keyring,
  makeSlots: () => Promise<Root['body']['slots']>,
): Promise<Repository> {
  const { storage, pin } = options;
  if (pin.read() !== undefined)
    throw new BackupError(
      'usage',
      `this machine already uses a repository in ${storage.vm}: it is not replaced`,
    );
  if ((await storage.root()) !== undefined) {
    throw new BackupError(
      'usage',
      `${storage.vm} already holds a repository: use it, or choose an empty storage VM`,
    );
  }
  const slots = await makeSlots();
  return Repository.create(keyring, openStore(options, keyring.repository), pin, slots, Date.now());
}

function openStore({ storage, stateFolder, cacheSize }: StoreOptions, repository: RepositoryId): ObjectStore {
  return new ObjectStore(storage, new ObjectCache(stateFolder, repository, cacheSize));
}

async function offeredRoot(storage: Storage, pin: PinFile): Promise<Root> {
  const untrusted = await storage.root();
  if (untrusted !== undefined) return decodeRoot(untrusted);
  const pinned = pin.read();
  if (pinned === undefined)
    throw new BackupError(
      'not-initialised',
      `${storage.vm} holds no repository yet: run "qubes-backup init"`,
    );
  throw new BackupError(
    'store-missing',
    `${storage.vm} is empty, though this machine knows its root ${pinned.counter}: is it the right storage VM, and is its disk mounted?`,
  );
}

/** Finishes what a dead run was about to publish: the very same bytes, or nothing. */
async function settlePending(storage: Storage, pin: PinFile, offered: Root): Promise<Root> {
  const pending = pin.pending();
  if (pending === undefined || pending.hash === offered.hash || pending.body.previous !== offered.hash)
    return offered;
  if (pin.read()?.hash !== offered.hash) return offered;
  await storage.setRoot(pending, offered.hash);
  pin.write(pending);
  return pending;
}

/** Opens the keys with `secret`, which is zeroed: it has served. */
async function unlock(root: Root, secret: Secret): Promise<{ keyring: Keyring; slot: KeySlot }> {
  try {
    return await openKeyring(root.body, secret);
  } finally {
    secret.bytes.fill(0);
  }
}

/** Compares with the pin what needs no key. */
function checkAgainstPin(vm: string, root: Root, pinned: Pin): void {
  const { repository, counter } = root.body;
  const replaced = new BackupError(
    'store-replaced',
    `${vm} offers another repository than the one this machine uses: ${override(root)}`,
  );
  if (repository !== pinned.repository) throw replaced;
  if (counter < pinned.counter) {
    throw new BackupError(
      'store-rolled-back',
      `${vm} offers root ${counter}, older than root ${pinned.counter} that this machine has seen: backups are missing; ${override(root)}`,
    );
  }
  if (!descendsFromKey(root.body, Buffer.from(pinned.publicKey, 'hex'), pinned.counter)) throw replaced;
  if (counter === pinned.counter && root.hash !== pinned.hash) throw forked(vm, root);
}

async function checkDescent(vm: string, repository: Repository, pinned: Pin): Promise<void> {
  const { root } = repository;
  if (root.hash === pinned.hash) return;
  const earlier = await repository.earlierRoots();
  const samePlace = earlier.filter((reference) => reference.counter === pinned.counter);
  if (!isDescendant(root, samePlace, pinned.hash)) throw forked(vm, root);
}

/** A VM that this machine has seen must be there, unless it was forgotten on purpose. */
function checkVms(vm: string, { root, catalog }: Repository, pinned: Pin): void {
  const known = new Set([...catalog.vms.map(({ id }) => id), ...catalog.forgotten]);
  const missing = pinned.vms.filter(({ id }) => !known.has(id)).map(({ name }) => name);
  if (missing.length === 0) return;
  throw new BackupError(
    'vm-missing',
    `root ${root.body.counter} of ${vm} lists no backups of ${missing.join(', ')}, which this machine has seen, and does not say that they were forgotten: look at your other machines and stores before you write to it; ${override(root)}`,
  );
}

/** The offered root must be the one that a person noted, or come after it. */
async function checkExpected(vm: string, repository: Repository, expected: string): Promise<void> {
  const { root } = repository;
  const hashes = [root.hash, ...(await repository.earlierRoots()).map(({ hash }) => hash)];
  if (hashes.some((hash) => fingerprint(hash) === expected)) return;
  throw new BackupError(
    'store-rolled-back',
    `${vm} offers root ${root.body.counter} of ${formatTime(root.body.time)}, which does not come after the root that you noted (${expected}): it is older, or another history; look for a newer copy of the store`,
  );
}

function forked(vm: string, root: Root): BackupError {
  return new BackupError(
    'store-forked',
    `${vm} offers root ${root.body.counter} that does not descend from the one this machine has seen: another history was put there; ${override(root)}`,
  );
}

function override(root: Root): string {
  return `if you know why, go on with --accept-root ${fingerprint(root.hash)}`;
}
