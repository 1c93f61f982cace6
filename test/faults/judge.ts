/** What must be true after a fault: the next run completes, nothing is lost, nothing is left over, and what was stored is used again. */

import { lstatSync, readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { check } from '../../dom0/commands/check.ts';
import { list } from '../../dom0/commands/list.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { isBackupError, messageOf } from '../../shared/errors.ts';
import { surveyDifferences, surveyTree } from '../support/checker.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import type { Command } from '../support/run-app.ts';
import { COPY, VM, perform, run, storeIn } from './commands.ts';
import type { Scenario } from './scenarios.ts';

/** By name, with bytes and the time of the last change in milliseconds. */
type Stored = ReadonlyMap<string, { readonly size: number; readonly time: number }>;

/** What a trial without any fault leaves: others must come to the same. */
export interface Usual {
  /** Names of all that is in a home in the end, without what differs from run to run. */
  readonly names: ReadonlySet<string>;
  /** Bytes that the command stores. */
  readonly stored: number;
  /** Bytes that the backup after it stores. */
  readonly storedAfter: number;
}

export interface Judged {
  readonly problems: readonly string[];
  readonly seen: Usual;
}

/** Bytes of objects that are written for each root: record, snapshot, catalog, tables, tree. A checkpoint that is not committed is lost. */
const SLACK = 200_000;

/** What the command line keeps of what it said. */
const LOG = ['state/log', 'state/log/runs.jsonl'];

/**
 * Looks at `home` after a run of `scenario`, in which somebody may have died. `usual`: undefined for the trial without a fault.
 * `others`: others used the store meanwhile.
 */
export async function judge(
  home: string,
  scenario: Scenario,
  usual?: Usual,
  others = false,
): Promise<Judged> {
  const judge = new Judge(home, scenario, others);
  try {
    return { problems: await judge.all(usual), seen: judge.seen };
  } catch (error) {
    return { problems: [problemOf(error)], seen: judge.seen };
  }
}

class Judge {
  readonly #home: string;
  readonly #scenario: Scenario;
  readonly #others: boolean;
  seen: Usual = { names: new Set(), stored: 0, storedAfter: 0 };

  constructor(home: string, scenario: Scenario, others: boolean) {
    this.#home = home;
    this.#scenario = scenario;
    this.#others = others;
  }

  async all(usual: Usual | undefined): Promise<readonly string[]> {
    const before = storedIn(this.#scenario.template.home);
    const dead = storedIn(this.#home);
    const committed = this.#committed(before, dead);
    for (const folder of ['tmp', 'ledger']) age(join(storeIn(this.#home), folder));
    if (this.#scenario.command === 'init') await this.#finishInit();
    await this.#expectQuiet('the next backup', () => perform('backup', this.#home, this.#domains));
    const after = storedIn(this.#home);
    await this.#expectQuiet('a check of everything', () => this.#run((app) => check(app, 100)));
    const problems = await this.#restored();
    const names = namesIn(this.#home);
    this.seen = { names, stored: added(before, dead), storedAfter: added(dead, after) };
    if (usual === undefined) return problems;
    const leftOver = [...names].filter((name) => !usual.names.has(name) && !LOG.includes(name));
    const bound = usual.stored + usual.storedAfter - committed + SLACK;
    return [
      ...problems,
      ...leftOver.map((name) => `left over: ${name}`),
      ...(this.seen.storedAfter > bound && !this.#others
        ? [
            `the next backup stored ${this.seen.storedAfter} bytes, more than ${bound}: what was stored is not used`,
          ]
        : []),
    ];
  }

  get #domains(): InProcessDomains {
    return new InProcessDomains(this.#home);
  }

  async #run(command: Command): Promise<number> {
    return (await run(this.#domains, this.#home, command)).app.warnings;
  }

  async #expectQuiet(what: string, work: () => Promise<number>): Promise<void> {
    const warnings = await work();
    if (warnings > 0) throw new Error(`${what} warned ${warnings} times`);
  }

  /** Either the repository is there, or it can be made. */
  async #finishInit(): Promise<void> {
    try {
      await this.#run((app) => list(app, undefined));
    } catch (error) {
      if (!isBackupError(error)) throw error;
      await perform('init', this.#home, this.#domains);
    }
  }

  /** Bytes that came to the store before the last root did, which is more than before the run: nobody has to store them again. */
  #committed(before: Stored, dead: Stored): number {
    const roots = rootTimes(this.#home);
    const last = roots.at(-1);
    if (last === undefined || rootTimes(this.#scenario.template.home).length >= roots.length) return 0;
    let bytes = 0;
    for (const [name, { size, time }] of dead) if (!before.has(name) && time <= last) bytes += size;
    return bytes;
  }

  /** Every snapshot of before, and the newest one, each as it was. */
  async #restored(): Promise<readonly string[]> {
    const problems: string[] = [];
    const { command, template } = this.#scenario;
    // What is the newest, and so what is forgotten, is the others' to say as well.
    const count = command !== 'forget' ? template.snapshots.size : this.#others ? 0 : 1;
    const kept = [...template.snapshots].slice(template.snapshots.size - count);
    for (const [number, tree] of kept)
      problems.push(...(await this.#compare(`${VM}@${number}`, `was-${number}`, tree)));
    problems.push(...(await this.#compare(VM, 'newest', join(this.#home, 'vms', VM, 'private'))));
    return problems;
  }

  async #compare(target: string, name: string, tree: string): Promise<readonly string[]> {
    await this.#expectQuiet(`a restore of ${target}`, () => this.#run((app) => restore(app, target, name)));
    return differencesOf(tree, this.#home, name).map((line) => `${target}: ${line}`);
  }
}

/** What a command that said that all went well has not done. */
export function brokenPromises(home: string, { command, template }: Scenario): readonly string[] {
  const tree = template.snapshots.get(1);
  if (command === 'restore' && tree !== undefined)
    return differencesOf(tree, home, COPY).map((line) => `restored, as it said: ${line}`);
  const publishes = !['check', 'purge', 'restore'].includes(command);
  return publishes && rootTimes(home).length === rootTimes(template.home).length
    ? [`${command} said that all went well, and published nothing`]
    : [];
}

const differencesOf = (tree: string, home: string, vm: string): readonly string[] =>
  surveyDifferences(surveyTree(tree), surveyTree(join(home, 'vms', vm, 'private')));

export function problemOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? ` (${messageOf(error.cause)})` : '';
  return `${messageOf(error)}${cause}`;
}

function storedIn(home: string): Stored {
  const folder = join(storeIn(home), 'objects');
  const found = new Map<string, { size: number; time: number }>();
  for (const entry of entriesOf(folder, true)) {
    const { size, mtimeMs: time } = lstatSync(entry);
    found.set(entry.slice(folder.length), { size, time });
  }
  return found;
}

/** When each root was written, oldest first. */
function rootTimes(home: string): number[] {
  const files = entriesOf(join(storeIn(home), 'roots'), true);
  return files.map((path) => lstatSync(path).mtimeMs).sort((a, b) => a - b);
}

function added(before: Stored, after: Stored): number {
  let bytes = 0;
  for (const [name, { size }] of after) if (!before.has(name)) bytes += size;
  return bytes;
}

/** Paths of the files below `folder`, which need not exist; else of folders too. */
function entriesOf(folder: string, filesOnly: boolean): string[] {
  const found: string[] = [];
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return found; // Not made yet.
  }
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (!filesOnly || entry.isFile()) found.push(path);
    if (entry.isDirectory()) found.push(...entriesOf(path, filesOnly));
  }
  return found;
}

/** Everything in a home but volumes, by what it is called: random parts and numbers of processes are left out. */
function namesIn(home: string): Set<string> {
  const names = entriesOf(home, false).map((path) => path.slice(home.length + 1));
  return new Set(names.filter((path) => !/^vms\/[^/]+\/private\//.test(path)).map(general));
}

function general(path: string): string {
  return path
    .replace(/[0-9a-f]{8,}/g, 'HEX')
    .replace(/\/[0-9a-f]{2}(?=\/|$)/g, '/XX')
    .replace(/\d+/g, 'N');
}

/** Makes what is in `folder` older than any session can be: it then belongs to nobody. */
function age(folder: string): void {
  const old = Date.now() / 1000 - 2 * 86_400;
  for (const path of entriesOf(folder, true)) utimesSync(path, old, old);
}
