/**
 * Takes snapshots out of a VM's history. Each snapshot says what was born in it and what died since the one before; so one that is
 * kept takes over what was born in those that go before it, and what died is reckoned from the one before them (docs/format.md,
 * section 5). No blob is read, and none is removed: storage drops what no live list names.
 */

import { BackupError } from '../../shared/errors.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { KIND } from '../seal/object.ts';
import { snapshotSchema } from './records.ts';
import type { Reference, Snapshot } from './records.ts';
import type { Repository } from './repository.ts';
import { replaceEntries } from './snapshot-segments.ts';
import type { VmHistory } from './vm-history.ts';

/** Publishes the VM's record without the snapshots of these numbers; the newest one cannot be among them. */
export async function forgetSnapshots(
  repository: Repository,
  history: VmHistory,
  numbers: ReadonlySet<number>,
  now: () => number,
): Promise<void> {
  const before = await history.entries();
  const newest = before.at(-1);
  if (newest === undefined || numbers.has(newest.number))
    throw new BackupError('internal', 'the newest snapshot of a VM stays');
  const relinked = await relink(repository, history, numbers);
  const entries = before
    .filter(({ number }) => !numbers.has(number))
    .map((entry) => {
      const reference = relinked.get(entry.number);
      return reference === undefined ? entry : { ...entry, ...reference };
    });
  await replaceEntries(repository, history, before, entries, now);
}

/** A snapshot that is kept, while those before it are looked at. */
interface Kept {
  readonly snapshot: Snapshot;
  readonly live: NumberSet;
  /** First number of all that was born in it or in those dropped before it. */
  firstNumber: number;
}

/** Where the kept snapshots that follow dropped ones are now, by their numbers. */
async function relink(
  repository: Repository,
  history: VmHistory,
  dropped: ReadonlySet<number>,
): Promise<Map<number, Reference>> {
  const relinked = new Map<number, Reference>();
  const end = async ({ snapshot, live, firstNumber }: Kept, before: NumberSet) => {
    if (firstNumber === snapshot.firstNumber) return;
    const next: Snapshot = { ...snapshot, firstNumber, died: before.minus(live) };
    relinked.set(next.number, await putSnapshot(repository, history, next));
  };
  let kept: Kept | undefined;
  for await (const { snapshot, live } of history.snapshotsWithLive()) {
    const { number, firstNumber } = snapshot;
    if (kept !== undefined && dropped.has(number)) kept.firstNumber = firstNumber;
    else {
      if (kept !== undefined) await end(kept, live);
      kept = { snapshot, live, firstNumber };
    }
  }
  if (kept !== undefined) await end(kept, NumberSet.empty);
  return relinked;
}

async function putSnapshot(
  { store }: Repository,
  history: VmHistory,
  snapshot: Snapshot,
): Promise<Reference> {
  const { epoch } = history;
  const sealer = history.sealer(KIND.snapshot, snapshot.number, epoch);
  return { object: await store.putRecord(sealer, snapshotSchema, snapshot), epoch };
}
