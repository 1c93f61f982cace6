/**
 * The back end over a local directory: a store's names are paths below it, and `tmp/` has files being written. Every file is
 * written there, synced, and given its name by one rename or link. So a crash leaves files in tmp/ and nothing else. Needs a
 * file system with hard links. Readers create nothing, and need no right to.
 */

import { lstat, readdir, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { equalBytes } from '../shared/bytes.ts';
import { isBackupError, systemCode } from '../shared/errors.ts';
import { SHARDS, objectOf, rootNumber } from './back-end.ts';
import type { BackEnd, Listed, StoreName, StoredFile } from './back-end.ts';
import {
  createExclusively,
  explained,
  makeFolder,
  readWhole,
  removeStale,
  replaceFile,
  syncFile,
  syncFolder,
  unless,
} from './files.ts';
import { note } from './note.ts';

/** Sizes asked of the file system at once while listing. */
const STATS_AT_ONCE = 32;

export class DirectoryBackEnd implements BackEnd {
  readonly #folder: string;
  #created: Promise<void> | undefined;
  /** Folders below the store's that are there. */
  readonly #made = new Set<string>();
  /** Folders below the store's whose own names this process made durable. */
  readonly #durable = new Set<string>();

  /** `folder` need not exist: the first write creates it in its parent, which must. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  write(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    return explained('storing', async () => {
      await this.#create();
      const path = this.#path(name);
      if (await holds(path, bytes)) return false;
      await this.#makeParents(name);
      await replaceFile(this.#path('tmp'), path, bytes);
      return true;
    });
  }

  create(name: StoreName, bytes: Uint8Array): Promise<boolean> {
    return explained('storing', async () => {
      await this.#create();
      await this.#makeParents(name);
      const created = await createExclusively(this.#path('tmp'), this.#path(name), bytes);
      await this.#syncNames([name]); // Also one that another process created an instant ago.
      return created;
    });
  }

  sync(names: readonly StoreName[]): Promise<void> {
    return explained('making files durable', () => this.#syncNames(names));
  }

  read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    return explained('reading', () => readWhole(this.#path(name), max));
  }

  async *list(what: Listed): AsyncGenerator<readonly StoredFile[]> {
    for (const folder of what === 'objects' ? SHARDS.map((shard) => `objects/${shard}`) : [what]) {
      const batch = await explained('listing', () => this.#listFolder(folder));
      if (batch.length > 0) yield batch;
    }
  }

  remove(names: readonly StoreName[]): Promise<readonly StoreName[]> {
    return explained('removing', async () => {
      for (const name of names) await unless('ENOENT', unlink(this.#path(name)));
      return [];
    });
  }

  room(): Promise<number | undefined> {
    return explained('looking for room', async () => {
      const found = await unless('ENOENT', statfs(this.#folder));
      const { bavail, bsize } = found ?? (await statfs(dirname(this.#folder)));
      return bavail * bsize;
    });
  }

  /** Creates what is missing of the store's folder, once a process, and removes what dead sessions left. */
  #create(): Promise<void> {
    this.#created ??= (async () => {
      await makeFolder(this.#folder);
      await syncFolder(dirname(this.#folder));
      await makeFolder(this.#path('tmp'));
      await removeStale(this.#path('tmp'));
    })();
    return this.#created;
  }

  /** Makes the folders that `name` is in. */
  async #makeParents(name: StoreName): Promise<void> {
    for (const folder of parents(name)) {
      if (!this.#made.has(folder)) await makeFolder(this.#path(folder));
      this.#made.add(folder);
    }
  }

  async #syncNames(names: readonly StoreName[]): Promise<void> {
    await Promise.all([...new Set(names.map(dirname))].map((folder) => syncFolder(this.#path(folder))));
    // The folders' own names: each once, from the bottom up.
    const folders = new Set(names.flatMap(parents).filter((folder) => !this.#durable.has(folder)));
    await Promise.all([...new Set([...folders].map(dirname))].map((above) => syncFolder(this.#path(above))));
    for (const folder of folders) this.#durable.add(folder);
  }

  async #listFolder(folder: string): Promise<StoredFile[]> {
    const reading = unless('ENOENT', readdir(this.#path(folder), { withFileTypes: true }));
    const entries = (await unless('ENOTDIR', reading)) ?? [];
    const names = entries
      .filter((entry) => entry.isFile())
      .map((entry) => `${folder}/${entry.name}` as StoreName)
      .filter((name) => objectOf(name) !== undefined || rootNumber(name) !== undefined)
      .sort();
    const files: StoredFile[] = [];
    for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
      const some = names.slice(at, at + STATS_AT_ONCE);
      const found = await Promise.all(some.map((name) => unless('ENOENT', lstat(this.#path(name)))));
      found.forEach((file, index) => {
        const name = some[index];
        if (name !== undefined && file?.isFile() === true) files.push({ name, size: file.size });
      });
    }
    return files;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}

/** The folders above `name` in the store, from the top. */
function parents(name: string): string[] {
  const above = dirname(name);
  return above === '.' ? [] : [...parents(above), above];
}

/** True if the file `path` has exactly `bytes`, durably. Whatever else is there is damage, to be replaced. */
async function holds(path: string, bytes: Uint8Array): Promise<boolean> {
  try {
    const found = await readWhole(path, bytes.length);
    if (found === undefined || !equalBytes(found, bytes)) return false;
  } catch (error) {
    if (systemCode(error) === undefined && !isBackupError(error, 'io')) throw error;
    note(error);
    return false;
  }
  await syncFile(path);
  return true;
}
