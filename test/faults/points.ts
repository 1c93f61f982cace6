/** Where processes can die, and what each such point is called. */

import type { Baseline } from './lane.ts';
import { DIVISIBLE } from './plan.ts';
import type { Death, ProcessName, When } from './plan.ts';
import type { Scenario } from './scenarios.ts';

export interface Point {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly death: Death;
}

const WHEN: readonly When[] = ['before', 'halfway', 'after'];

/** All points of a scenario, of which `baseline` is a run without a death. */
export function pointsOf(seed: number, scenario: Scenario, baseline: Baseline): Point[] {
  return [...baseline.steps].flatMap(([process, steps]) =>
    steps.flatMap((step, at) =>
      WHEN.filter((when) => when !== 'halfway' || step.endsWith(DIVISIBLE)).map((when) => ({
        ...{ seed, scenario },
        death: { process, step: at + 1, when },
      })),
    ),
  );
}

/** For `--case`: `SEED:SCENARIO:PROCESS:STEP:WHEN`. */
export function idOf({ seed, scenario, death: { process, step, when } }: Point): string {
  return [seed, nameOf(scenario), process, step, when].join(':');
}

const nameOf = ({ name }: Scenario): string => name.replaceAll(' ', '-');

export const seedOf = (id: string): number => Number(id.split(':')[0]);

/** Whether one of `ids` is of a point in the scenario. */
export function isNamed(scenario: Scenario, ids: readonly string[] | undefined): boolean {
  return ids?.some((id) => [undefined, nameOf(scenario)].includes(id.split(':')[1])) ?? true;
}

/** Those of `every` whose id is `id` or begins so; a single one also if its step was not counted, as runs differ by a few. */
export function pointsNamed(id: string, every: readonly Point[]): Point[] {
  const found = every.filter((point) => `${idOf(point)}:`.startsWith(`${id}:`));
  if (found.length > 0) return found;
  const [seed, name, process, step, word] = id.split(':');
  const point = every.find((one) => one.seed === Number(seed) && nameOf(one.scenario) === name);
  const when = WHEN.find((one) => one === word);
  if (point === undefined || when === undefined || !(Number(step) > 0)) return [];
  return [{ ...point, death: { process: process as ProcessName, step: Number(step), when } }];
}

/** The row of the table in which a point counts. */
export function faultOf({ scenario, death: { process } }: Point): string {
  return `${process.split('#')[0] ?? ''} dies in: ${scenario.name}`;
}
