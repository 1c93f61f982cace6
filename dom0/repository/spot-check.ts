/**
 * The spot check of a backup (R58): random objects of the VM are fetched from the storage VM, never from the cache, and
 * verified. A storage VM that acknowledges and discards is so found out by the run itself, not by a restore years later. Of several
 * stores each object is asked of one, whichever.
 */

import { randomInt } from 'node:crypto';
import { isBackupError } from '../../shared/errors.ts';
import type { NumberSet } from '../../shared/numbers.ts';
import { KIND } from '../seal/object.ts';
import type { Kind } from '../seal/object.ts';
import type { ObjectStore, StoredObject } from './object-store.ts';
import type { Reference } from './records.ts';
import type { VmHistory } from './vm-history.ts';

/** Objects that one VM's check fetches at the same time once its run is stored. */
const AHEAD = 2;

/** What was checked, in objects and bytes of their payload, and what was wrong, by name. */
export interface SpotChecked {
  objects: number;
  bytes: number;
  readonly faults: string[];
}

/** The part of a store that is asked. */
type Checked = Pick<ObjectStore, 'getFromOneStore' | 'spotChecks'>;

export class SpotCheck {
  readonly result: SpotChecked = { objects: 0, bytes: 0, faults: [] };
  readonly #store: Checked;
  #stopped = false;

  constructor(store: Checked) {
    this.#store = store;
  }

  /** Nothing more is fetched, and what fails from now on is no fault: the run is over. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Checks random blobs among `numbers`, and the VM's own records, until about `budget` bytes were verified, or all.
   * Throws what is no fault of an object: a storage VM that died, or broke the protocol.
   */
  async earlier(history: VmHistory, numbers: NumberSet, budget: number): Promise<void> {
    const records = recordsOf(history);
    const total = records.length + numbers.size;
    // One at a time: it goes on beside an upload, which takes the memory that dom0 may have.
    await this.#check(1, randomOrder(total), budget, async (index) => {
      return records[index] ?? blobAt(history, numbers.at(index - records.length));
    });
  }

  /** Checks a sample of what was just stored. Throws as {@link earlier}. */
  async stored(sample: readonly StoredObject[], budget: number): Promise<void> {
    await this.#check(AHEAD, randomOrder(sample.length), budget, (index) => Promise.resolve(sample[index]));
  }

  async #check(
    ahead: number,
    order: Iterator<number, undefined>,
    budget: number,
    targetOf: (index: number) => Promise<StoredObject | undefined>,
  ): Promise<void> {
    let left = budget;
    const work = async () => {
      while (left > 0 && !this.#stopped) {
        const { value: index } = order.next();
        if (index === undefined) return;
        const bytes = await this.#store.spotChecks.run(() => this.#verify(() => targetOf(index)));
        left -= bytes; // Not in one expression with the await: it would take off from what was left before.
      }
    };
    await Promise.all(Array.from({ length: ahead }, work));
  }

  /** Bytes of payload that were verified. */
  async #verify(find: () => Promise<StoredObject | undefined>): Promise<number> {
    try {
      const target = await find();
      if (target === undefined) return 0;
      const { sealer, id, what } = target;
      const { length } = await this.#store.getFromOneStore(sealer, id, what);
      this.result.objects += 1;
      this.result.bytes += length;
      return length;
    } catch (error) {
      if (this.#stopped) return 0;
      if (!isBackupError(error, 'store-damaged', 'store-missing')) throw error;
      this.result.objects += 1;
      this.result.faults.push(error.message);
      return 0;
    }
  }
}

async function blobAt(history: VmHistory, number: number | undefined): Promise<StoredObject | undefined> {
  if (number === undefined) return undefined;
  const row = await history.rowOf(number);
  const sealer = history.sealer(row.kind, number, row.epoch);
  return { sealer, id: row.id, what: `blob ${number} of ${history.name}` };
}

/** What a VM's record refers to beside its snapshots. On this machine all of it is read from the cache. */
function recordsOf(history: VmHistory): StoredObject[] {
  const { leaves, segments, live } = history.record;
  const target = (kind: Kind, number: number, { object, epoch }: Reference, what: string) => ({
    sealer: history.sealer(kind, number, epoch),
    id: object,
    what: `${what} of ${history.name}`,
  });
  return [
    ...leaves.map((leaf, index) => target(KIND.tableLeaf, index, leaf, `blob table ${index}`)),
    ...segments.map((segment, index) => target(KIND.snapshotSegment, index, segment, 'a list of snapshots')),
    ...history.record.head.map((entry) =>
      target(KIND.snapshot, entry.number, entry, `snapshot ${entry.number}`),
    ),
    ...(live === null ? [] : [target(KIND.liveSet, live.snapshot, live, 'the live set')]),
  ];
}

/** The numbers below `count` in random order, made as they are asked for (Fisher and Yates, with what moved in a map). */
function* randomOrder(count: number): Generator<number, undefined> {
  const moved = new Map<number, number>();
  for (let left = count; left > 0; left--) {
    const index = randomInt(left);
    yield moved.get(index) ?? index;
    moved.set(index, moved.get(left - 1) ?? left - 1);
  }
  return undefined;
}
