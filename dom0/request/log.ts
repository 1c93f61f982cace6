/** What a request would print on a terminal goes to a file of dom0's: nothing of it is for the VM that asked. */

import { closeSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { MAX_REQUEST_LOG } from '../../shared/limits.ts';
import { Output } from '../output.ts';
import type { Row } from '../output.ts';

export class RequestLog extends Output {
  readonly #descriptor: number;
  readonly #caller: string;
  #left = MAX_REQUEST_LOG;

  /** Appends to `file` what `caller` asked for; a file that has grown large becomes `file.1`. */
  constructor(file: string, caller: string) {
    super(false);
    this.#caller = caller;
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_REQUEST_LOG)
      renameSync(file, `${file}.1`);
    this.#descriptor = openSync(file, 'a', 0o600);
  }

  override line(text: string): void {
    this.#append(text);
  }

  override event(): void {
    // What is for programs has a line for people as well.
  }

  override rows(rows: readonly Row[]): Promise<void> {
    for (const { line } of rows) this.#append(line);
    return Promise.resolve();
  }

  override note(text: string): void {
    this.#append(`note: ${text}`);
  }

  override warn(text: string): void {
    this.#append(`warning: ${text}`);
  }

  override error(text: string): void {
    this.#append(`error: ${text}`);
  }

  override progress(): void {
    // Nobody watches.
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** What a VM can make a run say is bounded: a request adds at most MAX_REQUEST_LOG bytes. */
  #append(text: string): void {
    const line = `${new Date().toISOString()} ${this.#caller}: ${text.replace(/[^\x20-\x7e]/g, '?')}\n`;
    this.#left -= line.length;
    if (this.#left >= 0) writeSync(this.#descriptor, line);
  }
}
