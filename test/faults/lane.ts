/** Tries points, one after the other: a copy of a home, a run in which a process dies, and a judgement. */

import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import { Home, NODE_FLAGS } from '../support/home.ts';
import { COMPILED, PROJECT } from '../support/processes.ts';
import { ApartDomains } from './apart.ts';
import { AROUND, clockOf, surroundingsOf } from './around.ts';
import { ARGUMENTS, VM, optionsOf, perform, placeOf } from './commands.ts';
import { confine } from './confined.ts';
import { brokenPromises, judge } from './judge.ts';
import type { Usual } from './judge.ts';
import { endLeftOver } from './left-over.ts';
import type { Condition, Edit, Event, Fault, Meanwhile, ProcessName, Surroundings } from './plan.ts';
import { DIVISIBLE, isCondition, isDeath, isEvent } from './plan.ts';
import { FaultyProgram } from './program.ts';
import type { Main } from './program.ts';
import type { Scenario } from './scenarios.ts';
import { problemsOfEnd } from './told.ts';

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
  /** Of the same on the command line, if it can be given there. */
  readonly commandLine: ReadonlyMap<ProcessName, readonly string[]>;
}

/** Bytes that are new in a volume where memory is scarce. */
const LARGE = 96 * 2 ** 20;

/** Volumes of a run are small, and so are their objects. They are written as large ones are: past the kernel's cache. */
const SMALL_AS_LARGE: Edit = {
  file: 'storagevm/new-file.ts',
  from: 'const LARGE = 1024 * 1024;',
  to: 'const LARGE = 4096;',
};

export class Lane {
  readonly #folder: string;
  readonly #home: string;
  readonly #program: FaultyProgram;
  readonly #edits: readonly Edit[];

  /** Works in `folder`, which is made. `edits`: in what way the product is another one. */
  constructor(folder: string, edits: readonly Edit[] = []) {
    mkdirSync(folder);
    this.#folder = folder;
    this.#home = join(folder, 'home');
    this.#program = new FaultyProgram(join(folder, 'program'));
    this.#edits = [...edits, SMALL_AS_LARGE];
  }

  /** Runs a scenario in which nobody dies. Throws if that is not as it should be. */
  async baseline(scenario: Scenario): Promise<Baseline> {
    this.#begin(scenario, null);
    const { code, stderr } = await this.#runMain(scenario, mainOf(scenario));
    if (code !== 0) throw new Error(`${scenario.name} fails without a fault: ${stderr}`);
    const steps = this.#program.steps();
    const { problems, seen } = await judge(this.#home, scenario);
    if (problems.length > 0) throw new Error(`${scenario.name} without a fault: ${problems.join('; ')}`);
    return { usual: seen, steps, commandLine: await this.#commandLineSteps(scenario) };
  }

  async #commandLineSteps(scenario: Scenario): Promise<Baseline['commandLine']> {
    if (ARGUMENTS[scenario.command] === undefined) return new Map();
    this.#begin(scenario, null, { edits: this.#program.commandLineEdits });
    const { code, stderr } = await this.#runCommandLine(scenario, []);
    if (code !== 0) throw new Error(`${scenario.name} on the command line fails without a fault: ${stderr}`);
    return this.#program.steps();
  }

  async try(scenario: Scenario, fault: Fault, usual: Usual): Promise<Trial> {
    const started = performance.now();
    const { how } = fault;
    const problems =
      isEvent(how) || isCondition(how)
        ? await this.#tryAround(scenario, fault, how, usual)
        : await this.#tryStep(scenario, fault, usual);
    const step = isCondition(how) ? how : this.#program.steps().get(fault.process)?.[fault.step - 1];
    const left = await endLeftOver(this.#folder);
    return {
      step: step?.replace(DIVISIBLE, ''),
      problems: [...problems, ...left.map((command) => `still running: ${command}`)],
      milliseconds: performance.now() - started,
    };
  }

  async #tryStep(scenario: Scenario, fault: Fault, usual: Usual): Promise<readonly string[]> {
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
    return [...problems, ...(await judge(this.#home, scenario, usual)).problems];
  }

  /** On the command line: what it says counts as well. */
  async #tryAround(
    scenario: Scenario,
    fault: Fault,
    how: Event | Condition,
    usual: Usual,
  ): Promise<readonly string[]> {
    const { prefix, outside, end } = confine(how, this.#home);
    const meanwhile = this.#meanwhile(scenario, how);
    const { edits, ...around } = surroundingsOf(how, {
      ...(outside === undefined ? {} : { outside }),
      ...(meanwhile === undefined ? {} : { meanwhile }),
    });
    const all = [...edits, ...this.#program.commandLineEdits];
    this.#begin(scenario, fault, { ...around, edits: all }, isCondition(how) ? clockOf(how) : 0);
    if (how === '300-MiB') writeFileSync(join(this.#home, 'vms', VM, 'private/large'), randomBytes(LARGE));
    if (meanwhile !== undefined) this.#makeOther(how);
    const ended = await this.#runCommandLine(scenario, prefix);
    end?.();
    const others = AROUND[how].others === true || how === '300-MiB';
    const judged = await judge(this.#home, scenario, usual, others);
    const other = this.#program.meanwhile();
    return [
      ...problemsOfEnd(ended, how),
      ...(ended.code === 0 ? brokenPromises(this.#home, scenario) : []),
      ...(other === undefined ? [] : problemsOfEnd(other).map((text) => `what ran meanwhile: ${text}`)),
      ...judged.problems,
    ];
  }

  #begin(scenario: Scenario, fault: Fault | null, surroundings?: Surroundings, clock?: number): void {
    rmSync(this.#home, { recursive: true, force: true });
    mkdirSync(this.#home);
    execFileSync('cp', ['-a', `${scenario.template.home}/.`, this.#home]);
    const edits = [...(surroundings?.edits ?? []), ...this.#edits];
    this.#program.plan(fault, { ...surroundings, edits }, clock);
  }

  get #other(): string {
    return join(this.#folder, 'other');
  }

  /** What runs while the run waits at a step: the product as it is. */
  #meanwhile({ command }: Scenario, how: Event | Condition): readonly string[] | undefined {
    const dom0 = [process.execPath, ...NODE_FLAGS, '--no-warnings', join(PROJECT, 'dom0/main.ts')];
    const own = ARGUMENTS[command]?.(this.#home) ?? [];
    const name = how === 'another-vm' ? 'another' : VM;
    const other = command === 'init' ? ['init'] : ['backup', name];
    if (how === 'same-state') return [...dom0, ...optionsOf('backup', this.#home), ...own];
    if (how !== 'second-machine' && how !== 'another-vm') return undefined;
    return [...dom0, ...optionsOf('backup', this.#other), ...other];
  }

  /** The home of a machine that has the same keys and stores, and nothing else. */
  #makeOther(how: Event | Condition): void {
    rmSync(this.#other, { recursive: true, force: true });
    mkdirSync(this.#other);
    execFileSync('cp', ['-a', join(this.#home, 'vms'), placeOf(this.#home).keyFile, this.#other]);
    symlinkSync(join(this.#home, 'storage'), join(this.#other, 'storage'));
    if (how !== 'another-vm') return;
    renameSync(join(this.#other, 'vms', VM), join(this.#other, 'vms/another'));
    new Home({ folder: this.#other, existing: true }).identify('another', 2);
  }

  /** dom0, or the owner, as a process of its own with services that are others; waits until all of them are gone. */
  async #runMain(scenario: Scenario, main: Main): Promise<Meanwhile> {
    return this.#spawn(main, [], [this.#program.entry(main), this.#home, scenario.command]);
  }

  /** The same of the command line, as a person gives it. */
  async #runCommandLine({ command }: Scenario, prefix: readonly string[]): Promise<Meanwhile> {
    const main = command === 'purge' ? 'owner' : 'dom0';
    const own = ARGUMENTS[command]?.(this.#home) ?? [];
    return this.#spawn(main, prefix, [
      this.#program.commandLine(main),
      ...optionsOf(command, this.#home),
      ...own,
    ]);
  }

  async #spawn(main: Main, prefix: readonly string[], args: readonly string[]): Promise<Meanwhile> {
    const flags = main === 'dom0' ? NODE_FLAGS : NODE_OPTIONS.storagevm;
    const own = [process.execPath, ...flags, '--no-warnings', ...args];
    const child = spawn(
      'setpriv', // It ends with this lane, and its services with it.
      ['--pdeathsig', 'KILL', '--', ...prefix, ...own],
      {
        // As the launcher has it (bin/qubes-backup).
        env: { PATH: process.env['PATH'] ?? '', MALLOC_MMAP_THRESHOLD_: '131072', ...COMPILED },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
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
