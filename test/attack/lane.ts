/** A home and a dom0 of its own to try attacks on, one after the other. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SANDBOX } from '../support/home.ts';
import type { Trace } from './case.ts';
import { putBack, stateOf } from './home-state.ts';
import type { HomeState } from './home-state.ts';
import type { Job, Place } from './job.ts';
import { traceOf } from './judge.ts';
import { assign, makeHostileProgram } from './program.ts';
import { Victim } from './victim.ts';
import type { Result } from './victim.ts';

export class Lane {
  readonly victim: Victim;
  readonly #place: Place;
  readonly #template: string;
  readonly #before: HomeState;

  /** `folder`, which this makes, gets a copy of the home `template`. */
  constructor(folder: string, template: string, limit?: number) {
    this.#template = template;
    this.#before = stateOf(template);
    const place = (name: string) => join(folder, name);
    this.#place = {
      home: place('home'),
      sandbox: SANDBOX,
      alone: place('alone'),
      hosted: place('hosted'),
      elsewhere: place('elsewhere'),
    };
    mkdirSync(place('elsewhere'), { recursive: true });
    mkdirSync(place('home'));
    execFileSync('cp', ['-a', `${template}/.`, place('home')]); // Node's own copy loses nanoseconds.
    for (const program of [this.#place.alone, this.#place.hosted]) makeHostileProgram(program);
    for (const role of ['dvm', 'storagevm'] as const) assign(this.#place.hosted, role, { hosted: true });
    this.victim = new Victim(this.#place, limit);
  }

  /** Does `job` on a fresh home; `clean`: on one that has seen no root of the store. */
  async attack(job: Job, clean = false): Promise<{ result: Result; left: Trace[] }> {
    const { home } = this.#place;
    putBack(home, this.#template, this.#before);
    if (clean) rmSync(join(home, 'state/pins'), { recursive: true });
    const before = clean ? stateOf(home) : this.#before;
    const result = await this.victim.do(job);
    return { result, left: traceOf(before, stateOf(home)) };
  }

  /** Does `job` on the home as the job before left it. */
  goOn(job: Job): Promise<Result> {
    return this.victim.do(job);
  }

  /** Ends dom0, or gives the next job a fresh one. */
  stop(): Promise<void> {
    return this.victim.stop();
  }
}
