/** What a command would have printed, kept instead. */

import { Output } from '../../dom0/output.ts';
import type { Row } from '../../dom0/output.ts';
import type { Event } from './home.ts';

/** Keeps what a command would have printed, both ways. */
export class QuietOutput extends Output {
  readonly lines: string[] = [];
  readonly events: Event[] = [];

  /** Characters that are still kept; what comes later is dropped. */
  #left: number;

  constructor(left = Infinity) {
    super(false);
    this.#left = left;
  }

  #keep(text: string): void {
    this.#left -= text.length;
    if (this.#left >= 0) this.lines.push(text);
  }

  override line(text: string): void {
    this.#keep(text);
  }

  override rows(rows: readonly Row[]): Promise<void> {
    for (const { line } of rows) this.#keep(line);
    return Promise.resolve();
  }

  override event(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#left -= JSON.stringify(fields).length;
    if (this.#left >= 0) this.events.push({ event, ...fields });
  }

  override note(text: string): void {
    this.#keep(`note: ${text}`);
  }

  override warn(text: string): void {
    this.#keep(`warning: ${text}`);
  }

  override error(text: string): void {
    this.#keep(`error: ${text}`);
  }

  override progress(): void {
    // Nothing to show.
  }
}
