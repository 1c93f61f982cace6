/**
 * The back end of a sweeper elsewhere (docs/retention.md): the bucket of a storage VM that cannot delete there. It writes nothing.
 * It removes all versions of what a sweep found dead, as far as they were there when it began to look: what is put again
 * meanwhile is another version, and stays.
 */

import { BackupError } from '../../shared/errors.ts';
import type { BackEnd, Listed, StoreName, StoredFile } from '../back-end.ts';
import { listPages } from './remote.ts';
import type { Remote } from './remote.ts';
import { Attempts } from './retry.ts';
import type { S3Versions, Version, VersionPage } from './s3-versions.ts';

/** Milliseconds by which the clock of the service may be behind ours: S3 refuses requests that are 15 minutes off. */
export const SKEW = 3600_000;

export class SweptBucket implements BackEnd {
  readonly #remote: Remote;
  readonly #versions: S3Versions;
  readonly #attempts: Attempts;
  /** What was stored later stays. */
  #until = -Infinity;

  constructor(remote: Remote, versions: S3Versions, attempts = new Attempts()) {
    this.#remote = remote;
    this.#versions = versions;
    this.#attempts = attempts;
  }

  get place(): string {
    return this.#remote.place;
  }

  write(): Promise<boolean> {
    return Promise.reject(this.onlySweeps());
  }

  create(): Promise<boolean> {
    return Promise.reject(this.onlySweeps());
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    return this.#attempts.run(() => this.#remote.read(name, max));
  }

  list(what: Listed): AsyncIterable<readonly StoredFile[]> {
    return listPages(this.#remote, this.#attempts, what);
  }

  async remove(names: readonly StoreName[]): Promise<readonly StoreName[]> {
    const kept = await Promise.all(names.map((name) => this.#removeFile(name)));
    return names.filter((_name, index) => kept[index] === true);
  }

  room(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** Begins to look: from now on what is stored is not removed by this process. Throws `usage` if the bucket keeps no versions. */
  async begin(now: number): Promise<void> {
    await this.#attempts.run(() => this.#versions.require());
    this.#until = now - SKEW;
  }

  /** All versions of the files whose names start with `start`. */
  async *versions(start: string): AsyncGenerator<VersionPage> {
    let page: VersionPage | undefined;
    do {
      const from = page?.next;
      page = await this.#attempts.run(() => this.#versions.page(start, from));
      yield page;
    } while (page.next !== undefined);
  }

  readVersion(version: Version, max: number): Promise<Uint8Array | undefined> {
    return this.#attempts.run(() => this.#versions.read(version, max));
  }

  /** False if a lock keeps it. */
  removeVersion(version: Version): Promise<boolean> {
    return this.#attempts.run(() => this.#versions.remove(version));
  }

  /** True if it was there when this process began to look. */
  wasThere({ storedAt }: Version): boolean {
    return storedAt < this.#until;
  }

  onlySweeps(): BackupError {
    return new BackupError(
      'usage',
      `this machine only sweeps ${this.place}: do that in the storage VM that writes there`,
    );
  }

  /** True if something of it stays, by a lock or as it came meanwhile. */
  async #removeFile(name: StoreName): Promise<boolean> {
    let kept = false;
    for await (const { versions, markers } of this.versions(name)) {
      const all = [...versions, ...markers].filter((version) => version.name === name);
      const old = all.filter((version) => this.wasThere(version));
      const removed = await Promise.all(old.map((version) => this.removeVersion(version)));
      kept ||= old.length < all.length || removed.includes(false);
    }
    return kept;
  }
}
