/** How far all jobs of a run are together, those included that have not begun. */

import type { Progress } from './session/report.ts';

/** One job: what it did in this stage, and in those before. */
interface Part {
  stage: string;
  bytes: number;
  earlier: number;
  /** 0 to 1; a later stage does not take it back. */
  share: number;
  /** Bytes that there are; undefined if that is not known. */
  weight: number | undefined;
}

export class ProgressTotal {
  readonly #running = new Map<string, Part>();
  #doneBytes = 0;
  #doneWeight = 0;
  #doneKnown = 0;
  /** When the first job began, by the display's clock. */
  #started = Infinity;

  /** Job `title` is so far in `stage`. `share`: 0 to 1; undefined if that is not known. */
  show(
    { title, stage, started }: { readonly title: string; readonly stage: string; readonly started: number },
    { bytes }: Pick<Progress, 'bytes'>,
    share: number | undefined,
    weight: number,
  ): void {
    this.#started = Math.min(this.#started, started);
    const part = this.#running.get(title) ?? { stage, bytes, earlier: 0, share: 0, weight: undefined };
    if (part.stage !== stage) part.earlier += part.bytes;
    part.stage = stage;
    part.bytes = bytes;
    part.share = Math.max(part.share, share ?? 0);
    if (weight > 0) part.weight = Math.max(part.weight ?? 0, weight);
    this.#running.set(title, part);
  }

  finish(title: string): void {
    const part = this.#running.get(title);
    if (part === undefined) return;
    this.#running.delete(title);
    this.#doneBytes += part.earlier + part.bytes;
    if (part.weight === undefined) return;
    this.#doneKnown += 1;
    this.#doneWeight += part.weight;
  }

  /** Bytes of all jobs so far. */
  get bytes(): number {
    return [...this.#running.values()].reduce(
      (sum, { bytes, earlier }) => sum + bytes + earlier,
      this.#doneBytes,
    );
  }

  /** Seconds since the first began. */
  seconds(now: number): number {
    return Math.max((now - this.#started) / 1000, 0.001);
  }

  /** The share, 0 to 1, that is done of `of` jobs, of which `done` have ended. One of unknown size counts as the mean of the others. */
  share({ done, of }: { readonly done: number; readonly of: number }): number {
    const running = [...this.#running.values()];
    const known = running.flatMap(({ weight }) => weight ?? []);
    const count = known.length + this.#doneKnown;
    const mean = count === 0 ? 1 : known.reduce((sum, one) => sum + one, this.#doneWeight) / count;
    const doneWeight = this.#doneWeight + (done - this.#doneKnown) * mean;
    const runningWeight = running.reduce((sum, { weight }) => sum + (weight ?? mean), 0);
    const doneOfRunning = running.reduce((sum, { share, weight }) => sum + share * (weight ?? mean), 0);
    const waiting = Math.max(of - done - running.length, 0) * mean;
    const total = doneWeight + runningWeight + waiting;
    return total === 0 ? 0 : Math.min((doneWeight + doneOfRunning) / total, 1);
  }
}
