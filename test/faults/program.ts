/** A program folder in which every process begins with what numbers its steps (steps.ts). */

import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { linkProgram } from '../attack/program.ts';
import { PROJECT } from '../support/processes.ts';
import {
  CLOCK_FILE,
  FAULT_FILE,
  GONE_FILE,
  MEANWHILE_FILE,
  NUMBERS_FOLDER,
  STEPS_FOLDER,
  SURROUNDINGS_FILE,
} from './plan.ts';
import type { Edit, Fault, Meanwhile, ProcessName, Surroundings } from './plan.ts';

const STEPS = join(PROJECT, 'test/faults/steps.ts');
const UNDER_TEST = join(PROJECT, 'test/faults/under-test.ts');
const ROLES = ['dvm', 'storagevm'] as const;

/** What runs by itself, and calls services. */
export type Main = 'dom0' | 'owner';

/** Command lines of the product. */
const COMMAND_LINES: Readonly<Record<Main, string>> = { dom0: 'dom0/main.ts', owner: 'storagevm/main.ts' };

export class FaultyProgram {
  readonly folder: string;

  /** `folder` is made. */
  constructor(folder: string) {
    this.folder = folder;
    linkProgram(folder);
    symlinkSync(join(PROJECT, 'dom0'), join(folder, 'dom0'));
    for (const role of ROLES)
      for (const service of servicesOf(role))
        this.#install(join('services', role), service, join(PROJECT, 'services', role, `${service}.ts`));
    for (const main of ['dom0', 'owner'] as const) {
      this.#install('services/main', main, UNDER_TEST);
      this.#install('services/command', main, join(PROJECT, COMMAND_LINES[main]));
    }
  }

  #install(folder: string, name: string, real: string): void {
    mkdirSync(join(this.folder, folder), { recursive: true });
    writeFileSync(join(this.folder, folder, `${name}.ts`), `import '${STEPS}';\nawait import('${real}');\n`);
  }

  /** The file to start. */
  entry(main: Main): string {
    return join(this.folder, 'services/main', `${main}.ts`);
  }

  /** The same of the product's command line, with what {@link commandLineEdits} says. */
  commandLine(main: Main): string {
    return join(this.folder, 'services/command', `${main}.ts`);
  }

  /** Command lines are imported, and start services of this folder. */
  get commandLineEdits(): readonly Edit[] {
    const begin = { from: 'if (import.meta.main)', to: 'if (true)' };
    return [
      ...Object.values(COMMAND_LINES).map((file) => ({ file, ...begin })),
      { file: 'dom0/program.ts', from: 'dirname(import.meta.dirname)', to: JSON.stringify(this.folder) },
    ];
  }

  /** Before each run: what goes wrong in it. `clock`: milliseconds by which that of its processes is wrong at first. */
  plan(fault: Fault | null, surroundings: Surroundings = { edits: [] }, clock = 0): void {
    for (const name of [STEPS_FOLDER, NUMBERS_FOLDER]) {
      rmSync(join(this.folder, name), { recursive: true, force: true });
      mkdirSync(join(this.folder, name));
    }
    for (const name of [CLOCK_FILE, GONE_FILE, MEANWHILE_FILE])
      rmSync(join(this.folder, name), { force: true });
    if (clock !== 0) writeFileSync(join(this.folder, CLOCK_FILE), String(clock));
    writeFileSync(join(this.folder, SURROUNDINGS_FILE), JSON.stringify(surroundings));
    writeFileSync(join(this.folder, FAULT_FILE), JSON.stringify(fault));
  }

  /** How what ran meanwhile ended, if anything did. */
  meanwhile(): Meanwhile | undefined {
    const file = join(this.folder, MEANWHILE_FILE);
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Meanwhile) : undefined;
  }

  /** The steps that each process of the last run took. */
  steps(): ReadonlyMap<ProcessName, readonly string[]> {
    const folder = join(this.folder, STEPS_FOLDER);
    const names = readdirSync(folder) as ProcessName[];
    return new Map(
      names.map((name) => [name, readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1)]),
    );
  }
}

export function servicesOf(role: (typeof ROLES)[number]): string[] {
  const files = readdirSync(join(PROJECT, 'services', role));
  return files.filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3));
}
