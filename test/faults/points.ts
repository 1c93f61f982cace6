/** Where processes can die or fail, and what each such point is called. */

import type { Baseline } from './lane.ts';
import { DIVISIBLE, FAILURES, isDeath } from './plan.ts';
import type { Death, Failure, Fault, ProcessName } from './plan.ts';
import type { Scenario } from './scenarios.ts';

export interface Point {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly fault: Fault;
}

const DEATHS: readonly Death[] = ['before', 'halfway', 'after'];
const HOW: readonly Fault['how'][] = [...DEATHS, 'ENOSPC', 'EIO', 'EROFS', 'short'];

/** All points of a scenario, of which `baseline` is a run without a fault. */
export function pointsOf(seed: number, scenario: Scenario, baseline: Baseline): Point[] {
  return [...baseline.steps].flatMap(([process, steps]) =>
    steps.flatMap((step, at) =>
      faultsOf(step).map((how) => ({ ...{ seed, scenario }, fault: { process, step: at + 1, how } })),
    ),
  );
}

/** All that can go wrong at a step, of which `line` is the record. */
function faultsOf(line: string): (Death | Failure)[] {
  const kind = line.replace(DIVISIBLE, '');
  const inParts = kind !== line;
  const failures = FAILURES[kind] ?? [];
  return [
    ...DEATHS.filter((how) => inParts || how !== 'halfway'),
    ...failures.filter((how) => inParts || how !== 'short'),
  ];
}

/** For `--case`: `SEED:SCENARIO:PROCESS:STEP:HOW`. */
export function idOf({ seed, scenario, fault: { process, step, how } }: Point): string {
  return [seed, nameOf(scenario), process, step, how].join(':');
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
  const how = HOW.find((one) => one === word);
  if (point === undefined || how === undefined || !(Number(step) > 0)) return [];
  return [{ ...point, fault: { process: process as ProcessName, step: Number(step), how } }];
}

/** The row of the table in which a point counts. */
export function rowOf({ scenario, fault: { process, how } }: Point): string {
  const what = isDeath(how) ? 'dies in' : how === 'short' ? 'writes short in' : `meets ${how} in`;
  return `${process.split('#')[0] ?? ''} ${what}: ${scenario.name}`;
}
