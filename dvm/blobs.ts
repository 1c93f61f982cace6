/**
 * Fetches blobs by number over a session. Requests go out at once and many to a message; what was announced by
 * prefetch() is asked for ahead, within a bound, so that decoding and fetching overlap.
 */

import { readU64 } from '../shared/bytes.ts';
import { BackupError } from '../shared/errors.ts';
import { MAX_REQUEST } from '../shared/limits.ts';

/** Blobs asked for or held ahead of their use: at most 128 MiB of the largest, some MiB of tree leaves. */
const AHEAD = 8;

export interface BlobSource {
  /** The blob of this number. It came from a store: decode it strictly. */
  get(number: number): Promise<Uint8Array>;
  /** Announces blobs that get() will be called for, in this order. Each must then be got once. */
  prefetch(numbers: readonly number[]): void;
}

/** The part of a session that requests go through. */
export interface BlobRequests {
  send(name: 'get', value: { numbers: number[] }): Promise<void>;
}

interface Waiter {
  readonly resolve: (blob: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Blobs of a session with `get` and `blob` frames. The job's receive loop hands each `blob` message to
 * {@link deliver}, and its end or failure to {@link fail}: see {@link receiveBlobs}.
 */
export class SessionBlobs implements BlobSource {
  readonly #session: BlobRequests;
  /** Announced, not asked yet, in order. */
  readonly #hints = new Set<number>();
  /** Asked, not answered yet, in order: answers come in this order. */
  readonly #asked: number[] = [];
  readonly #askedSet = new Set<number>();
  /** Arrived before get(). */
  readonly #ready = new Map<number, Uint8Array>();
  readonly #waiting = new Map<number, Waiter[]>();
  #batch: number[] = [];
  #failure: { readonly error: Error } | undefined;

  constructor(session: BlobRequests) {
    this.#session = session;
  }

  get(number: number): Promise<Uint8Array> {
    const ready = this.#ready.get(number);
    if (ready !== undefined) {
      this.#ready.delete(number);
      this.#askAhead();
      return Promise.resolve(ready);
    }
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure.error);
        return;
      }
      const waiters = this.#waiting.get(number);
      if (waiters === undefined) this.#waiting.set(number, [{ resolve, reject }]);
      else waiters.push({ resolve, reject });
      this.#hints.delete(number);
      if (!this.#askedSet.has(number)) this.#ask(number);
    });
  }

  prefetch(numbers: readonly number[]): void {
    for (const number of numbers) {
      if (!this.#askedSet.has(number) && !this.#ready.has(number)) this.#hints.add(number);
    }
    this.#askAhead();
  }

  /** Takes the value of a `blob` message: its number as u64, then the blob. Throws `protocol` if it was not its turn. */
  deliver(value: Uint8Array): void {
    if (value.length < 8) throw new BackupError('protocol', 'sent a blob without a number');
    const number = readU64(value, 0);
    if (this.#asked.length === 0 || this.#asked[0] !== number) {
      throw new BackupError('protocol', `sent blob ${number}, which was not the one asked for`);
    }
    this.#asked.shift();
    this.#askedSet.delete(number);
    const blob = value.subarray(8);
    const waiters = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (waiters === undefined) this.#ready.set(number, blob);
    else for (const waiter of waiters) waiter.resolve(blob);
    this.#askAhead();
  }

  /** Every waiting and later get() gets `error`. */
  fail(error: Error): void {
    this.#failure ??= { error };
    const waiting = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    for (const waiter of waiting) waiter.reject(this.#failure.error);
  }

  #askAhead(): void {
    for (const number of this.#hints) {
      if (this.#asked.length + this.#ready.size >= AHEAD) return;
      this.#hints.delete(number);
      this.#ask(number);
    }
  }

  #ask(number: number): void {
    if (this.#failure !== undefined) return;
    this.#asked.push(number);
    this.#askedSet.add(number);
    this.#batch.push(number);
    // What is asked within one turn goes in one message.
    if (this.#batch.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    for (let i = 0; i < batch.length; i += MAX_REQUEST) {
      this.#session
        .send('get', { numbers: batch.slice(i, i + MAX_REQUEST) })
        .catch((error: unknown) => this.fail(asError(error)));
    }
  }
}

/** A session in which, after the job, only blobs come in. */
interface ReadingSession extends BlobRequests {
  receive(): Promise<{ readonly name: string; readonly value: unknown } | undefined>;
  fail(error: unknown): BackupError;
}

/** Blobs of a session in which nothing but blobs comes in any more. Its failures reach whoever waits for a blob. */
export function receiveBlobs(session: ReadingSession): SessionBlobs {
  const blobs = new SessionBlobs(session);
  const pump = async () => {
    for (;;) {
      const message = await session.receive();
      if (message === undefined) {
        blobs.fail(new BackupError('service-died', 'the caller ended before the work was done'));
        return;
      }
      const { name, value } = message;
      if (name !== 'blob' || !(value instanceof Uint8Array)) {
        throw new BackupError('protocol', `sent ${name} instead of a blob`);
      }
      blobs.deliver(value);
    }
  };
  pump().catch((error: unknown) => blobs.fail(session.fail(error)));
  return blobs;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new BackupError('internal', String(error));
}
