/** Where processes can die or fail, and what each such point is called. */

import { AROUND } from './around.ts';
import { servicesOf } from './program.ts';
import type { Baseline } from './lane.ts';
import { CONDITIONS, DIVISIBLE, EVENTS, FAILURES, isCondition, isDeath, isEvent } from './plan.ts';
import type { Condition, Death, Event, Failure, Fault, How, ProcessName } from './plan.ts';
import type { Scenario } from './scenarios.ts';

export interface Point {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly fault: Fault;
}

const DEATHS: readonly Death[] = ['before', 'halfway', 'after'];
const HOW: readonly How[] = [...DEATHS, 'ENOSPC', 'EIO', 'EROFS', 'short', ...EVENTS, ...CONDITIONS];

/** Each event is tried at one of so many steps where it can be: it takes several times as long as a death. */
const STRIDE = 40;
/** What frames can meet, of which there are fewer. */
const STRIDE_OF_FRAMES = 8;

const STORAGE = servicesOf('storagevm');
const DISPOSABLE = servicesOf('dvm');

/** All points of a scenario, of which `baseline` is a run without a fault. `conditions`: those that this machine can make. */
export function pointsOf(
  seed: number,
  scenario: Scenario,
  baseline: Baseline,
  conditions: readonly Condition[],
): Point[] {
  const faults: Fault[] = [...baseline.steps].flatMap(([process, steps]) =>
    steps.flatMap((step, at) => faultsOf(step).map((how) => ({ process, step: at + 1, how }))),
  );
  const events: Fault[] = [...baseline.commandLine].flatMap(([process, steps]) =>
    EVENTS.flatMap((how, offset) =>
      steps
        .map((step, at) => ({ step, fault: { process, step: at + 1, how } }))
        .filter(({ step }) => canHappen(how, process, step.replace(DIVISIBLE, '')))
        .filter(
          (_, at) => at % (how.startsWith('sent') ? STRIDE_OF_FRAMES : STRIDE) === offset % STRIDE_OF_FRAMES,
        )
        .map(({ fault }) => fault),
    ),
  );
  const whole: Fault[] =
    baseline.commandLine.size === 0
      ? []
      : conditions.filter((how) => isOf(how, scenario)).map((how) => ({ process: 'run#1', step: 0, how }));
  return [...faults, ...events, ...whole].map((fault) => ({ seed, scenario, fault }));
}

/** What takes long is tried where it matters. */
function isOf(how: Condition, { name, command }: Scenario): boolean {
  if (how === '300-MiB') return name === 'first backup';
  return how !== 'slow-storage' || command === 'backup' || command === 'restore';
}

function canHappen(how: Event, process: ProcessName, kind: string): boolean {
  const [of = ''] = process.split('#');
  const isStorage = STORAGE.includes(of);
  switch (how) {
    case 'clock-back':
    case 'clock-forward':
    case 'same-state':
    case 'second-machine':
    case 'another-vm':
      return of === 'dom0';
    case 'stopped':
      return isStorage || DISPOSABLE.includes(of);
    case 'stuck':
      return isStorage && kind !== 'start';
    case 'restarted':
    case 'gone':
      return isStorage;
    default:
      return isStorage && kind.startsWith('send ');
  }
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
  return ids?.some((id) => [undefined, '*', nameOf(scenario)].includes(id.split(':')[1])) ?? true;
}

/**
 * Those of `every` whose id is `id` or begins so, with anything for a part of it that is `*`; a single one also if its step was not
 * counted, as runs differ by a few.
 */
export function pointsNamed(id: string, every: readonly Point[]): Point[] {
  const wanted = id.split(':');
  const found = every.filter((point) => {
    const parts = idOf(point).split(':');
    return wanted.every((part, at) => part === '*' || part === parts[at]);
  });
  if (found.length > 0) return found;
  const [seed, name, process, step, word] = id.split(':');
  const point = every.find((one) => one.seed === Number(seed) && nameOf(one.scenario) === name);
  const how = HOW.find((one) => one === word);
  if (point === undefined || how === undefined || !(Number(step) > 0)) return [];
  return [{ ...point, fault: { process: process as ProcessName, step: Number(step), how } }];
}

/** The row of the table in which a point counts. */
export function rowOf({ scenario, fault: { process, how } }: Point): string {
  if (isCondition(how)) return `${AROUND[how].title}: ${scenario.name}`;
  if (isEvent(how)) return `${process.split('#')[0] ?? ''}, ${AROUND[how].title}: ${scenario.name}`;
  const what = isDeath(how) ? 'dies in' : how === 'short' ? 'writes short in' : `meets ${how} in`;
  return `${process.split('#')[0] ?? ''} ${what}: ${scenario.name}`;
}
