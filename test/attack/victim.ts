/** The process of a dom0 under attack (dom0.ts): started, asked, measured, and started anew if an attack kills it. */

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_FLAGS } from '../support/home.ts';
import { COMPILED } from '../support/processes.ts';
import type { Job, Message, Place, Report } from './job.ts';

/** Milliseconds after which a case counts as hung. */
const LIMIT = 60_000;

/** Peak in KiB after which the next job gets a fresh process, as every run of the product does. */
const HEAVY = 160 * 1024;

/** What became of a job. */
export type Result =
  /** In KiB: highest resident memory, and how much above that at its beginning. */
  | { readonly kind: 'report'; readonly report: Report; readonly peak: number; readonly grown: number }
  | { readonly kind: 'crashed'; readonly text: string }
  | { readonly kind: 'hung' };

export class Victim {
  readonly #place: Place;
  readonly #limit: number;
  #child: ChildProcess | undefined;
  #stderr = '';
  /** A run of its own would begin with less memory than this one has kept. */
  #heavy = false;
  /** Highest resident memory of any dom0 so far, in KiB. */
  peak = 0;

  constructor(place: Place, limit = LIMIT) {
    this.#place = place;
    this.#limit = limit;
  }

  async do(job: Job): Promise<Result> {
    if (this.#heavy) await this.stop();
    const child = (this.#child ??= await this.#start());
    const { pid } = child;
    const before = pid === undefined ? 0 : resetPeak(pid);
    const answer = await this.#ask(child, { kind: 'job', job });
    if (answer === 'hung' || answer === 'crashed') {
      await this.stop();
      return answer === 'hung' ? { kind: 'hung' } : { kind: 'crashed', text: this.#stderr };
    }
    const peak = pid === undefined ? 0 : peakOf(pid);
    this.peak = Math.max(this.peak, peak);
    this.#heavy = peak > HEAVY;
    return { kind: 'report', report: answer as Report, peak, grown: peak - before };
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL'); // Its peers die with it, as those of a real dom0.
    await gone;
  }

  async #start(): Promise<ChildProcess> {
    const child = fork(join(import.meta.dirname, 'dom0.ts'), {
      execArgv: [...NODE_FLAGS],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { PATH: process.env['PATH'] ?? '', ...COMPILED },
    });
    this.#stderr = '';
    child.stderr?.on('data', (piece: Buffer) => {
      this.#stderr = (this.#stderr + piece.toString('utf8')).slice(-4000);
    });
    if ((await this.#ask(child, { kind: 'place', place: this.#place })) !== 'ready')
      throw new Error(`dom0 does not start: ${this.#stderr}`);
    return child;
  }

  #ask(child: ChildProcess, message: Message): Promise<unknown> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle('hung'), this.#limit);
      const crashed = () => settle('crashed');
      const settle = (answer: unknown) => {
        clearTimeout(timer);
        child.removeListener('message', settle);
        child.removeListener('close', crashed);
        resolve(answer);
      };
      child.once('message', settle);
      child.once('close', crashed);
      child.send(message);
    });
  }
}

/** Makes the kernel count the peak anew (proc(5), clear_refs). Answers what is resident now. */
function resetPeak(pid: number): number {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  return peakOf(pid);
}

/** Peak resident memory of `pid` in KiB. */
function peakOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
}
