/**
 * Store-age: the time that a store has lived, in seconds. It is the sum of the steps of this machine's clock, each at most
 * 26 hours and never below zero. So a clock that jumps years ahead ends no grace period, and one that jumps back loses no more
 * than it waits.
 */

import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from './json.ts';

/** Longest step that counts, in milliseconds: a day, and two hours for a machine that is not used at the same time each day. */
const MAX_STEP = 26 * 3600_000;

const state = z.strictObject({
  /** Milliseconds. */
  age: z.int().min(0),
  /** This machine's clock when it was `age`, milliseconds since 1970. */
  at: z.int(),
});

export class StoreClock {
  readonly #file: string;
  readonly #now: () => number;

  /** `now` answers milliseconds since 1970. */
  constructor(folder: string, now: () => number = Date.now) {
    this.#file = join(folder, 'clock');
    this.#now = now;
  }

  /** The store-age, in seconds; 0 of a store that nothing was recorded of. */
  async age(): Promise<number> {
    return Math.floor((await this.#read()).age / 1000);
  }

  /** Records that this time has passed, and answers the age. Only under the lock. */
  async advance(): Promise<number> {
    const now = await this.#read();
    await writeJson(this.#file, state, now);
    return Math.floor(now.age / 1000);
  }

  async #read(): Promise<z.output<typeof state>> {
    const now = this.#now();
    const last = (await readJson(this.#file, state)) ?? { age: 0, at: now };
    return { age: last.age + Math.min(Math.max(now - last.at, 0), MAX_STEP), at: now };
  }
}
