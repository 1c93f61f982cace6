/** Kills processes at their steps or lets the steps fail, many at a time, and tells what became of it. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../../shared/format.ts';
import { Random } from '../support/random.ts';
import { removeTree } from '../support/temp.ts';
import type { Baseline, Trial } from './lane.ts';
import { idOf, isNamed, pointsNamed, pointsOf, rowOf, seedOf } from './points.ts';
import type { Point } from './points.ts';
import { makeScenarios } from './scenarios.ts';
import type { Scenario } from './scenarios.ts';
import { Worker } from './workers.ts';

export interface Options {
  /** An empty folder, which is filled. */
  readonly folder: string;
  /** Decides what is backed up, and which points a sample has. */
  readonly seed: number;
  /** With `sample`: so many points of one seed. Else all points of as many seeds, one after the other, as have at least so many. */
  readonly points: number;
  readonly sample: boolean;
  /** Ids of points, or what the ids of several begin with: no others are tried. Each says its seed. */
  readonly only: readonly string[] | undefined;
  /** How many are tried at a time. */
  readonly lanes: number;
  /** Ends it early; what was tried until then is told. */
  readonly signal?: AbortSignal;
  readonly print: (line: string) => void;
  /** Told after each point; `total` grows with the seeds. */
  readonly progress: (done: number, total: number, lost: number) => void;
}

export interface Totals {
  readonly points: number;
  readonly lost: number;
  /** Points that the run did not come to: it took fewer steps than the one that was counted. */
  readonly unreached: number;
}

interface Row {
  points: number;
  lost: number;
  unreached: number;
}

export async function runCampaign(options: Options): Promise<Totals> {
  const workers = Array.from(
    { length: options.lanes },
    (_, i) => new Worker(join(options.folder, `lane-${i}`)),
  );
  try {
    return await new Campaign(options, workers).run();
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}

class Campaign {
  readonly #options: Options;
  readonly #workers: readonly Worker[];
  readonly #rows = new Map<string, Row>();
  #planned = 0;
  #done = 0;
  #lost = 0;

  constructor(options: Options, workers: readonly Worker[]) {
    this.#options = options;
    this.#workers = workers;
  }

  async run(): Promise<Totals> {
    const { only, seed, points, sample } = this.#options;
    if (only !== undefined) for (const own of new Set(only.map(seedOf))) await this.#seed(own, only);
    else
      for (let at = seed; this.#done < points && !this.#isStopped; at++) {
        await this.#seed(at);
        if (sample) break;
      }
    return this.#tell();
  }

  get #isStopped(): boolean {
    return this.#options.signal?.aborted === true;
  }

  /** Tries the points of a seed: all, those that ids say, or a sample of these. */
  async #seed(seed: number, ids?: readonly string[]): Promise<void> {
    const folder = join(this.#options.folder, `seed-${seed}`);
    mkdirSync(folder);
    const scenarios = (await makeScenarios(folder, seed)).filter((one) => isNamed(one, ids));
    const baselines = new Map<Scenario, Baseline>();
    await this.#each(scenarios, async (scenario, worker) => {
      baselines.set(scenario, await worker.baseline(scenario));
    });
    if (this.#isStopped) return;
    const every = scenarios.flatMap((scenario) => pointsOf(seed, scenario, baselines.get(scenario)!));
    const all = ids?.flatMap((id) => pointsNamed(id, every)) ?? every;
    const points = this.#options.sample ? chosen(all, this.#options.points, new Random(seed)) : all;
    this.#planned += points.length;
    await this.#each(points, async (point, worker) => {
      const { usual } = baselines.get(point.scenario)!;
      const trial = await worker.try(point.scenario, point.fault, usual);
      if (!this.#isStopped) this.#count(point, trial); // Else the lane may have been stopped too.
    });
    removeTree(folder);
  }

  /** Does `work` on everything, as many at a time as there are workers. */
  async #each<T>(all: readonly T[], work: (one: T, worker: Worker) => Promise<void>): Promise<void> {
    const left = all.values();
    await Promise.all(
      this.#workers.map(async (worker) => {
        for (const one of left) if (!this.#isStopped) await work(one, worker);
      }),
    );
  }

  #count(point: Point, { step, problems, milliseconds }: Trial): void {
    const { print, progress } = this.#options;
    const name = rowOf(point);
    const row = this.#rows.get(name) ?? { points: 0, lost: 0, unreached: 0 };
    this.#rows.set(name, row);
    row.points += 1;
    this.#done += 1;
    if (problems.length > 0) {
      row.lost += 1;
      this.#lost += 1;
      print(`LOST ${idOf(point)} (${step ?? 'not reached'}, ${Math.round(milliseconds)} ms)`);
      for (const problem of problems) print(`  ${problem}`);
      print(`  again: npm run faults -- --case '${idOf(point)}'`);
    } else if (step === undefined) row.unreached += 1;
    progress(this.#done, this.#planned, this.#lost);
  }

  #tell(): Totals {
    const sum: Row = { points: 0, lost: 0, unreached: 0 };
    const rows = [...this.#rows].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [, { points, lost, unreached }] of rows) {
      sum.points += points;
      sum.lost += lost;
      sum.unreached += unreached;
    }
    const cells = ([name, { points, lost, unreached }]: readonly [string, Row]) =>
      [name, ...[points, points - lost, lost, unreached].map(String)] as const;
    const table = [
      ['fault', 'points', 'survived', 'lost', 'ended before'],
      ...[...rows, ['all', sum] as const].map(cells),
    ];
    for (const line of formatTable(table, [1, 2, 3, 4])) this.#options.print(line);
    return sum;
  }
}

/** So many of `all`, or all of them, in the order that `random` decides. */
function chosen<T>(all: readonly T[], count: number, random: Random): T[] {
  const left = [...all];
  return Array.from(
    { length: Math.min(count, all.length) },
    () => left.splice(random.below(left.length), 1)[0]!,
  );
}
