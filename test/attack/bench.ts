/** The bench: a world, honest recordings of it, and lanes on which attacks are tried and judged. */

import { join } from 'node:path';
import { UNRUN } from './case.ts';
import type { Case, Trace } from './case.ts';
import type { CommandName, Job, Recordings, Report } from './job.ts';
import { alwaysWrong, seenOf } from './judge.ts';
import type { Seen } from './judge.ts';
import { Lane } from './lane.ts';
import { HONEST } from './peer/attack.ts';
import type { Attack } from './peer/attack.ts';
import { conversed } from './generate.ts';
import type { Conversed, Generated } from './generate.ts';
import { BROWSE, COMPARE, GET, RESTORE, TARGETS } from './list/sessions.ts';
import type { Target } from './list/sessions.ts';
import { learn, problemOf } from './oracle.ts';
import type { Shapes } from './oracle.ts';
import { makeWorld } from './world.ts';
import type { World } from './world.ts';

/** Commands that are attacked, each on a VM. */
const HONEST_RUNS: readonly (readonly [CommandName, string])[] = [
  ['backup', 'work'],
  ['backup', 'vault'],
  ['audit', 'work'],
  ['restore', 'work'],
  ['restore', 'vault'],
  ['restore-first', 'work'],
  ['drill', 'work'],
  ['ls', 'work'],
  ['needing', 'work'],
  ['ls', 'vault'],
  ['history', 'work'],
  ['diff', 'work'],
  ['diff-snapshots', 'work'],
  ['extract', 'work'],
  ['extract-into', 'work'],
  ['check', 'work'],
  ['list', 'work'],
];

/** An honest run of a command: what it showed and left, and what its disposables said. */
export interface Baseline {
  readonly report: Report;
  readonly left: readonly Trace[];
  readonly recordings: Recordings;
}

export interface Verdict {
  readonly seen: Seen;
  /** What is wrong, if anything is. */
  readonly fault: string | undefined;
}

const NO_PATIENCE = {} as const;

export class Bench {
  readonly world: World;
  readonly lanes: readonly Lane[];
  readonly #baselines: ReadonlyMap<string, Baseline>;

  private constructor(world: World, lanes: readonly Lane[], baselines: ReadonlyMap<string, Baseline>) {
    this.world = world;
    this.lanes = lanes;
    this.#baselines = baselines;
  }

  /** Builds everything in `folder`, for so many attacks at a time; `limit`: milliseconds after which one counts as hung. */
  static async open(folder: string, width: number, limit?: number): Promise<Bench> {
    const world = await makeWorld(folder);
    const lanes = Array.from(
      { length: width },
      (_, i) => new Lane(join(folder, `lane-${i}`), world.home.folder, limit),
    );
    const baselines = new Map<string, Baseline>();
    await Promise.all(
      lanes.map(async (lane, index) => {
        for (const [at, [command, vm]] of HONEST_RUNS.entries())
          if (at % width === index) baselines.set(`${command} ${vm}`, await baselineOf(lane, command, vm));
      }),
    );
    return new Bench(world, lanes, baselines);
  }

  async close(): Promise<void> {
    await Promise.all(this.lanes.map((lane) => lane.stop()));
  }

  /** Highest resident memory of any dom0, in KiB. */
  get peak(): number {
    return Math.max(...this.lanes.map(({ victim }) => victim.peak));
  }

  baseline(command: CommandName, vm = 'work'): Baseline {
    const found = this.#baselines.get(`${command} ${vm}`);
    if (found === undefined) throw new Error(`no honest run of ${command} on ${vm}`);
    return found;
  }

  /** Does `work` on everything, as many at a time as there are lanes. */
  async each<T>(all: readonly T[], work: (one: T, lane: Lane) => Promise<void>): Promise<void> {
    let next = 0;
    await Promise.all(
      this.lanes.map(async (lane) => {
        for (let one = all[next++]; one !== undefined; one = all[next++]) await work(one, lane);
      }),
    );
  }

  /** Tries a written case, and holds what is seen against what the list says. `mutant`: a check that is left out (mutants.ts). */
  async try(one: Case, lane: Lane, mutant?: string): Promise<Verdict> {
    const {
      command,
      vm,
      service,
      turns,
      recount,
      blurt,
      status,
      discards,
      patience,
      clean,
      apart,
      receiver,
    } = one;
    const { report, recordings, left: usual } = this.baseline(command, vm);
    const attack: Attack = { turns, recount, blurt, status, discards };
    const spoken = Object.entries({ ...recordings, ...one.recordings });
    const said = Object.fromEntries(
      spoken.filter((entry): entry is [string, Recordings[string]] => entry[1] !== null),
    );
    const job: Job = {
      ...{ command, vm, service, attack, patience },
      ...{
        recordings: said,
        hosted: !apart && !needsProcess(attack),
        passphrase: one.passphrase ?? clean,
        capacity: one.capacity,
        mutant,
        apart,
        receiver,
      },
    };
    if (one.fresh) await lane.stop();
    const { result, left } = await lane.attack(job, clean);
    const seen = seenOf(result, report, left);
    return { seen, fault: faultOf(one, seen, usual) ?? (await this.#next(one, lane)) };
  }

  /** An honest conversation of each session, and what frames look like in it. */
  async listen(): Promise<Heard> {
    const sessions: Conversed[] = [];
    const shapes: Shapes = new Map();
    await this.each(SESSIONS, async (target, lane) => {
      const { command, service } = target;
      const { recordings } = this.baseline(command);
      const { result } = await lane.attack({ ...honestJob(command, 'work'), service, recordings });
      const said = result.kind === 'report' ? result.report.said : [];
      for (const one of said) learn(service, one, shapes);
      const first = said[0];
      if (first === undefined)
        throw new Error(`${service} said nothing: ${JSON.stringify(result).slice(0, 1000)}`);
      sessions.push(conversed(target, first));
    });
    sessions.sort((a, b) => (a.target.key < b.target.key ? -1 : 1));
    return { sessions, shapes };
  }

  /** Tries a generated case: nothing is written of it but what holds for all. */
  async tryGenerated({ target, attack }: Generated, heard: Heard, lane: Lane): Promise<Verdict> {
    const { command, service } = target;
    const { report, recordings, left: usual } = this.baseline(command);
    const { result, left } = await lane.attack({
      ...{ command, vm: 'work', service, attack, recordings },
      ...{
        patience: { idle: GENERATED_IDLE },
        hosted: true,
        passphrase: false,
        apart: false,
        receiver: undefined,
        capacity: undefined,
        mutant: undefined,
      },
    });
    const seen = seenOf(result, report, left);
    return { seen, fault: alwaysWrong(seen) ?? faultOfGenerated(target, seen, heard.shapes, usual) };
  }

  /** What is wrong with the command after the attack. */
  async #next({ next, vm }: Case, lane: Lane): Promise<string | undefined> {
    if (next === undefined) return undefined;
    const result = await lane.goOn({ ...honestJob(next.command, vm), recordings: undefined });
    const outcome = result.kind === 'report' ? (result.report.failure?.code ?? 'done') : result.kind;
    return outcome === next.outcome
      ? undefined
      : `then ${next.command} ended with ${outcome}, not ${next.outcome}`;
  }
}

/** What generated attacks start from. */
export interface Heard {
  readonly sessions: readonly Conversed[];
  readonly shapes: Shapes;
}

/** Milliseconds of silence that count as stuck in generated cases, of which many are silent. */
const GENERATED_IDLE = 200;

/** A session of each service, and of each kind of question. */
const SESSIONS: readonly Target[] = [
  ...TARGETS,
  { ...BROWSE, key: 'history', command: 'history' },
  { ...COMPARE, key: 'snapshots', command: 'diff-snapshots' },
  { ...GET, key: 'get-check', command: 'check' },
  { ...RESTORE, key: 'restore-first', command: 'restore-first' },
];

/** Failures that are no peer's doing. */
const OWN: readonly string[] = [
  'usage',
  'io',
  'locked',
  'sandbox',
  'policy-denied',
  'unknown-vm',
  'wrong-secret',
];

function faultOfGenerated(
  target: Target,
  { outcome, message, left, report }: Seen,
  shapes: Shapes,
  usual: readonly Trace[],
): string | undefined {
  if (OWN.includes(outcome)) return `nobody but dom0 could fail so: ${message}`;
  const failed = report?.failure !== undefined;
  const allowed = failed ? target.leaves : [...usual, ...target.leaves];
  const extra = left.filter((trace) => !allowed.includes(trace));
  if (extra.length > 0) return `it left ${extra.join(', ')}`;
  if (failed || report === undefined) return undefined;
  // What a storage VM or a verifier says is checked against what dom0 knows: another result is a wrong one.
  const checked = (target.storage && target.key !== 'list') || target.key === 'verify';
  if (checked && outcome === 'claimed')
    return 'it ended otherwise than without an attack, and found nothing wrong';
  if (outcome === 'warned') return undefined;
  for (const said of report.said) {
    const problem = problemOf(target.service, said, shapes);
    if (problem !== undefined) return `it believed what nobody may say: ${problem}`;
  }
  return undefined;
}

export function honestJob(command: CommandName, vm: string): Job {
  const common = { command, vm, service: undefined, attack: HONEST, patience: NO_PATIENCE };
  return {
    ...common,
    ...{ recordings: undefined, receiver: undefined, capacity: undefined, mutant: undefined },
    ...{ hosted: true, passphrase: false, apart: false },
  };
}

async function baselineOf(lane: Lane, command: CommandName, vm: string): Promise<Baseline> {
  const { result, left } = await lane.attack(honestJob(command, vm));
  if (result.kind !== 'report' || result.report.failure !== undefined)
    throw new Error(`an honest ${command} of ${vm} failed: ${JSON.stringify(result).slice(0, 2000)}`);
  return { report: result.report, left, recordings: result.report.recorded };
}

/** Whether the attack is one of a process, not of what it says: then it gets one of its own. */
function needsProcess({ turns, status }: Attack): boolean {
  const acts = turns.flatMap(({ act, then }) => [act, ...(then === undefined ? [] : [then])]);
  return status !== 0 || acts.some((act) => ['exit', 'die', 'close', 'stderr'].includes(act.do));
}

/** What is not as the list says. */
function faultOf(one: Case, seen: Seen, usual: readonly Trace[]): string | undefined {
  const wrong = alwaysWrong(seen);
  if (wrong !== undefined) return wrong;
  if (one.expected !== seen.outcome) return `not what is written: ${seen.message}`;
  if (one.unrun && seen.grown >= UNRUN) return `dom0 grew by ${Math.ceil(seen.grown / 1024)} MiB`;
  const succeeded = ['honest', 'warned', 'claimed'].includes(seen.outcome);
  const allowed = succeeded ? [...usual, ...one.leaves] : one.leaves;
  const extra = seen.left.filter((trace) => !allowed.includes(trace));
  return extra.length === 0 ? undefined : `it left ${extra.join(', ')}`;
}
