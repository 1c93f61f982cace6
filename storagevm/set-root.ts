/**
 * qubes.BackupSetRoot: compare-and-set of the signed root (R41). What a signature alone cannot show is checked
 * here: that it is by the pinned key or one that descends from it, and that dom0 knows the root that it replaces. The back end's
 * addRoot() then decides between concurrent callers.
 *
 * A root need not be the very next one: a store that was away missed some (R44). That the replaced root is an ancestor of the new
 * one is proven to dom0 by the catalog, which a storage VM cannot open.
 */

import { equalBytes } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { NO_ROOT } from '../shared/ids.ts';
import type { RootHash } from '../shared/ids.ts';
import type { setRoot } from '../shared/protocol/storage.ts';
import { decodeRoot } from '../shared/root.ts';
import type { Root } from '../shared/root.ts';
import { descendsFromKey } from '../shared/rotation.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { BackEnd } from './back-end.ts';

/** A larger step of the counter could exhaust it; dom0's steps are 1, or as many as roots that this store missed. */
const MAX_COUNTER_STEP = 2 ** 16;

export async function serveSetRoot(session: ServiceSession<typeof setRoot>, backEnd: BackEnd): Promise<void> {
  const expected = expect(await session.receive(), 'expect').value.current;
  const root = decodeRoot(expect(await session.receive(), 'root').value);
  const current = await publish(backEnd, root, expected);
  if (current === root.hash) await session.send('done', {});
  else await session.send('conflict', { current });
}

/**
 * Makes `root` current if `expected` is. Answers the hash of the root that is current afterwards.
 * Throws `store-replaced` for a root of another repository or key, also one that was replaced, `store-rolled-back` for a counter that does
 * not grow, `refused` for one whose counter skips too far, `store-damaged` if the current root cannot be read.
 */
export async function publish(backEnd: BackEnd, root: Root, expected: RootHash): Promise<RootHash> {
  const current = await readCurrent(backEnd);
  if (current?.hash === root.hash) return root.hash; // Sent again after a crash.
  if (current !== undefined && !isOfOwner(root, current)) throw replaced();
  if ((current?.hash ?? NO_ROOT) !== expected) return current?.hash ?? NO_ROOT;
  if (current !== undefined && !maySign(root, current)) throw replaced();
  if (current !== undefined) checkCounter(root, current);
  await settlePin(backEnd, current ?? root);
  if (!(await backEnd.addRoot(expected, root.bytes))) return (await readCurrent(backEnd))?.hash ?? NO_ROOT;
  await settlePin(backEnd, root);
  return root.hash;
}

async function readCurrent(backEnd: BackEnd): Promise<Root | undefined> {
  const bytes = await backEnd.currentRoot();
  return bytes === undefined ? undefined : decodeRoot(bytes);
}

/** True if `root` is of the repository of `current`, by its key, one before it, or one that may follow: a run that lost a race. */
function isOfOwner(root: Root, current: Root): boolean {
  if (root.body.repository !== current.body.repository) return false;
  const [its, own] = [root.body.publicKey, current.body.publicKey];
  return descendsFromKey(root.body, own, 0) || descendsFromKey(current.body, its, 0);
}

/** True if `root` is signed by the key of `current`, or by one that was put in its place since. */
function maySign({ body }: Root, { body: { publicKey, counter } }: Root): boolean {
  return descendsFromKey(body, publicKey, counter);
}

/** Makes the key of `root`, which is or becomes current, the pinned one: the first is pinned, one before it is replaced. */
async function settlePin(backEnd: BackEnd, { body: { publicKey, rotations } }: Root): Promise<void> {
  const pinned = await backEnd.pinKey(publicKey);
  if (equalBytes(pinned, publicKey)) return;
  const isBefore = rotations.some((entry) => equalBytes(entry.publicKey, pinned));
  if (!isBefore || !equalBytes(await backEnd.pinKey(publicKey, pinned), publicKey)) throw replaced();
}

function replaced(): BackupError {
  return new BackupError(
    'store-replaced',
    'this storage VM belongs to another repository: use another storage VM, or move its folder qubes-backup away there',
  );
}

function checkCounter(root: Root, current: Root): void {
  const before = current.body.counter;
  const { counter } = root.body;
  if (counter <= before) {
    throw new BackupError(
      'store-rolled-back',
      `the root has the number ${counter}, the storage VM is at ${before}`,
    );
  }
  if (counter - before > MAX_COUNTER_STEP) {
    throw new BackupError(
      'refused',
      `the root skips from number ${before} to ${counter}, further than a store accepts`,
    );
  }
}
