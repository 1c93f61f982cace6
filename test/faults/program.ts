/** A program folder in which every process begins with what numbers its steps (steps.ts). */

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { linkProgram } from '../attack/program.ts';
import { PROJECT } from '../support/processes.ts';
import { FAULT_FILE, STEPS_FOLDER } from './plan.ts';
import type { Fault, ProcessName } from './plan.ts';

const STEPS = join(PROJECT, 'test/faults/steps.ts');
const UNDER_TEST = join(PROJECT, 'test/faults/under-test.ts');
const ROLES = ['dvm', 'storagevm'] as const;

/** What runs by itself, and calls services. */
export type Main = 'dom0' | 'owner';

export class FaultyProgram {
  readonly folder: string;

  /** `folder` is made. */
  constructor(folder: string) {
    this.folder = folder;
    linkProgram(folder);
    for (const role of ROLES)
      for (const service of servicesOf(role))
        this.#install(join('services', role), service, join(PROJECT, 'services', role, `${service}.ts`));
    for (const main of ['dom0', 'owner']) this.#install('services/main', main, UNDER_TEST);
  }

  #install(folder: string, name: string, real: string): void {
    mkdirSync(join(this.folder, folder), { recursive: true });
    writeFileSync(join(this.folder, folder, `${name}.ts`), `import '${STEPS}';\nimport '${real}';\n`);
  }

  /** The file to start. */
  entry(main: Main): string {
    return join(this.folder, 'services/main', `${main}.ts`);
  }

  /** Before each run: who dies in it. */
  plan(fault: Fault | null): void {
    rmSync(join(this.folder, STEPS_FOLDER), { recursive: true, force: true });
    mkdirSync(join(this.folder, STEPS_FOLDER));
    writeFileSync(join(this.folder, FAULT_FILE), JSON.stringify(fault));
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
