/**
 * The way from an untrusted storage VM to an open repository. Nothing is derived, unwrapped or asked for before the
 * root's signature and its place relative to this machine's pin are right (architecture.md, "Keys"; R05, R06):
 * signature by the embedded key; pinned repository and key; counter and hash; then the slot; then the unwrapped key;
 * then, for a newer root, descent from the pinned one.
 */

import { hex } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { RepositoryId } from '../../shared/ids.ts';
import { decodeRoot } from '../../shared/root.ts';
import type { Root } from '../../shared/root.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { Secret } from '../keys/secret.ts';
import { openKeyring } from '../keys/slots.ts';
import { ObjectCache } from '../state/cache.ts';
import { fingerprint } from '../state/pin.ts';
import type { Pin, PinFile } from '../state/pin.ts';
import type { Storage } from '../storage/storage.ts';
import { ObjectStore } from './object-store.ts';
import { Repository, isDescendant } from './repository.ts';

export interface OpenOptions {
  readonly storage: Storage;
  readonly pin: PinFile;
  readonly stateFolder: string;
  /** Bytes of sealed records and trees kept in dom0. */
  readonly cacheSize: number;
  /** Asked only after the root proved authentic; its bytes are zeroed after use. */
  readonly secret: () => Promise<Secret>;
  /** Fingerprint of a root to accept although it is older, forked, or of another repository. */
  readonly acceptRoot: string | undefined;
}

/** Opens the repository of `storage` and pins its root. */
export async function openRepository(options: OpenOptions): Promise<Repository> {
  const { storage, pin } = options;
  const root = await settlePending(storage, pin, await offeredRoot(storage, pin));
  const pinned = pin.read();
  const accepted = options.acceptRoot !== undefined && fingerprint(root.hash) === options.acceptRoot;
  if (options.acceptRoot !== undefined && !accepted) {
    throw new BackupError(
      'usage',
      `--accept-root names ${options.acceptRoot}, but the store offers ${fingerprint(root.hash)}`,
    );
  }
  if (pinned !== undefined && !accepted) checkAgainstPin(storage.vm, root, pinned);
  const keyring = await unlock(root, await options.secret());
  const store = openStore(options, root.body.repository);
  const repository = await Repository.open(keyring, store, pin, root);
  if (pinned !== undefined && !accepted) await checkDescent(storage.vm, repository, pinned);
  pin.write(root, accepted);
  return repository;
}

/** Publishes the first root; the store must be empty and this machine must have pinned nothing. */
export async function createRepository(
  options: Omit<OpenOptions, 'secret' | 'acceptRoot'>,
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

function openStore(
  { storage, stateFolder, cacheSize }: Omit<OpenOptions, 'secret' | 'acceptRoot'>,
  repository: RepositoryId,
): ObjectStore {
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
async function unlock(root: Root, secret: Secret): Promise<Keyring> {
  try {
    return await openKeyring(root.body, secret);
  } finally {
    secret.bytes.fill(0);
  }
}

/** Compares with the pin what needs no key. */
function checkAgainstPin(vm: string, root: Root, pinned: Pin): void {
  const { repository, publicKey, counter } = root.body;
  const override = `if you know why, go on with --accept-root ${fingerprint(root.hash)}`;
  if (repository !== pinned.repository || hex(publicKey) !== pinned.publicKey) {
    throw new BackupError(
      'store-replaced',
      `${vm} offers another repository than the one this machine uses: ${override}`,
    );
  }
  if (counter < pinned.counter) {
    throw new BackupError(
      'store-rolled-back',
      `${vm} offers root ${counter}, older than root ${pinned.counter} that this machine has seen: backups are missing; ${override}`,
    );
  }
  if (counter === pinned.counter && root.hash !== pinned.hash) throw forked(vm, root);
}

async function checkDescent(vm: string, repository: Repository, pinned: Pin): Promise<void> {
  const { root } = repository;
  if (root.hash === pinned.hash) return;
  const earlier = await repository.earlierRoots();
  const samePlace = earlier.filter((reference) => reference.counter === pinned.counter);
  if (!isDescendant(root, samePlace, pinned.hash)) throw forked(vm, root);
}

function forked(vm: string, root: Root): BackupError {
  const print = fingerprint(root.hash);
  return new BackupError(
    'store-forked',
    `${vm} offers root ${root.body.counter} that does not descend from the one this machine has seen: another history was put there; if you know why, go on with --accept-root ${print}`,
  );
}
