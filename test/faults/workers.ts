/** Lanes as processes, each with one request at a time; one that crashes or hangs is started anew. */

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { COMPILED } from '../support/processes.ts';
import { removeTree } from '../support/temp.ts';
import type { Usual } from './judge.ts';
import type { Baseline, Trial } from './lane.ts';
import type { Edit, Fault } from './plan.ts';
import type { Scenario } from './scenarios.ts';

export type Request =
  | { readonly kind: 'open'; readonly folder: string; readonly edits: readonly Edit[] }
  | { readonly kind: 'baseline'; readonly scenario: Scenario }
  | { readonly kind: 'try'; readonly scenario: Scenario; readonly fault: Fault; readonly usual: Usual };

/** Milliseconds after which a trial counts as hung: many times what one takes. */
const LIMIT = 120_000;

export class Worker {
  readonly #folder: string;
  readonly #edits: readonly Edit[];
  #child: ChildProcess | undefined;
  #said = '';

  /** `folder` is made, and is this worker's alone. `edits`: see Lane. */
  constructor(folder: string, edits: readonly Edit[]) {
    this.#folder = folder;
    this.#edits = edits;
  }

  async baseline(scenario: Scenario): Promise<Baseline> {
    return (await this.#ask({ kind: 'baseline', scenario })) as Baseline;
  }

  /** Never rejects: what goes wrong is a problem of the trial. */
  async try(scenario: Scenario, fault: Fault, usual: Usual): Promise<Trial> {
    const started = performance.now();
    try {
      return (await this.#ask({ kind: 'try', scenario, fault, usual })) as Trial;
    } catch (error) {
      await this.stop();
      const problems = [error instanceof Error ? error.message : String(error)];
      return { step: undefined, problems, milliseconds: performance.now() - started };
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async #ask(request: Request): Promise<unknown> {
    if (this.#child === undefined) {
      this.#child = this.#start();
      removeTree(this.#folder);
      await this.#send(this.#child, { kind: 'open', folder: this.#folder, edits: this.#edits });
    }
    return this.#send(this.#child, request);
  }

  #start(): ChildProcess {
    const child = fork(join(import.meta.dirname, 'lane-process.ts'), {
      execArgv: ['--no-warnings', '--expose-gc'],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { PATH: process.env['PATH'] ?? '', ...COMPILED },
    });
    this.#said = '';
    child.stderr?.on(
      'data',
      (piece: Buffer) => (this.#said = (this.#said + piece.toString('utf8')).slice(-4000)),
    );
    return child;
  }

  #send(child: ChildProcess, request: Request): Promise<unknown> {
    const answered = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => answered.reject(new Error(`hung: ${this.#said}`)), LIMIT);
    const take = (answer: { readonly result?: unknown; readonly error?: string }) => {
      if (answer.error === undefined) answered.resolve(answer.result);
      else answered.reject(new Error(answer.error));
    };
    const crash = () => answered.reject(new Error(`crashed: ${this.#said}`));
    child.once('message', take);
    child.once('close', crash);
    child.send(request);
    return answered.promise.finally(() => {
      clearTimeout(timer);
      child.removeListener('message', take);
      child.removeListener('close', crash);
    });
  }
}
