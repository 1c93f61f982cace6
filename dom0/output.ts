/**
 * What a person or a program sees: lines on stdout, notes on stderr, or with --json one object a line on stdout. A
 * progress bar for each job only where a terminal shows it. Everything here is ours or printable ASCII by schema.
 */

import { fstatSync, write, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { promisify } from 'node:util';
import { MultiBar, Presets } from 'cli-progress';
import type { SingleBar } from 'cli-progress';
import { systemCode } from '../shared/errors.ts';
import { formatBytes, formatCount } from '../shared/format.ts';
import type { Progress } from './session/report.ts';

const STDOUT = 1;
const STDERR = 2;

const writeFd = promisify(write);

/** Milliseconds between tries on a descriptor whose reader is slow. */
const RETRY = 5;

/** One row of a listing: for people, and for programs. */
export interface Row {
  readonly line: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class Output {
  readonly json: boolean;
  /** All bars that are shown, and each by its title. */
  #shown: MultiBar | undefined;
  readonly #bars = new Map<string, SingleBar>();

  constructor(json: boolean) {
    this.json = json;
  }

  /** A line for people; with --json it is left out. */
  line(text: string): void {
    if (!this.json) this.#write(STDOUT, `${text}\n`);
  }

  /** An object for programs; without --json it is left out. */
  event(event: string, fields: Readonly<Record<string, unknown>>): void {
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
    this.#write(STDERR, `note: ${text}\n`);
  }

  warn(text: string): void {
    this.#write(STDERR, `warning: ${text}\n`);
  }

  error(text: string): void {
    this.#write(STDERR, `error: ${text}\n`);
  }

  /** Raw bytes to stdout, for a tar stream. */
  raw(bytes: Uint8Array): void {
    writeAll(STDOUT, bytes);
  }

  /**
   * Shows `title` and how far it is, beside other titles; replaced by the next call, removed by endProgress(). `started`: when it began,
   * as of performance.now().
   */
  progress(title: string, { files, bytes, totalFiles, totalBytes }: Progress, started: number): void {
    if (this.json || !isatty(STDERR)) return;
    const total = totalBytes > 0 ? totalBytes : bytes;
    const bar = this.#barOf(title);
    const seconds = Math.max((performance.now() - started) / 1000, 0.001);
    bar.setTotal(Math.max(total, 1));
    bar.update(Math.min(bytes, total), {
      title,
      files:
        totalFiles > 0
          ? `${formatCount(files)}/${formatCount(totalFiles)} files`
          : `${formatCount(files)} files`,
      size: formatBytes(bytes),
      rate: formatBytes(bytes / seconds),
    });
  }

  #barOf(title: string): SingleBar {
    let bar = this.#bars.get(title);
    if (bar === undefined) {
      const format = '{title}  {bar} {percentage}%  {files}  {size}  {rate}/s  ETA {eta_formatted}';
      this.#shown ??= new MultiBar(
        { format, hideCursor: true, clearOnComplete: true, stream: process.stderr },
        Presets.shades_grey,
      );
      bar = this.#shown.create(1, 0, { title, files: '', size: '', rate: '' });
      this.#bars.set(title, bar);
    }
    return bar;
  }

  /** Removes all bars. Those of jobs that go on come back with their next step. */
  endProgress(): void {
    this.#shown?.stop();
    this.#shown = undefined;
    this.#bars.clear();
  }

  #write(descriptor: number, text: string): void {
    this.endProgress();
    writeAll(descriptor, Buffer.from(text, 'utf8'));
  }
}

/** Writes all of `bytes`. A reader that went away ends the output, not the work. */
function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      if (afterFailure(descriptor, error) === 'stop') return;
      waitForReader();
    }
  }
}

/** {@link writeAll} while everything else goes on. */
async function writeAllAtLeisure(descriptor: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += (await writeFd(descriptor, bytes, at)).bytesWritten;
    } catch (error) {
      if (afterFailure(descriptor, error) === 'stop') return;
      await delay(RETRY);
    }
  }
}

/** What to do about a failed write: try again, or stop because nobody reads. Throws anything else. */
function afterFailure(descriptor: number, error: unknown): 'retry' | 'stop' {
  if (systemCode(error) === 'EAGAIN') return 'retry';
  if (systemCode(error) === 'EPIPE' && !isRegularFile(descriptor)) return 'stop';
  throw error;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Lets a slow reader of a non-blocking descriptor catch up. */
function waitForReader(): void {
  Atomics.wait(sleeper, 0, 0, RETRY);
}

function isRegularFile(descriptor: number): boolean {
  return fstatSync(descriptor).isFile();
}
