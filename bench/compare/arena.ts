/** The contenders with a store each, over one data set: they do each step one after the other, under the same conditions. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { bold, print, seconds } from '../support/terminal.ts';
import { Failed, perform, remove, sizeOf, warm } from './contender.ts';
import type { Commands, Contender, Place } from './contender.ts';
import type { Source } from './ground.ts';
import type { Results, Unit } from './results.ts';

interface Entrant {
  readonly contender: Contender;
  readonly place: Place;
  /** Why its store is not what the others' are. */
  broken: string | undefined;
}

export interface Step {
  /** The row; undefined for what only leads to one. */
  readonly title: string | undefined;
  readonly commands: (place: Place) => Commands;
  /** What is read meanwhile, and therefore before. */
  readonly reads: 'data' | 'store';
  /** It leaves something at the restored place. */
  readonly restores?: true;
  /** Bytes that are gone through. */
  readonly bytes?: (place: Place) => number;
}

export class Arena {
  readonly source: Source;
  readonly #folder: string;
  readonly #results: Results;
  readonly #entrants: Entrant[] = [];

  private constructor(folder: string, source: Source, results: Results) {
    this.#folder = folder;
    this.source = source;
    this.#results = results;
  }

  /** Gives every contender an empty store. `turn` says who begins: nobody is always the first. */
  static async open(
    folder: string,
    source: Source,
    contenders: readonly Contender[],
    results: Results,
    turn = 0,
  ): Promise<Arena> {
    const arena = new Arena(folder, source, results);
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(i + turn) % contenders.length];
      if (contender === undefined) continue;
      const at = join(folder, String(i));
      mkdirSync(at, { recursive: true });
      const place = contender.place(at, source);
      arena.#entrants.push({ contender, place, broken: undefined });
    }
    await arena.step({ title: undefined, commands: (place) => place.init(), reads: 'data' });
    return arena;
  }

  /** Every contender does it. One that fails is told of, in the row too, and so is whatever it cannot do for that reason. */
  async step({ title, commands, reads, bytes, restores }: Step): Promise<void> {
    for (const entrant of this.#entrants) {
      const { contender, place, broken } = entrant;
      if (broken !== undefined) {
        this.#fail(title, contender.name, 's', `not run: ${broken}`);
        continue;
      }
      if (title !== undefined) warm(this.source.data, ...(reads === 'store' ? [place.store] : []));
      try {
        const costs = await perform(commands(place));
        if (title === undefined) continue;
        this.#results.addTime(title, contender.name, costs, bytes?.(place));
        const took = costs.reduce((sum, cost) => sum + cost.seconds, 0);
        print(`  ${title}: ${contender.name}: ${seconds(took * 1000)}`);
      } catch (error) {
        if (!(error instanceof Failed)) throw error;
        entrant.broken = error.message;
        this.#fail(title, contender.name, 's', error.message);
      }
      if (restores) this.source.clear(place.restored);
    }
  }

  /** Notes how much each store takes. */
  measureStores(title: string): void {
    for (const { contender, place, broken } of this.#entrants)
      if (broken === undefined) this.#results.addSize(title, contender.name, sizeOf(place.store));
      else this.#fail(title, contender.name, 'bytes', `not measured: ${broken}`);
  }

  close(): void {
    remove(this.#folder);
  }

  #fail(title: string | undefined, contender: string, unit: Unit, why: string): void {
    print(bold(`  FAILED: ${title ?? 'preparing'}: ${contender}: ${why}`));
    this.#results.addFailure(title ?? 'preparing', contender, unit, why);
  }
}
