/** Kills processes at their steps or lets the steps fail, many at a time, and tells what became of it. */

import { hash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../../shared/format.ts';
import { removeTree } from '../support/temp.ts';
import { AROUND } from './around.ts';
import type { Baseline, Trial } from './lane.ts';
import { cannot } from './confined.ts';
import { CONDITIONS, isCondition, isEvent } from './plan.ts';
import type { Condition, Edit, How } from './plan.ts';
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
  /** With `sample`: so many points of one seed, at least one for each thing that can be wrong around processes. Else all points of as many seeds, one after the other, as have at least so many. */
  readonly points: number;
  readonly sample: boolean;
  /** Ids of points, or what the ids of several begin with: no others are tried. Each says its seed. */
  readonly only: readonly string[] | undefined;
  /** In what way the product is another one: to see that the campaign finds it. */
  readonly edits?: readonly Edit[];
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
  /** All that went wrong in one of them. */
  readonly ways: ReadonlySet<How>;
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
    (_, i) => new Worker(join(options.folder, `lane-${i}`), options.edits ?? []),
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
  readonly #conditions: Condition[] = [];
  readonly #ways = new Set<How>();
  #planned = 0;
  #done = 0;
  #lost = 0;

  constructor(options: Options, workers: readonly Worker[]) {
    this.#options = options;
    this.#workers = workers;
  }

  async run(): Promise<Totals> {
    const { only, seed, points, sample } = this.#options;
    for (const how of CONDITIONS) {
      const missing = cannot(how);
      if (missing === undefined) this.#conditions.push(how);
      else this.#options.print(`NOT TRIED ${AROUND[how].title}: ${missing}`);
    }
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
    const every = scenarios.flatMap((scenario) =>
      pointsOf(seed, scenario, baselines.get(scenario)!, this.#conditions),
    );
    const all = ids?.flatMap((id) => pointsNamed(id, every)) ?? every;
    const { sample, points: count } = this.#options;
    const points = sample ? sampleOf(all, count) : all;
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
    this.#ways.add(point.fault.how);
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
    return { ...sum, ways: this.#ways };
  }
}

/**
 * So many of `all`, or all of them, in the order of a hash of their ids: runs differ by a few steps, and the sample by no more than
 * those.
 */
function chosen(all: readonly Point[], count: number): Point[] {
  const rank = (point: Point) => hash('sha256', idOf(point), 'hex');
  const ranked = all.map((point) => ({ point, rank: rank(point) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked.slice(0, Math.max(count, 0)).map(({ point }) => point);
}

/** So many of `all`, the first of them one of each thing around processes. */
function sampleOf(all: readonly Point[], count: number): Point[] {
  const isAround = ({ fault: { how } }: Point) => isEvent(how) || isCondition(how);
  const ways = new Set(all.filter(isAround).map(({ fault }) => fault.how));
  const around = [...ways].flatMap((way) =>
    chosen(
      all.filter(({ fault }) => fault.how === way),
      1,
    ),
  );
  const steps = all.filter((point) => !isAround(point));
  return [...around, ...chosen(steps, count - around.length)].slice(0, count);
}
