/** A bandwidth limit (R45): whoever wants to pass bytes waits for the turn of these. In the order of calls. */

import { setTimeout as delay } from 'node:timers/promises';

/** Milliseconds, from any moment on. */
export interface Clock {
  now(): number;
  sleep(milliseconds: number): Promise<void>;
}

/** Never holds up the end of the process. */
const REAL: Clock = {
  now: () => performance.now(),
  sleep: (milliseconds) => delay(milliseconds, undefined, { ref: false }),
};

/** Bytes that pass in one piece: a tenth of a second's, within these bounds. */
const MIN_PIECE = 1024;
const MAX_PIECE = 64 * 1024;

export class TokenBucket {
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that should be asked for at once, at most: a burst is never longer. */
  readonly piece: number;
  readonly #clock: Clock;
  /** When all that was granted so far has passed at the rate. */
  #free = -Infinity;

  constructor(rate: number, clock: Clock = REAL) {
    this.rate = rate;
    this.piece = Math.max(MIN_PIECE, Math.min(MAX_PIECE, Math.floor(rate / 10)));
    this.#clock = clock;
  }

  /** Resolves when what was granted before has passed. */
  async take(bytes: number): Promise<void> {
    const now = this.#clock.now();
    const start = Math.max(now, this.#free);
    this.#free = start + (1000 * bytes) / this.rate;
    if (start > now) await this.#clock.sleep(start - now);
  }
}
