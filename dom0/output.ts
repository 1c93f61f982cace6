/**
 * What a person or a program sees: lines on stdout, notes on stderr, or with --json one object a line on stdout. A
 * progress line for each job: see progress-display.ts. Everything here is ours or printable ASCII by schema.
 */

import { isatty } from 'node:tty';
import { styleText } from 'node:util';
import { writeAll, writeAllAtLeisure } from '../shared/write-all.ts';
import { ProgressDisplay } from './progress-display.ts';
import type { Job, Overall } from './progress-display.ts';
import type { Progress } from './session/report.ts';
import type { RunLog } from './state/run-log.ts';

const STDOUT = 1;
const STDERR = 2;

/** Events that are logged: results, of which none holds a secret. */
const LOGGED = new Set(['backup', 'checked', 'drill', 'extracted', 'failed', 'fault', 'restored', 'synced']);

/** How something stands, and its colour. */
const TONES = { good: 'green', warning: 'yellow', bad: 'red' } as const;
export type Tone = keyof typeof TONES;

/** Texts that are kept for a terminal that something else has: all are in the log. */
const MAX_HELD = 1_000;

/** One row of a listing: for people, and for programs. */
export interface Row {
  readonly line: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What goes to a descriptor: a text, after a label. */
type Written = readonly [
  descriptor: number,
  text: string,
  label?: readonly [tone: Tone, text: string] | undefined,
];

export class Output {
  readonly json: boolean;
  readonly #now: () => number;
  #progress: ProgressDisplay;
  /** Takes the place of the terminal while something else has that. */
  #instead: ((...written: Written) => void) | undefined;
  #log: RunLog | undefined;
  #verbose = false;

  /** `now`: milliseconds of a clock that does not jump. */
  constructor(json: boolean, now = () => performance.now()) {
    this.json = json;
    this.#now = now;
    this.#progress = new ProgressDisplay({
      mode: json ? 'events' : isatty(STDERR) ? 'terminal' : 'lines',
      now,
      line: (text) => this.#write(STDERR, `progress: ${text}\n`),
      event: (fields) => this.event('progress', fields),
    });
  }

  /** A line for people; with --json it is left out. */
  line(text: string): void {
    if (!this.json) this.#write(STDOUT, `${text}\n`);
  }

  /** `text` in the colour of `tone`, to be part of a line, where that goes to a terminal that is to have colours (NO_COLOR). */
  paint(tone: Tone, text: string): string {
    return this.json || this.#instead !== undefined ? text : painted(STDOUT, tone, text);
  }

  /** What is told from now on is logged as well, but for lines and listings. `verbose`: what services say is shown. */
  logTo(log: RunLog, verbose: boolean): void {
    this.#log = log;
    this.#verbose = verbose;
  }

  /** A service of a VM, or a store, said `text` on stderr: printable and capped by who read it. */
  service(vm: string, service: string, text: string): void {
    this.#log?.add('service', text, { vm, service });
    if (this.#verbose) this.#write(STDERR, `${vm} ${service}: ${text}\n`);
  }

  /** An object for programs; without --json it is left out. */
  event(event: string, fields: Readonly<Record<string, unknown>>): void {
    if (LOGGED.has(event)) this.#log?.add('result', JSON.stringify({ event, ...fields }));
    if (this.json) this.#write(STDOUT, `${JSON.stringify({ event, ...fields })}\n`);
  }

  /**
   * Rows of a listing, which may be of any length. Resolves when the reader took them: a slow one holds back whoever
   * waits for this, and nothing else.
   */
  async rows(rows: readonly Row[]): Promise<void> {
    if (rows.length === 0) return;
    this.endProgress();
    const lines = rows.map(({ line, event, fields }) =>
      this.json ? JSON.stringify({ event, ...fields }) : line,
    );
    await writeAllAtLeisure(STDOUT, Buffer.from(`${lines.join('\n')}\n`, 'utf8'));
  }

  /** Something to know that is no warning; on stderr, so that it is no part of a result. */
  note(text: string): void {
    this.#log?.add('note', text);
    this.#write(STDERR, `note: ${text}\n`);
  }

  warn(text: string): void {
    this.#log?.add('warning', text);
    this.#write(STDERR, ` ${text}\n`, ['warning', 'warning:']);
  }

  error(text: string): void {
    this.#log?.add('error', text);
    this.#write(STDERR, ` ${text}\n`, ['bad', 'error:']);
  }

  /** Raw bytes to stdout, for a tar stream. */
  raw(bytes: Uint8Array): void {
    writeAll(STDOUT, bytes);
  }

  /** Shows how far `job` is, beside other jobs. */
  progress(job: Job, progress: Progress): void {
    this.#progress.show(job, progress);
  }

  /** Of several jobs of this run so many are done. */
  overall(overall: Overall): void {
    this.#progress.overall(overall);
  }

  /** The job of this title has ended: nothing more is shown of it. */
  finishProgress(title: string): void {
    this.endProgress();
    this.#progress.finish(title);
  }

  /**
   * Gives the terminal to something that takes all of it: `show` gets each line and how far jobs are. The function that is answered takes
   * the terminal back and writes there what was to be seen on it, up to MAX_HELD texts.
   */
  giveUpTerminal(show: (text: string) => void): () => void {
    this.endProgress();
    const held: Written[] = [];
    const progress = this.#progress;
    this.#progress = new ProgressDisplay({
      mode: 'screen',
      now: this.#now,
      line: show,
      event: () => undefined,
    });
    this.#instead = (...written) => {
      if (held.length < MAX_HELD) held.push(written);
      const [, text, label] = written;
      show(`${label?.[1] ?? ''}${text}`.trimEnd());
    };
    return () => {
      this.#instead = undefined;
      this.#progress = progress;
      for (const one of held) this.#write(...one);
    };
  }

  /** Removes all progress lines of a terminal. Those of jobs that go on come back with their next step. */
  endProgress(): void {
    this.#progress.clear();
  }

  /** `label` goes before `text`. */
  #write(...[descriptor, text, label]: Written): void {
    this.endProgress();
    if (this.#instead !== undefined) this.#instead(descriptor, text, label);
    else {
      const before = label === undefined ? '' : painted(descriptor, ...label);
      writeAll(descriptor, Buffer.from(before + text, 'utf8'));
    }
  }
}

/** Node.js knows what NO_COLOR and a terminal say of colours. */
function painted(descriptor: number, tone: Tone, text: string): string {
  if (!isatty(descriptor)) return text; // Whatever FORCE_COLOR says: what reads a pipe or a file takes no colours here.
  // eslint-disable-next-line no-restricted-properties -- Nothing is written to it.
  const stream = descriptor === STDOUT ? process.stdout : process.stderr;
  return styleText(TONES[tone], text, { stream });
}
