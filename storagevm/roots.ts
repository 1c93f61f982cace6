/** The roots of a store, numbered in the order in which it got them. */

import { MAX_ROOT } from '../shared/limits.ts';
import { rootName, rootNumber } from './back-end.ts';
import type { BackEnd } from './back-end.ts';
import type { Ledger } from './ledger/ledger.ts';
import { note } from './note.ts';

export interface NumberedRoot {
  /** 1 for the first. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

export class Roots {
  readonly #backEnd: BackEnd;
  readonly #ledger: Ledger;

  constructor(backEnd: BackEnd, ledger: Ledger) {
    this.#backEnd = backEnd;
    this.#ledger = ledger;
  }

  /** The newest root, unverified but durable: one that dom0 saw must not vanish with the power. Undefined if there is none. */
  async newest(): Promise<NumberedRoot | undefined> {
    const start = (await this.#hinted()) ?? (await this.#last());
    if (start === undefined) return undefined;
    let newest = start;
    for (;;) {
      const next = await this.read(newest.number + 1);
      if (next === undefined) break;
      newest = next;
    }
    await this.#backEnd.sync([rootName(newest.number)]);
    return newest;
  }

  async read(number: number): Promise<NumberedRoot | undefined> {
    const bytes = await this.#backEnd.read(rootName(number), MAX_ROOT);
    return bytes && { number, bytes };
  }

  /** Makes `bytes` the root of this number, durably; false if there is one. */
  async add(number: number, bytes: Uint8Array): Promise<boolean> {
    if (!(await this.#backEnd.create(rootName(number), bytes))) return false;
    // It is published by now: a failure here costs a later reader some steps, and nobody an error.
    await this.#ledger.writeNewestRootHint(number).catch(note);
    return true;
  }

  /** The numbers of all roots, ascending. */
  async numbers(): Promise<number[]> {
    const numbers: number[] = [];
    for await (const batch of this.#backEnd.list('roots'))
      numbers.push(...batch.map(({ name }) => rootNumber(name)).filter((number) => number !== undefined));
    return numbers;
  }

  /** The root that the hint names. Anything odd about the hint means: look for it. */
  async #hinted(): Promise<NumberedRoot | undefined> {
    try {
      const hint = await this.#ledger.newestRootHint();
      return hint === undefined ? undefined : await this.read(hint);
    } catch (error) {
      note(error); // Only speed depends on it.
      return undefined;
    }
  }

  async #last(): Promise<NumberedRoot | undefined> {
    const last = (await this.numbers()).at(-1);
    return last === undefined ? undefined : this.read(last);
  }
}
