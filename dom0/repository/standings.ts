/**
 * Which of the roots that stores offer may be opened, and how each store stands to the one that was (R06, R44). Compared with two
 * kinds of pins: the newest root that this machine accepted, and the last one that it saw in each store. Nothing here merges:
 * a root is the opened one, one before it, or another history.
 */

import { BackupError, isBackupError } from '../../shared/errors.ts';
import type { Root } from '../../shared/root.ts';
import { descendsFromKey } from '../../shared/rotation.ts';
import type { Pin } from '../state/pin.ts';
import type { Store } from '../storage/store.ts';
import type { Stores } from '../storage/stores.ts';
import { fingerprint } from '../words.ts';
import type { RootReference } from './records.ts';

/** The distinct roots that may be the newest, the best first. Stores whose roots cannot be are judged. Throws if there is none. */
export function acceptableRoots(stores: Stores, pinned: Pin | undefined): Root[] {
  const own = pinned?.repository ?? firstRoot(stores)?.body.repository;
  const found: { root: Root; store: Store }[] = [];
  const problems: { store: Store; error: BackupError }[] = [];
  for (const store of stores.all) {
    const error = problemOf(store, pinned, own);
    if (error !== undefined) problems.push({ store, error });
    else if (store.root !== undefined) found.push({ root: store.root, store });
  }
  if (found.length === 0) throw noRoot(stores, problems);
  const isPrimary = (store: Store) => (store === stores.primary ? 1 : 0);
  found.sort((a, b) => b.root.body.counter - a.root.body.counter || isPrimary(b.store) - isPrimary(a.store));
  return found
    .map(({ root }) => root)
    .filter((root, index, all) => all.findIndex(({ hash }) => hash === root.hash) === index);
}

/** The root of this fingerprint. Throws `usage` if no store offers it, and as {@link acceptableRoots} if none offers any. */
export function rootToAccept(stores: Stores, words: string): Root {
  const offered = stores.all.flatMap(({ root }) => root ?? []);
  const found = offered.find(({ hash }) => fingerprint(hash) === words);
  if (found !== undefined) return found;
  if (offered.length === 0) acceptableRoots(stores, undefined); // Says why.
  const others = [...new Set(offered.map(({ hash }) => fingerprint(hash)))].join(', ');
  throw new BackupError('usage', `--accept-root names ${words}, but the store offers ${others}`);
}

/** Sets how every store stands to `root`, which was opened; `earlier` are all roots before it. Remembers what each was seen with. */
export function judgeStores(stores: Stores, root: Root, earlier: readonly RootReference[]): void {
  for (const store of stores.all) judge(store, root, earlier);
}

/** {@link judgeStores} of one. */
export function judge(store: Store, root: Root, earlier: readonly RootReference[]): void {
  const { name, root: offered, pin } = store;
  const seen = pin.read();
  const known = seen?.repository === root.body.repository ? seen : undefined;
  if (offered?.hash === root.hash) {
    store.joined(root);
  } else if (store.standing.is === 'empty') {
    if (known !== undefined) store.standing = emptied(store, known.counter);
  } else if (offered !== undefined && !isJudged(store)) {
    const { counter, repository } = offered.body;
    const isBefore = earlier.some((each) => each.counter === counter && each.hash === offered.hash);
    if (repository !== root.body.repository)
      store.standing = { is: 'replaced', error: replaced(name, offered) };
    else if (!isBefore) store.standing = { is: 'forked', error: forked(name, offered) };
    else if (known !== undefined && known.counter > counter)
      store.standing = { is: 'rolled-back', error: rolledBack(name, offered, known.counter) };
    else {
      store.standing = { is: 'behind', roots: earlier.filter((each) => each.counter > counter).length + 1 };
      pin.write(offered);
    }
  }
}

/** Marks the stores that offer `root`, which turned out damaged, of another history, or to open with another secret. */
export function refuseRoot(stores: Stores, root: Root, error: BackupError): void {
  const is = isBackupError(error, 'store-damaged', 'store-missing') ? 'damaged' : 'forked';
  for (const store of stores.all) if (store.root?.hash === root.hash) store.standing = { is, error };
}

function isJudged({ standing }: Store): boolean {
  return standing.is !== 'unknown' && standing.is !== 'in-step' && standing.is !== 'behind';
}

/** Of the primary, if it offers one. */
function firstRoot({ primary, all }: Stores): Root | undefined {
  return primary.root ?? all.find(({ root }) => root !== undefined)?.root;
}

/** Why the root of `store` cannot be the newest of the repository `own`; undefined if it may be. */
function problemOf(store: Store, pinned: Pin | undefined, own: string | undefined): BackupError | undefined {
  const { name, root, standing } = store;
  if ('error' in standing) return standing.error;
  if (root === undefined) return pinned === undefined ? notInitialised(name) : isEmpty(name, pinned.counter);
  const { repository, counter } = root.body;
  if (repository !== own) return replaced(name, root);
  if (pinned === undefined) return undefined;
  if (counter < pinned.counter) return rolledBack(name, root, pinned.counter);
  if (!descendsFromKey(root.body, Buffer.from(pinned.publicKey, 'hex'), pinned.counter)) {
    const error = replaced(name, root);
    store.standing = { is: 'replaced', error };
    return error;
  }
  if (counter === pinned.counter && root.hash !== pinned.hash) return forked(name, root);
  return undefined;
}

/** What a person is told if no store has a root to open: of a single store, what is wrong with it. */
function noRoot({ primary }: Stores, problems: readonly { store: Store; error: BackupError }[]): BackupError {
  const own = problems.find(({ store }) => store === primary)?.error ?? notInitialised(primary.name);
  const serious = problems.find(({ error }) => error.code !== 'not-initialised')?.error;
  if (problems.length < 2 || serious === undefined) return own;
  const all = problems.map(({ store, error }) => `${store.name}: ${error.message}`).join('; ');
  const { code } = own.code === 'not-initialised' ? serious : own;
  return new BackupError(code, `no store has a root that this machine can use: ${all}`, { cause: own });
}

function notInitialised(name: string): BackupError {
  return new BackupError('not-initialised', `${name} holds no repository yet: run "qubes-backup init"`);
}

function isEmpty(name: string, counter: number): BackupError {
  return new BackupError(
    'store-missing',
    `${name} is empty, though this machine knows its root ${counter}: is it the right storage VM, and is its disk mounted?`,
  );
}

/** A medium that is not mounted leaves an empty folder. */
function emptied({ name, removable }: Store, counter: number): Store['standing'] {
  return { is: removable ? 'absent' : 'emptied', error: isEmpty(name, counter) };
}

function replaced(name: string, root: Root): BackupError {
  return new BackupError(
    'store-replaced',
    `${name} offers another repository than the one this machine uses: ${override(root)}`,
  );
}

function rolledBack(name: string, root: Root, counter: number): BackupError {
  return new BackupError(
    'store-rolled-back',
    `${name} offers root ${root.body.counter}, older than root ${counter} that this machine has seen: backups are missing; ${override(root)}`,
  );
}

export function forked(name: string, root: Root): BackupError {
  return new BackupError(
    'store-forked',
    `${name} offers root ${root.body.counter} that does not descend from the one this machine has seen: another history was put there; ${override(root)}`,
  );
}

export function override(root: Root): string {
  return `if you know why, go on with --accept-root ${fingerprint(root.hash)}`;
}
