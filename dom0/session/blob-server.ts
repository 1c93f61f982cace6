/**
 * Serves a disposable's `get` requests: under the grant of its job, in the order asked, verified and opened here.
 * The disposable's own credit bounds what is sent ahead; MAX_BLOBS_REQUESTED bounds what it may ask ahead.
 */

import { u64 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { MAX_BLOBS_REQUESTED, MAX_READS } from '../../shared/limits.ts';
import type { NumberSet } from '../../shared/numbers.ts';
import type { VmHistory } from '../repository/vm-history.ts';
import { KIND } from '../seal/object.ts';

/** What a job may read: blobs of one snapshot, and of them perhaps only trees. */
export interface Grant {
  readonly numbers: NumberSet;
  readonly treesOnly: boolean;
}

/** Objects fetched ahead of the one being sent. */
const AHEAD = 3;

export class BlobServer {
  readonly #history: VmHistory;
  readonly #grant: Grant;
  readonly #send: (pieces: readonly Uint8Array[]) => Promise<void>;
  readonly #failed: (error: unknown) => void;
  readonly #wanted: number[] = [];
  readonly #fetching: { number: number; blob: Promise<Uint8Array> }[] = [];
  /** Blobs that may still be asked for. */
  #left: number;
  #running = false;
  #stopped = false;

  constructor(
    history: VmHistory,
    grant: Grant,
    io: { send: (pieces: readonly Uint8Array[]) => Promise<void>; failed: (error: unknown) => void },
  ) {
    this.#history = history;
    this.#grant = grant;
    this.#left = MAX_READS * grant.numbers.size;
    this.#send = io.send;
    this.#failed = io.failed;
  }

  /** Takes a request. Throws `refused` on a number outside the grant, `protocol` on too many at once, `limit` on too many in all. */
  request(numbers: readonly number[]): void {
    for (const number of numbers) {
      if (!this.#grant.numbers.has(number))
        throw new BackupError('refused', `asked for blob ${number}, which its job does not grant`);
    }
    this.#left -= numbers.length;
    if (this.#left < 0) throw new BackupError('limit', 'keeps asking for the same blobs');
    this.#wanted.push(...numbers);
    if (this.#wanted.length + this.#fetching.length > MAX_BLOBS_REQUESTED) {
      throw new BackupError('protocol', 'asked for more blobs at once than allowed');
    }
    if (!this.#running) void this.#run();
  }

  /** Who says that it is done wants no more blobs, whatever it asked for. */
  stop(): void {
    this.#stopped = true;
    this.#wanted.length = 0;
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      for (;;) {
        this.#fetchAhead();
        const next = this.#fetching.shift();
        if (next === undefined) break;
        const blob = await next.blob;
        if (this.#stopped) break;
        this.#fetchAhead();
        await this.#send([u64(next.number), blob]);
        this.#history.giveBack(blob);
      }
    } catch (error) {
      if (!this.#stopped) this.#failed(error);
    } finally {
      this.#running = false;
    }
  }

  #fetchAhead(): void {
    while (this.#fetching.length < AHEAD) {
      const number = this.#wanted.shift();
      if (number === undefined) return;
      const blob = this.#fetch(number);
      blob.catch(() => undefined); // Reported when its turn comes.
      this.#fetching.push({ number, blob });
    }
  }

  async #fetch(number: number): Promise<Uint8Array> {
    const { name } = this.#history;
    const row = await this.#history.rowOf(number);
    if (this.#grant.treesOnly && row.kind !== KIND.tree) {
      throw new BackupError(
        'refused',
        `asked for old content of ${name} (blob ${number}); a backup may only read the tree`,
      );
    }
    return this.#history.blob(number);
  }
}
