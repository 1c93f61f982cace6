/** Attempts at requests: again after failures that may pass, and not too many requests at once. */

import { setTimeout as sleep } from 'node:timers/promises';
import { Transient } from './remote.ts';

export interface RetryOptions {
  /** Attempts in all; at least 1. */
  readonly attempts: number;
  /** The longest pause before the second attempt, in milliseconds. It doubles with each. */
  readonly pause: number;
  /** The longest pause at all, in milliseconds. */
  readonly longestPause: number;
  /** Milliseconds after which no further attempt begins. dom0 waits ten minutes for an answer. */
  readonly patience: number;
}

export const RETRIES: RetryOptions = { attempts: 6, pause: 500, longestPause: 20_000, patience: 240_000 };

/** Requests under way at once: enough for a line of 200 ms and 40 MB/s with the smallest objects that matter. */
const AT_ONCE = 16;

export class Attempts {
  readonly #options: RetryOptions;
  #free = AT_ONCE;
  readonly #waiting: (() => void)[] = [];

  constructor(options: RetryOptions = RETRIES) {
    this.#options = options;
  }

  /** Runs `action` until it does not throw {@link Transient}; in the end throws the cause. */
  async run<T>(action: () => Promise<T>): Promise<T> {
    const { attempts, pause, longestPause, patience } = this.#options;
    const end = performance.now() + patience;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#inTurn(action);
      } catch (error) {
        if (!(error instanceof Transient)) throw error;
        if (attempt >= attempts || performance.now() > end) throw error.cause;
        // Full jitter: callers that failed together do not come back together.
        await sleep(Math.random() * Math.min(pause * 2 ** (attempt - 1), longestPause));
      }
    }
  }

  async #inTurn<T>(action: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next(); // It takes over this place.
    }
  }
}
