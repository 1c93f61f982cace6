/**
 * qubes.BackupSetRoot: compare-and-set of the signed root (R41). What a signature alone cannot show is checked
 * here: that it is by the pinned key or one that replaced it, that its counter grows, and that the current root is the one it is
 * meant to replace. The ledger's lock decides between concurrent callers, and create() of the back end between storage VMs.
 */

import { equalBytes } from '../shared/bytes.ts';
import { BackupError, isBackupError } from '../shared/errors.ts';
import { NO_ROOT } from '../shared/ids.ts';
import type { RootHash } from '../shared/ids.ts';
import type { setRoot } from '../shared/protocol/storage.ts';
import { decodeRoot } from '../shared/root.ts';
import type { Root } from '../shared/root.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { SHARDS } from './back-end.ts';
import { ShardListing } from './listing.ts';
import { LiveNames } from './live-names.ts';
import { note } from './note.ts';
import type { Store } from './store.ts';
import { checkSuccessor, isOfOwner, replaced } from './succession.ts';

/** Milliseconds that a call goes on with the sweep after its answer, so that each backup drives it a bit further. */
const SWEEP_TIME = 10_000;

export async function serveSetRoot(session: ServiceSession<typeof setRoot>, store: Store): Promise<void> {
  const expected = expect(await session.receive(), 'expect').value.current;
  const root = decodeRoot(expect(await session.receive(), 'root').value);
  const current = await publish(store, root, expected);
  if (current !== root.hash) return session.send('conflict', { current });
  const { waiting } = await store.ledger.readState();
  await session.send('done', {
    waits: waiting && { deadBytes: waiting.deadBytes, bytes: waiting.bytes },
  });
  await store.sweepABit(SWEEP_TIME).catch(note); // The root is published: what is dead can wait.
}

/**
 * Makes `root` current if `expected` is. Answers the hash of the root that is current afterwards. A store without a root takes
 * any as its first, and one that missed some takes a later one: that it descends from the one that is expected is dom0's to show.
 * Throws `store-replaced` for a root of another repository or key, also one that was replaced, `store-rolled-back` for a counter that does
 * not grow, `refused` for one that grows too far or whose live list names what is absent. A current root that is damaged counts as
 * none: a caller that expects none may put its own in its place, any other gets `store-damaged`.
 */
export async function publish(store: Store, root: Root, expected: RootHash): Promise<RootHash> {
  if (expected !== NO_ROOT && !(await store.exists())) return NO_ROOT;
  await store.prepare();
  return store.ledger.locked(() => publishAlone(store, root, expected));
}

async function publishAlone(store: Store, root: Root, expected: RootHash): Promise<RootHash> {
  const newest = await store.roots.newest();
  const number = newest?.number ?? 0;
  const current = newest && rootOrDamage(newest.bytes);
  if (isBackupError(current)) {
    if (expected !== NO_ROOT) throw current;
    await checkInstead(store, number, root, current);
    return add(store, root, number + 1);
  }
  if (current?.hash === root.hash) return root.hash; // Sent again after a crash.
  if (current !== undefined && !isOfOwner(root, current)) throw replaced();
  if ((current?.hash ?? NO_ROOT) !== expected) return current?.hash ?? NO_ROOT;
  if (current !== undefined) checkSuccessor(root, current);
  if (current === undefined) await checkPin(store, root);
  else await settlePin(store, current);
  return add(store, root, number + 1);
}

async function add(store: Store, root: Root, number: number): Promise<RootHash> {
  await checkLiveList(store, root);
  const at = await store.ledger.clock.advance();
  await store.ledger.rootAges.record(number, { at, hasList: root.body.live !== null });
  if (!(await store.roots.add(number, root.bytes)))
    throw new BackupError('store-replaced', 'another storage VM writes roots to the same place');
  await settlePin(store, root);
  return root.hash;
}

/** The root of these bytes, or what is wrong with them. Throws `store-version`. */
function rootOrDamage(bytes: Uint8Array): Root | BackupError {
  try {
    return decodeRoot(bytes);
  } catch (error) {
    if (isBackupError(error, 'store-damaged')) return error;
    throw error;
  }
}

/** What may take the place of the damaged root `number`: one of the pinned key that may follow the newest root before it that is whole. */
async function checkInstead(store: Store, number: number, root: Root, damage: BackupError): Promise<void> {
  const pinned = await store.pinnedKey();
  if (pinned === undefined) throw damage;
  if (!follows(root, pinned)) throw replaced();
  for (let at = number - 1; at > 0; at--) {
    const before = await store.roots.read(at);
    if (before === undefined) return;
    const whole = rootOrDamage(before.bytes);
    if (isBackupError(whole)) continue;
    if (!isOfOwner(root, whole)) throw replaced();
    checkSuccessor(root, whole);
    return;
  }
}

/**
 * Makes the key of `root`, which is current, the pinned one: the first is pinned, one before it is replaced. Not before it is current: a
 * run that died between would leave a store that takes nobody's first root.
 */
async function settlePin(store: Store, root: Root): Promise<void> {
  const { publicKey } = root.body;
  const pinned = await store.pinKey(publicKey);
  if (equalBytes(pinned, publicKey)) return;
  if (!follows(root, pinned) || !equalBytes(await store.pinKey(publicKey, pinned), publicKey))
    throw replaced();
}

/** A store whose roots are all lost stays that of the repository whose key it knows. */
async function checkPin(store: Store, root: Root): Promise<void> {
  const pinned = await store.pinnedKey();
  if (pinned !== undefined && !follows(root, pinned)) throw replaced();
}

/** True if `pinned` is the key of `root`, or one that it replaced. */
function follows({ body: { publicKey, rotations } }: Root, pinned: Uint8Array): boolean {
  return [publicKey, ...rotations.map((entry) => entry.publicKey)].some((key) => equalBytes(key, pinned));
}

/** Everything that the list says to keep must be here: else the store would let go of what it still needs elsewhere. */
async function checkLiveList({ backEnd }: Store, { body: { live, catalog } }: Root): Promise<void> {
  if (live === null) return;
  const names = new LiveNames(backEnd, live, [catalog]);
  const listing = new ShardListing(backEnd);
  let absent = 0;
  for (const shard of SHARDS) {
    const found = (await listing.shard(shard)).map(({ id }) => id);
    absent += (await names.shard(shard)).absent(found);
  }
  if (absent > 0)
    throw new BackupError(
      'refused',
      `the live list of the root names ${absent} objects that are not in the store`,
    );
}
