/**
 * How far the jobs of a run are: on a terminal a line for each that runs and one for all of them, elsewhere a line for each once a
 * minute, and for programs an event for each once a second.
 */

import { MultiBar } from 'cli-progress';
import type { Options, Params, SingleBar } from 'cli-progress';
import { formatBytes, formatCount, formatDuration } from '../shared/format.ts';
import { lineOf } from './progress-line.ts';
import type { LineParts } from './progress-line.ts';
import { ProgressTotal } from './progress-total.ts';
import type { Progress } from './session/report.ts';

/** A piece of work of which progress is shown. */
export interface Job {
  /** A VM, or what else is worked on. */
  readonly title: string;
  /** What is being done to it. */
  readonly stage: string;
  /** When it began, by the display's clock. */
  readonly started: number;
  /** What there is to do where the work itself does not say: of the snapshot before. 0 is unknown. */
  readonly expected?: { readonly files: number; readonly bytes: number } | undefined;
}

/** Jobs of one run: that many of all are done. */
export interface Overall {
  readonly done: number;
  readonly of: number;
}

export interface DisplayOptions {
  /** `screen`: something else has the terminal, and shows the lines. */
  readonly mode: 'terminal' | 'screen' | 'lines' | 'events';
  /** Milliseconds of a clock that does not jump. */
  readonly now: () => number;
  readonly line: (text: string) => void;
  readonly event: (fields: Readonly<Record<string, unknown>>) => void;
}

/** Milliseconds between two lines, and two events, of one job. */
const INTERVALS = { lines: 60_000, events: 1_000, screen: 200, terminal: 0 } as const;

/** The key of the line for all jobs: no job has it as its title. */
const TOTAL = '';

/**
 * Nothing is changed of the terminal that a run that is killed would leave so: the cursor is seen, and long lines wrap, which ours are
 * too short for.
 */
const LOOK: Options = {
  format: (_options, { maxWidth }: Params, parts: LineParts) => lineOf(parts, maxWidth),
  hideCursor: false,
  linewrap: true,
  clearOnComplete: true,
};

export class ProgressDisplay {
  readonly #options: DisplayOptions;
  readonly #bars = new Map<string, SingleBar>();
  #shown: MultiBar | undefined;
  readonly #total = new ProgressTotal();
  /** The longest text of each part so far: lines of several jobs stay in columns. */
  readonly #widths = new Map<string, number>();
  /** When each job was last told of. */
  readonly #told = new Map<string, number>();
  #overall: Overall | undefined;

  constructor(options: DisplayOptions) {
    this.#options = options;
  }

  /** There are several jobs, so many of them done: they are told of as a whole as well. */
  overall(overall: Overall): void {
    this.#overall = overall;
  }

  /** `job` is so far. */
  show(job: Job, progress: Progress): void {
    const state = describe(job, progress, this.#options.now());
    this.#total.show(job, progress, state.share, state.numbers.totalBytes);
    if (this.#options.mode === 'terminal') this.#draw(job, state);
    else this.#tell(job, state);
  }

  /** `title` is done, however it ended. */
  finish(title: string): void {
    this.#total.finish(title);
    this.#told.delete(title);
  }

  /** Removes what is on the terminal. Lines of jobs that go on come back with their next step. */
  clear(): void {
    this.#shown?.stop();
    this.#shown = undefined;
    this.#bars.clear();
  }

  #draw({ title, stage }: Job, { share, percent, files, size, rate, left }: State): void {
    if (this.#overall !== undefined && this.#overall.of > 1) this.#drawOverall(this.#overall);
    const parts = { share: share ?? 0, percent, files, size, rate, left };
    this.#update(title, { title: named(title, stage), ...parts });
  }

  #drawOverall(overall: Overall): void {
    const share = this.#total.share(overall);
    const { bytes } = this.#total;
    const seconds = this.#total.seconds(this.#options.now());
    const done = `${formatCount(overall.done)} of ${formatCount(overall.of)} done`;
    this.#update(TOTAL, {
      ...{ title: 'total', share, percent: percentOf(share), files: done, size: formatBytes(bytes) },
      ...{ rate: `${formatBytes(bytes / seconds)}/s`, left: leftText(secondsLeftOf(share, seconds)) },
    });
  }

  #update(key: string, parts: LineParts): void {
    const padded = this.#padded(parts);
    const bar = this.#bars.get(key);
    if (bar !== undefined) {
      bar.update(0, padded);
      return;
    }
    this.#shown ??= new MultiBar({ ...LOOK, stream: process.stderr });
    this.#bars.set(key, this.#shown.create(1, 0, padded));
  }

  #padded({ share, ...texts }: LineParts): LineParts {
    const pad = ([name, text]: [string, string]) => {
      const width = Math.max(this.#widths.get(name) ?? 0, text.length);
      this.#widths.set(name, width);
      return [name, text.padEnd(width)];
    };
    return { share, ...(Object.fromEntries(Object.entries(texts).map(pad)) as typeof texts) };
  }

  #tell(job: Job, { share, percent, files, size, rate, left, numbers }: State): void {
    const { mode, now, line, event } = this.#options;
    const { title, stage, started } = job;
    const last = this.#told.get(title) ?? started;
    if (now() - last < INTERVALS[mode]) return;
    this.#told.set(title, now());
    const { done, of } = this.#overall ?? { done: 0, of: 1 };
    if (mode === 'events') {
      event({ title, stage, share: share ?? null, ...numbers, jobsDone: done, jobs: of });
      return;
    }
    const others = of > 1 ? `; ${formatCount(done)} of ${formatCount(of)} done` : '';
    line(`${named(title, stage)}: ${percent}, ${size}, ${files}, ${rate}, ETA ${left}${others}`);
  }
}

interface State {
  /** 0 to 1; undefined if it is not known how much there is. */
  readonly share: number | undefined;
  readonly percent: string;
  readonly files: string;
  readonly size: string;
  readonly rate: string;
  readonly left: string;
  readonly numbers: Progress & { readonly bytesPerSecond: number; readonly secondsLeft: number | null };
}

function describe({ started, expected }: Job, progress: Progress, now: number): State {
  const { files, bytes } = progress;
  const totalFiles = progress.totalFiles > 0 ? progress.totalFiles : (expected?.files ?? 0);
  const totalBytes = progress.totalBytes > 0 ? progress.totalBytes : (expected?.bytes ?? 0);
  const seconds = Math.max((now - started) / 1000, 0.001);
  const rate = bytes / seconds;
  const [done, total] = totalBytes > 0 ? [bytes, totalBytes] : [files, totalFiles];
  const share = total > 0 ? Math.min(done / total, 1) : undefined;
  const secondsLeft = secondsLeftOf(share, seconds);
  return {
    share,
    percent: percentOf(share),
    files:
      totalFiles > 0
        ? `${formatCount(files)}/${formatCount(totalFiles)} files`
        : `${formatCount(files)} files`,
    size: totalBytes > 0 ? `${formatBytes(bytes)} of ${formatBytes(totalBytes)}` : formatBytes(bytes),
    rate: `${formatBytes(rate)}/s`,
    left: leftText(secondsLeft),
    numbers: { files, bytes, totalFiles, totalBytes, bytesPerSecond: Math.round(rate), secondsLeft },
  };
}

/** Seconds that are left after `seconds` for `share`; null if nothing is known. */
function secondsLeftOf(share: number | undefined, seconds: number): number | null {
  return share === undefined || share === 0 ? null : (seconds * (1 - share)) / share;
}

function leftText(seconds: number | null): string {
  return seconds === null ? '-' : formatDuration(seconds);
}

function percentOf(share: number | undefined): string {
  return share === undefined ? ' -%' : `${Math.floor(share * 100)}%`;
}

function named(title: string, stage: string): string {
  return stage === '' ? title : `${title} (${stage})`;
}
