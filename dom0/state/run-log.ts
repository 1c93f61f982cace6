/**
 * What runs did, for who looks later: one JSON object a line, in a file of dom0's that is set aside when it has grown. It has warnings,
 * errors and results, and what services said on stderr. Lines for people are not in it, as one of them may show a new secret.
 */

import { randomBytes } from 'node:crypto';
import { closeSync, fchmodSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { isBackupError, systemCode } from '../../shared/errors.ts';
import { printableText } from '../../shared/format.ts';
import { MAX_RUN_LOG, MAX_TEXT } from '../../shared/limits.ts';
import { printable } from '../../shared/schema.ts';
import { makePrivateFolder } from './files.ts';

export const LEVELS = ['run', 'note', 'warning', 'error', 'result', 'service'] as const;
export type Level = (typeof LEVELS)[number];

const entrySchema = z.strictObject({
  /** ISO 8601, UTC. */
  at: printable(32),
  /** The same for all entries of one run. */
  run: printable(16),
  level: z.enum(LEVELS),
  text: printable(MAX_TEXT),
  /** Of what a service said. */
  vm: printable(256).optional(),
  service: printable(256).optional(),
});
export type LogEntry = z.output<typeof entrySchema>;

export class RunLog {
  readonly #folder: string;
  readonly #about: string;
  readonly #run = randomBytes(6).toString('hex');
  #descriptor: number | undefined;
  /** Bytes that this run may yet write: no VM can make one fill dom0. */
  #left = MAX_RUN_LOG;

  /** `about`: what the run is, for its first entry; without another there is none. */
  constructor(stateFolder: string, about: string) {
    this.#folder = join(stateFolder, 'log');
    this.#about = about;
  }

  /** Adds an entry, if that can be: a log that cannot be written fails no run. */
  add(level: Level, text: string, from: Pick<LogEntry, 'vm' | 'service'> = {}): void {
    try {
      if (this.#descriptor === undefined) {
        this.#descriptor = this.#open();
        this.#append(this.#descriptor, 'run', this.#about, {});
      }
      this.#append(this.#descriptor, level, text, from);
    } catch (error) {
      if (!isBackupError(error) && systemCode(error) === undefined) throw error;
      this.#left = 0;
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
    this.#left = 0;
  }

  #open(): number {
    makePrivateFolder(this.#folder);
    const file = fileIn(this.#folder);
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_RUN_LOG) renameSync(file, `${file}.1`);
    const descriptor = openSync(file, 'a', 0o600);
    fchmodSync(descriptor, 0o600);
    return descriptor;
  }

  #append(descriptor: number, level: Level, text: string, from: Pick<LogEntry, 'vm' | 'service'>): void {
    const entry = { at: new Date().toISOString(), run: this.#run, level, text: printableText(text), ...from };
    const line = Buffer.from(`${JSON.stringify(entry)}\n`);
    if (line.length > this.#left) return;
    this.#left -= line.length;
    writeSync(descriptor, line);
  }
}

/** All entries that are still there, the oldest first. What is damaged is left out. */
export function allEntries(stateFolder: string): readonly LogEntry[] {
  const file = fileIn(join(stateFolder, 'log'));
  return [`${file}.1`, file].flatMap(entriesOf);
}

/** The entries of the last run that has any. */
export function lastRun(stateFolder: string): readonly LogEntry[] {
  const entries = allEntries(stateFolder);
  const last = entries.at(-1)?.run;
  return entries.filter(({ run }) => run === last);
}

function entriesOf(file: string): LogEntry[] {
  if (statSync(file, { throwIfNoEntry: false }) === undefined) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const result = entrySchema.safeParse(jsonOf(line));
      return result.success ? [result.data] : [];
    });
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function fileIn(folder: string): string {
  return join(folder, 'runs.jsonl');
}
