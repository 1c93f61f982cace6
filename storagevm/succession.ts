/** Which root may follow which: what a signature alone does not show (R41). */

import { BackupError } from '../shared/errors.ts';
import type { Root } from '../shared/root.ts';
import { descendsFromKey } from '../shared/rotation.ts';

/** A larger step of the counter could exhaust it; dom0's steps are 1, or a few after lost races. */
const MAX_COUNTER_STEP = 2 ** 16;

/** True if `root` is of the repository of `current`, as far as keys tell: it may be that of a run that lost a race. */
export function isOfOwner({ body: root }: Root, { body: current }: Root): boolean {
  if (root.repository !== current.repository) return false;
  return descendsFromKey(root, current.publicKey, 0) || descendsFromKey(current, root.publicKey, 0);
}

/** True if `root` is signed by the key of `current`, or by one that replaced it since. */
function maySign({ body }: Root, { body: { publicKey, counter } }: Root): boolean {
  return descendsFromKey(body, publicKey, counter);
}

export function replaced(): BackupError {
  return new BackupError(
    'store-replaced',
    'this storage VM belongs to another repository: use another storage VM, or move its folder qubes-backup away there',
  );
}

/** Throws `store-replaced`, `store-rolled-back` or `refused` unless `root` may follow `current`. */
export function checkSuccessor(root: Root, current: Root): void {
  if (!maySign(root, current)) throw replaced();
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
