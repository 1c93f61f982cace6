/**
 * The ledger: what a storage VM remembers beside its objects, so that it alone decides when a dead one goes. It is a folder of
 * this machine, whatever the back end. If it is lost, nothing is removed before another grace period has passed.
 *
 *     lock           held by who changes anything but `puts/`
 *     clock          store-age (clock.ts)
 *     puts/          what was put lately (puts.ts)
 *     marks/         rows of objects by shard (marks.ts)
 *     root-ages      when each root was published (root-ages.ts)
 *     state          how far the sweep is (below)
 *     purging        what is being removed at this instant (purging.ts)
 *     newest-root    a hint
 */

import { dirname, join } from 'node:path';
import * as z from 'zod';
import { explained, makeFolder, removeStale, syncFolder } from '../files.ts';
import { locked } from '../lock.ts';
import { StoreClock } from './clock.ts';
import { readJson, writeJson } from './json.ts';
import { Marks } from './marks.ts';
import { Purging } from './purging.ts';
import { PutJournal, PutReader } from './puts.ts';
import type { Offsets } from './puts.ts';
import { RootAges } from './root-ages.ts';

const count = z.int().min(0);

/** How far a pass over all shards is, for the live list of one root. */
const pass = z.strictObject({
  /** The number of that root. */
  root: count,
  /** First all shards are weighed, then the list is applied to them. */
  phase: z.enum(['weigh', 'mark']),
  /** Shards done in this phase. */
  shards: count,
  /** What the list would newly leave out, or has within a day; and all there is. */
  deadBytes: count,
  objects: count,
  bytes: count,
  /** As in the state; of the shards that were marked. */
  oldestDead: z.nullable(count),
});
export type Pass = z.output<typeof pass>;

const state = z.strictObject({
  pass: z.nullable(pass),
  /** The newest root whose list was applied. */
  applied: count,
  /** A list that leaves out so much that it waits for the owner's word. */
  waiting: z.nullable(z.strictObject({ root: count, deadBytes: count, bytes: count })),
  /** The newest root whose list the owner accepted, however much it leaves out. */
  accepted: count,
  /** Store-age since which an object may be dead at the earliest; null if none is. */
  oldestDead: z.nullable(count),
  /** The number of the oldest root, or one before it. */
  firstRoot: count,
  /** Objects and bytes in the store, as of `offsets`; null if they were never counted. */
  counted: z.nullable(z.strictObject({ objects: count, bytes: count })),
  /** How far puts/ was read into the marks. */
  offsets: z.record(z.string(), count),
});
export type LedgerState = z.output<typeof state>;

const hint = z.strictObject({ number: count });
/** What was done when the operating system refused something. */
const WRITING = 'writing the ledger of its store';

const NEW_STATE: LedgerState = {
  pass: null,
  applied: 0,
  waiting: null,
  accepted: 0,
  oldestDead: null,
  firstRoot: 0,
  counted: null,
  offsets: {},
};

export class Ledger {
  readonly clock: StoreClock;
  readonly marks: Marks;
  readonly rootAges: RootAges;
  readonly purging: Purging;
  readonly #folder: string;
  #made: Promise<void> | undefined;

  /** `folder` need not exist, its parent must. `now` answers milliseconds since 1970. */
  constructor(folder: string, now?: () => number) {
    this.#folder = folder;
    this.clock = new StoreClock(folder, now);
    this.marks = new Marks(join(folder, 'marks'));
    this.rootAges = new RootAges(join(folder, 'root-ages'));
    this.purging = new Purging(folder, this.#path('lock'));
  }

  /** Runs `action` as the only one of this storage VM. */
  locked<T>(action: () => Promise<T>): Promise<T> {
    return explained(WRITING, async () => {
      await this.#make();
      return locked(this.#path('lock'), action);
    });
  }

  async readState(): Promise<LedgerState> {
    return (await readJson(this.#path('state'), state)) ?? NEW_STATE;
  }

  /** Only under the lock. What it says of the marks holds after a crash as well: they are made durable first. */
  async writeState(value: LedgerState): Promise<void> {
    await this.marks.sync();
    await writeJson(this.#path('state'), state, value);
  }

  /** The file of a put session that begins. */
  openPuts(): Promise<PutJournal> {
    return explained(WRITING, async () => {
      await this.#make();
      return PutJournal.create(this.#path('puts'), () => this.clock.age());
    });
  }

  readPuts(offsets: Offsets): PutReader {
    return new PutReader(this.#path('puts'), offsets);
  }

  /** A number not above the newest root's, or undefined. */
  async newestRootHint(): Promise<number | undefined> {
    return (await readJson(this.#path('newest-root'), hint))?.number;
  }

  async writeNewestRootHint(number: number): Promise<void> {
    await writeJson(this.#path('newest-root'), hint, { number });
  }

  /** Makes the folder, durably, once a process, and removes what dead sessions left in it. */
  #make(): Promise<void> {
    this.#made ??= (async () => {
      await makeFolder(this.#folder);
      await syncFolder(dirname(this.#folder));
      for (const folder of [this.#folder, this.#path('marks')]) await removeStale(folder);
    })();
    return this.#made;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}
