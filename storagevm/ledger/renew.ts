/**
 * Locks against deletion end, also those of what is still needed (docs/back-ends.md). In each half of a lock's time one round goes
 * over the store and puts off the end of all that is not dead, and of the roots: so what is needed is locked for at
 * least half of it, at any time, for as long as somebody calls. Only under the ledger's lock.
 *
 *     renewing       below
 */

import { join } from 'node:path';
import * as z from 'zod';
import { SHARDS, objectName, rootName } from '../back-end.ts';
import type { StoreName } from '../back-end.ts';
import { listShard } from '../listing.ts';
import { readJson, writeJson } from './json.ts';
import type { SweepOptions } from './sweep-options.ts';

/** A place that locks what it stores. */
export interface Locks {
  /** Milliseconds that a round has: half of a lock's time. */
  readonly period: number;
  /**
   * From `now` (milliseconds since 1970) on the files are locked for the whole time again; those that are not there are no
   * failure. Throws what the place says if it refuses.
   */
  renew(names: readonly StoreName[], now: number): Promise<void>;
}

/** Objects after which it is looked whether to stop, and shards after which it is written down how far it is. */
const AT_ONCE = 256;
const SHARDS_AT_ONCE = 16;

const state = z.strictObject({
  /** This machine's clock when the round began, milliseconds since 1970. */
  began: z.int(),
  /** Shards done; the roots come after them. */
  shards: z.int().min(0),
  /** The last object done of the shard after them; empty before the first. */
  last: z.string(),
  done: z.boolean(),
});
type Round = z.output<typeof state>;

export class Renewal {
  readonly #locks: Locks;
  readonly #file: string;
  readonly #now: () => number;

  /** `folder`: of the ledger. `now` answers milliseconds since 1970. */
  constructor(locks: Locks, folder: string, now: () => number = Date.now) {
    this.#locks = locks;
    this.#file = join(folder, 'renewing');
    this.#now = now;
  }

  /** True if a round is to begin, or was begun and is not done. Cheap. */
  async isDue(): Promise<boolean> {
    return !(await this.#round()).done;
  }

  /** True if it is so late that some locks may have ended. */
  async isOverdue(): Promise<boolean> {
    const found = await readJson(this.#file, state);
    const periods = found?.done === true ? 2 : 1;
    return found !== undefined && this.#now() - found.began > periods * this.#locks.period;
  }

  /** Goes on with the round; false if it was stopped before its end. */
  async goOn(options: SweepOptions, stopped: () => boolean): Promise<boolean> {
    let round = await this.#round();
    while (!round.done) {
      const shard = SHARDS[round.shards];
      const next: Round =
        shard === undefined
          ? await this.#renewRoots(options, round)
          : await this.#renewShard(options, shard, round, stopped);
      const isWhole = next.last === ''; // Else it was stopped within a shard.
      if (!isWhole || next.done || stopped() || next.shards % SHARDS_AT_ONCE === 0)
        await writeJson(this.#file, state, next);
      round = next;
      if (!round.done && (!isWhole || stopped())) return false;
    }
    return true;
  }

  async #renewRoots({ roots }: SweepOptions, round: Round): Promise<Round> {
    await this.#locks.renew((await roots.numbers()).map(rootName), this.#now());
    return { ...round, done: true };
  }

  /** Goes on in a shard, looking after some objects whether it is to stop. */
  async #renewShard(
    { backEnd, ledger }: SweepOptions,
    shard: string,
    round: Round,
    stopped: () => boolean,
  ): Promise<Round> {
    const marks = await ledger.marks.read(shard);
    const ids = (await listShard(backEnd, shard)).map(({ id }) => id);
    const left = ids.filter((id) => id > round.last && marks.get(id)?.dead === undefined);
    for (let at = 0; at < left.length; at += AT_ONCE) {
      const some = left.slice(at, at + AT_ONCE);
      await this.#locks.renew(some.map(objectName), this.#now());
      const last = some.at(-1) ?? '';
      if (at + AT_ONCE < left.length && stopped()) return { ...round, last };
    }
    return { ...round, shards: round.shards + 1, last: '' };
  }

  /** The round that is under way, or a new one where the last is as old as a round may be, or this machine's clock went back. */
  async #round(): Promise<Round> {
    const [found, now] = [await readJson(this.#file, state), this.#now()];
    if (found !== undefined && found.began <= now && !(found.done && now - found.began >= this.#locks.period))
      return found;
    return { began: now, shards: 0, last: '', done: false };
  }
}
