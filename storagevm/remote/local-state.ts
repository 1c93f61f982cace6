/**
 * What a storage VM with a store elsewhere remembers of it, in a folder of its own machine, beside the ledger: the id by which
 * it owns the place, and what it found out about the service. Not part of the ledger, which may be thrown away.
 *
 *     remote-lock    held by who creates a name (compare-and-set among the processes of this machine)
 *     remote         below
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { readJson, writeJson } from '../ledger/json.ts';
import { locked } from '../lock.ts';

const state = z.strictObject({
  /** The place, as the settings named it when it was owned. */
  place: z.string(),
  /** 32 hex digits, random. */
  owner: z.string().regex(/^[0-9a-f]{32}$/),
  /** True if the service was seen to keep the condition of putIfAbsent(); null if that was not tried. */
  conditional: z.nullable(z.boolean()),
});
export type RemoteState = z.output<typeof state>;

export class LocalState {
  readonly #folder: string;
  readonly #place: string;

  /** `folder` exists. `place`: see Remote. */
  constructor(folder: string, place: string) {
    this.#folder = folder;
    this.#place = place;
  }

  /** Runs `action` as the only one of this machine. */
  async locked<T>(action: () => Promise<T>): Promise<T> {
    return locked(join(this.#folder, 'remote-lock'), action);
  }

  /** Only under the lock. Throws `usage` if it is of another place. */
  async read(): Promise<RemoteState> {
    const found = await readJson(this.#file, state);
    if (found !== undefined && found.place !== this.#place)
      throw new BackupError(
        'usage',
        `${this.#folder} in the storage VM is of ${found.place}, and the settings name ${this.#place}: ` +
          'put the settings back, or move that folder away there',
      );
    if (found !== undefined) return found;
    if (existsSync(join(this.#folder, 'format')))
      throw new BackupError(
        'usage',
        `${this.#folder} in the storage VM is a store itself: remove [s3] or [rclone] from the settings, or move that folder away there`,
      );
    const fresh = { place: this.#place, owner: randomBytes(16).toString('hex'), conditional: null };
    await this.write(fresh);
    return fresh;
  }

  /** Replaces it, durably. Only under the lock. */
  write(value: RemoteState): Promise<void> {
    return writeJson(this.#file, state, value);
  }

  get #file(): string {
    return join(this.#folder, 'remote');
  }
}
