/**
 * Sealed tree objects and records kept in dom0, so that a run does not download them again. Entries are verified
 * like anything from a store, so a damaged cache costs time, never correctness. Size-capped, oldest use first out.
 */

import { readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { concat } from '../../shared/bytes.ts';
import { systemCode } from '../../shared/errors.ts';
import type { ObjectId, RepositoryId } from '../../shared/ids.ts';
import { MAX_OBJECT } from '../../shared/limits.ts';
import type { SealedObject } from '../seal/object.ts';
import { makePrivateFolder, replaceFile } from './files.ts';

export class ObjectCache {
  readonly #folder: string;
  readonly #capacity: number;

  /** `capacity` in bytes is enforced by trim(). */
  constructor(stateFolder: string, repository: RepositoryId, capacity: number) {
    this.#folder = join(stateFolder, 'cache', repository);
    this.#capacity = capacity;
    makePrivateFolder(this.#folder);
  }

  /** The untrusted bytes cached under `id`, or undefined. */
  get(id: ObjectId): Uint8Array | undefined {
    const file = this.#file(id);
    try {
      if (statSync(file).size > MAX_OBJECT) return undefined;
      const bytes = readFileSync(file);
      const now = new Date();
      utimesSync(file, now, now);
      return bytes;
    } catch (error) {
      // A cache that cannot be read is only slow; the store answers instead.
      if (systemCode(error) !== undefined) return undefined;
      throw error;
    }
  }

  put(id: ObjectId, pieces: SealedObject['pieces']): void {
    makePrivateFolder(join(this.#folder, id.slice(0, 2)));
    replaceFile(this.#file(id), concat(pieces), { durably: false });
  }

  remove(id: ObjectId): void {
    rmSync(this.#file(id), { force: true });
  }

  /** Removes everything. */
  clear(): void {
    for (const name of readdirSync(this.#folder))
      rmSync(join(this.#folder, name), { recursive: true, force: true });
  }

  /** Removes the least recently used entries until the rest fits the capacity. */
  trim(): void {
    const entries = readdirSync(this.#folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const file = join(entry.parentPath, entry.name);
        const { size, mtimeMs } = statSync(file);
        return { file, size, mtimeMs };
      })
      .sort((a, b) => b.mtimeMs - a.mtimeMs);
    let total = 0;
    for (const { file, size } of entries) {
      total += size;
      if (total > this.#capacity) rmSync(file, { force: true });
    }
  }

  #file(id: ObjectId): string {
    return join(this.#folder, id.slice(0, 2), id);
  }
}
