/** Tries points, one after the other: a copy of a home, a run in which a process dies, and a judgement. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import { NODE_FLAGS } from '../support/home.ts';
import { COMPILED } from '../support/processes.ts';
import { ApartDomains } from './apart.ts';
import { perform } from './commands.ts';
import { brokenPromises, judge } from './judge.ts';
import type { Usual } from './judge.ts';
import type { Fault, ProcessName } from './plan.ts';
import { DIVISIBLE, isDeath } from './plan.ts';
import { FaultyProgram } from './program.ts';
import type { Main } from './program.ts';
import type { Scenario } from './scenarios.ts';

export interface Trial {
  /** What the process did at that step; undefined if it never came so far. */
  readonly step: string | undefined;
  readonly problems: readonly string[];
  readonly milliseconds: number;
}

/** What a scenario is like if nobody dies. */
export interface Baseline {
  readonly usual: Usual;
  readonly steps: ReadonlyMap<ProcessName, readonly string[]>;
}

export class Lane {
  readonly #home: string;
  readonly #program: FaultyProgram;

  /** Works in `folder`, which is made. */
  constructor(folder: string) {
    mkdirSync(folder);
    this.#home = join(folder, 'home');
    this.#program = new FaultyProgram(join(folder, 'program'));
  }

  /** Runs a scenario in which nobody dies. Throws if that is not as it should be. */
  async baseline(scenario: Scenario): Promise<Baseline> {
    this.#begin(scenario, null);
    const { code, stderr } = await this.#runMain(scenario, mainOf(scenario));
    if (code !== 0) throw new Error(`${scenario.name} fails without a fault: ${stderr}`);
    const steps = this.#program.steps();
    const { problems, seen } = await judge(this.#home, scenario);
    if (problems.length > 0) throw new Error(`${scenario.name} without a fault: ${problems.join('; ')}`);
    return { usual: seen, steps };
  }

  async try(scenario: Scenario, fault: Fault, usual: Usual): Promise<Trial> {
    const started = performance.now();
    this.#begin(scenario, fault);
    const [kind = ''] = fault.process.split('#');
    const problems: string[] = [];
    let succeeded: boolean;
    if (kind === mainOf(scenario)) {
      const { code, stderr } = await this.#runMain(scenario, kind);
      succeeded = code === 0;
      if (stderr !== '' && isDeath(fault.how)) problems.push(`it said ${stderr}`);
    } else succeeded = await this.#runAround(scenario, kind);
    if (succeeded) problems.push(...brokenPromises(this.#home, scenario));
    const steps = this.#program.steps().get(fault.process) ?? [];
    const judged = await judge(this.#home, scenario, usual);
    return {
      step: steps[fault.step - 1]?.replace(DIVISIBLE, ''),
      problems: [...problems, ...judged.problems],
      milliseconds: performance.now() - started,
    };
  }

  #begin(scenario: Scenario, fault: Fault | null): void {
    rmSync(this.#home, { recursive: true, force: true });
    mkdirSync(this.#home);
    execFileSync('cp', ['-a', `${scenario.template.home}/.`, this.#home]);
    this.#program.plan(fault);
  }

  /** dom0, or the owner, as a process of its own with services that are others; waits until all of them are gone. */
  async #runMain(scenario: Scenario, main: Main) {
    const flags = main === 'dom0' ? NODE_FLAGS : NODE_OPTIONS.storagevm;
    const child = spawn(
      'setpriv', // It ends with this lane, and its services with it.
      [
        '--pdeathsig',
        'KILL',
        '--',
        process.execPath,
        ...flags,
        '--no-warnings',
        this.#program.entry(main),
        this.#home,
        scenario.command,
      ],
      { env: { PATH: process.env['PATH'] ?? '', ...COMPILED }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString('utf8')));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stderr };
  }

  /** Processes of one service alone; all else is done here. Answers whether it went well, which it need not: something was wrong. */
  async #runAround(scenario: Scenario, service: string): Promise<boolean> {
    const domains = new ApartDomains(this.#home, this.#program, service);
    try {
      await perform(scenario.command, this.#home, domains);
      return true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return false;
    } finally {
      await domains.stopAll();
    }
  }
}

export function mainOf({ command }: Scenario): Main {
  return command === 'purge' ? 'owner' : 'dom0';
}
