/**
 * How a sweep removes an object that somebody may put again at the same instant. The sweep first writes down what it is about
 * to remove, then looks at what was put; who puts first writes that down, then looks at what is about to be removed, and waits.
 * So one of the two sees the other (Dekker's way), whatever the order.
 */

import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { concat } from '../../shared/bytes.ts';
import { isBackupError } from '../../shared/errors.ts';
import { idBytes } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { readWhole, replaceFile, unless } from '../files.ts';
import { locked } from '../lock.ts';

/** Objects removed in one go. */
export const PURGED_AT_ONCE = 256;

/** Milliseconds between two looks, and how many before the sweep is taken for dead unless it holds the lock. */
const LOOK_EVERY = 50;
const LOOKS = 20;

export class Purging {
  readonly #folder: string;
  readonly #file: string;
  readonly #lock: string;

  constructor(folder: string, lock: string) {
    this.#folder = folder;
    this.#file = join(folder, 'purging');
    this.#lock = lock;
  }

  /** Only under the lock; `ids`: at most PURGED_AT_ONCE. */
  announce(ids: readonly ObjectId[]): Promise<void> {
    return replaceFile(this.#folder, this.#file, concat(ids.map(idBytes)));
  }

  /** Nothing is being removed. Only under the lock. */
  async end(): Promise<void> {
    await unless('ENOENT', unlink(this.#file));
  }

  /** Resolves when `id` is not about to be removed, nor will be by a sweep that started before its journal row was written. */
  async passed(id: ObjectId): Promise<void> {
    for (let look = 1; await this.#names(id); look++) {
      if (look % LOOKS === 0) await this.#endOfDead();
      else await sleep(LOOK_EVERY);
    }
  }

  async #names(id: ObjectId): Promise<boolean> {
    const bytes = await readWhole(this.#file, 32 * PURGED_AT_ONCE);
    if (bytes === undefined) return false;
    const wanted = idBytes(id);
    for (let at = 0; at < bytes.length; at += 32)
      if (Buffer.compare(bytes.subarray(at, at + 32), wanted) === 0) return true;
    return false;
  }

  /** A sweep that holds no lock is dead: what it announced will not happen. */
  async #endOfDead(): Promise<void> {
    try {
      await locked(this.#lock, () => this.end(), false);
    } catch (error) {
      if (!isBackupError(error, 'locked')) throw error;
    }
  }
}
