/** Runs all attacks and tells of each what was expected and what was seen. */

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Bench } from './bench.ts';
import type { Heard } from './bench.ts';
import { ClientBench } from './client-bench.ts';
import { CLIENT_PREFIX } from './generate-client.ts';
import { generate } from './generate.ts';
import { writtenList } from './list/list.ts';
import { Random } from '../support/random.ts';

export interface Options {
  /** An empty folder, which is filled. */
  readonly folder: string;
  /** How many cases to generate, and the number that decides which. */
  readonly generated: number;
  readonly seed: number;
  /** Ids of the cases to run, or what the ids of several begin with; undefined for all. */
  readonly only: readonly string[] | undefined;
  /** Of the written cases, all, or of those on one service that must end alike one each, which the seed chooses. */
  readonly written: 'all' | 'one of each class';
  readonly print: (line: string) => void;
}

export interface Totals {
  readonly written: number;
  readonly generated: number;
  readonly faults: number;
  /** Highest resident memory of a dom0, in MiB, and the longest case, in seconds. */
  readonly peak: number;
  /** As of dom0, of a storage VM's service. */
  readonly servicePeak: number;
  readonly longest: number;
}

/** Attacks on dom0 for each session of a hostile client with a storage VM. */
export const CLIENT_SHARE = 5;

/** MiB that dom0, or a service of a storage VM, may hold, whatever happens. */
export const MAX_PEAK = 256;

export async function attackAll(options: Options): Promise<Totals> {
  return new Run(options).all();
}

class Run {
  readonly #options: Options;
  #written = 0;
  #generated = 0;
  #faults = 0;
  #longest = 0;
  /** In KiB: of a dom0, and of a storage VM's service. */
  #peak = 0;
  #servicePeak = 0;
  /** The case during which a dom0 held the most, in KiB. */
  #heaviest = { id: 'none', peak: 0 };

  constructor(options: Options) {
    this.#options = options;
  }

  async all(): Promise<Totals> {
    const { print, only } = this.#options;
    print(row('case', 'expected', 'seen', 'what the peer does'));
    const isReverse = (id: string) => `${id}-`.startsWith('client-');
    if (only?.every(isReverse) !== true) await this.#attackDom0();
    if (only?.some(isReverse) !== false) await this.#attackStorage();
    for (const peak of [this.#peak, this.#servicePeak])
      if (peak >= MAX_PEAK * 1024) {
        this.#faults += 1;
        print(`  NOT AS EXPECTED: ${Math.ceil(peak / 1024)} MiB were held`);
      }
    const totals = {
      written: this.#written,
      generated: this.#generated,
      faults: this.#faults,
      peak: Math.ceil(this.#peak / 1024),
      servicePeak: Math.ceil(this.#servicePeak / 1024),
      longest: Math.ceil(this.#longest / 1000),
    };
    print(
      `${totals.written} written and ${totals.generated} generated cases, ${totals.faults} not as expected; ` +
        `dom0 held at most ${totals.peak} MiB (${MAX_PEAK} allowed; in ${this.#heaviest.id}), a service of the storage VM ${totals.servicePeak} MiB; ` +
        `no case took more than ${totals.longest} s`,
    );
    return totals;
  }

  /** Hostile storage VMs, disposables and receivers of files. */
  async #attackDom0(): Promise<void> {
    const { folder, generated } = this.#options;
    const bench = await Bench.open(folder, 2 * Math.min(2, availableParallelism()));
    try {
      await bench.each(this.#chosen(writtenList(bench)), async (one, lane) => {
        const { seen, fault } = await bench.try(one, lane);
        this.#weigh(one.id, seen.peak);
        this.#tell(one, seen, fault);
      });
      const numbers = this.#numbers('generated-', generated);
      if (numbers.length > 0) await this.#generate(bench, await bench.listen(), numbers);
    } finally {
      this.#peak = bench.peak;
      await bench.close();
    }
  }

  /** The reverse: hostile clients against a storage VM's services. */
  async #attackStorage(): Promise<void> {
    const { folder } = this.#options;
    const bench = await ClientBench.open(join(folder, 'clients'));
    try {
      for (const one of this.#chosen(bench.cases)) {
        const { taken, fault } = await bench.try(one);
        this.#tell(one, taken, fault);
      }
      await this.#generateClients(bench);
    } finally {
      this.#servicePeak = bench.peak;
      await bench.close();
    }
  }

  /** Which of the written cases are to be tried. */
  #chosen<C extends Classified>(cases: readonly C[]): readonly C[] {
    const { only, written, seed } = this.#options;
    const named = cases.filter(({ id }) => isChosen(id, only));
    return written === 'all' ? named : oneOfEachClass(named, new Random(seed));
  }

  /** One for every {@link CLIENT_SHARE} attacks on dom0. */
  async #generateClients(bench: ClientBench): Promise<void> {
    const { seed, generated, print } = this.#options;
    const outcomes = new Map<string, number>();
    const numbers = this.#numbers(CLIENT_PREFIX, Math.floor(generated / CLIENT_SHARE));
    for (const number of numbers) {
      const one = bench.generate(seed, number);
      const { taken, fault } = await bench.tryGenerated(one);
      this.#count(taken, outcomes);
      if (fault === undefined && numbers.length > 1) continue;
      const said = Buffer.concat(one.bytes).toString('base64').slice(0, 2000);
      print(row(one.id, 'typed or done', taken.outcome, `${one.service}: ${said}`));
      if (fault !== undefined) this.#blame(one.id, fault);
    }
    bench.weighHosts();
    this.#printOutcomes('client-generated', 'typed or done', outcomes);
  }

  /** Which of so many generated cases are to be tried whose ids begin so. */
  #numbers(prefix: string, count: number): readonly number[] {
    const { only } = this.#options;
    const all = Array.from({ length: count }, (_, i) => i);
    if (only === undefined || only.includes(prefix.slice(0, -1))) return all;
    const ids = only.filter((id) => id.startsWith(prefix)).map((id) => id.slice(prefix.length));
    return ids.filter((id) => /^\d+$/.test(id)).map(Number);
  }

  #count(
    { outcome, milliseconds }: { outcome: string; milliseconds: number },
    outcomes: Map<string, number>,
  ): void {
    this.#generated += 1;
    this.#longest = Math.max(this.#longest, milliseconds);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }

  #blame(id: string, fault: string): void {
    const { seed, print } = this.#options;
    this.#faults += 1;
    print(`  NOT AS EXPECTED: ${fault}`);
    print(`  again: npm run attack -- --seed ${seed} --case ${id}`);
  }

  #printOutcomes(what: string, expected: string, outcomes: ReadonlyMap<string, number>): void {
    for (const [outcome, count] of [...outcomes].sort((a, b) => b[1] - a[1]))
      this.#options.print(row(what, expected, outcome, `${count} times`));
  }

  async #generate(bench: Bench, heard: Heard, numbers: readonly number[]): Promise<void> {
    const { seed, print } = this.#options;
    const outcomes = new Map<string, number>();
    await bench.each(numbers, async (number, lane) => {
      const one = generate(heard.sessions, seed, number);
      const { seen, fault } = await bench.tryGenerated(one, heard, lane);
      this.#count(seen, outcomes);
      this.#weigh(one.id, seen.peak);
      if (fault === undefined && numbers.length > 1) return;
      const attack = JSON.stringify(one.attack);
      print(row(one.id, 'typed or honest', seen.outcome, `${one.target.key}: ${attack.slice(0, 2000)}`));
      if (fault !== undefined) this.#blame(one.id, fault);
    });
    this.#printOutcomes('generated', 'typed or honest', outcomes);
  }

  #weigh(id: string, peak: number): void {
    if (peak > this.#heaviest.peak) this.#heaviest = { id, peak };
  }

  #tell(
    { id, attack, expected }: { id: string; attack: string; expected: string },
    seen: { outcome: string; milliseconds: number },
    fault: string | undefined,
  ): void {
    const { print } = this.#options;
    this.#written += 1;
    this.#longest = Math.max(this.#longest, seen.milliseconds);
    print(row(id, expected, seen.outcome, attack));
    if (fault === undefined) return;
    this.#faults += 1;
    print(`  NOT AS EXPECTED: ${fault}`);
  }
}

interface Classified {
  readonly id: string;
  readonly service: string;
  readonly expected: string;
}

function oneOfEachClass<C extends Classified>(cases: readonly C[], random: Random): readonly C[] {
  const classes = Map.groupBy(cases, ({ service, expected }) => `${service} ${expected}`);
  return [...classes.values()].map((alike) => random.pick(alike));
}

/** With `only`: the case of that id, or those whose ids begin so. */
function isChosen(id: string, only: Options['only']): boolean {
  return only?.some((chosen) => id === chosen || id.startsWith(`${chosen}-`)) ?? true;
}

function row(id: string, expected: string, seen: string, attack: string): string {
  return `${id.padEnd(28)} ${expected.padEnd(24)} ${seen.padEnd(16)} ${attack}`;
}
