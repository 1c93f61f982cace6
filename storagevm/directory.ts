/**
 * The back end over a local directory:
 *
 *     format                    "qubes-incremental-backup store 1": the first file of a store
 *     key                       the pinned public key, hex
 *     objects/ab/<64 hex>       sealed objects, read-only
 *     roots/<64 hex>            the root whose `previous` is that hash: the name is the compare-and-set
 *     head                      a hint: the name of the newest file in roots/
 *     tmp/                      files being written
 *
 * Every file is written in tmp/, synced, and given its name by one rename or link. So a crash leaves files in
 * tmp/ and nothing else. Needs a file system with hard links. Readers create nothing, and need no right to.
 */

import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { equalBytes, hex, utf8 } from '../shared/bytes.ts';
import { BackupError, isBackupError, systemCode } from '../shared/errors.ts';
import { NO_ROOT, rootHashOf } from '../shared/ids.ts';
import type { ObjectId, RootHash } from '../shared/ids.ts';
import { MAX_OBJECT, MAX_ROOT } from '../shared/limits.ts';
import type { BackEnd, StoredObject } from './back-end.ts';
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

const FORMAT = utf8('qubes-incremental-backup store 1\n');
/** Longest small file that is read: `format`, `key`, `head`. */
const MAX_SMALL = 1024;
const HEX_32 = /^[0-9a-f]{64}$/;
const KEY_FILE = /^[0-9a-f]{64}\n$/;
/** Sizes asked of the file system at once while listing. */
const STATS_AT_ONCE = 32;

export class DirectoryBackEnd implements BackEnd {
  readonly #folder: string;
  #created: Promise<void> | undefined;
  /** Folders below objects/ that are there. */
  readonly #madeShards = new Set<string>();
  /** Folders below objects/ whose own names this process made durable. */
  readonly #durableShards = new Set<string>();

  /** `folder` need not exist: the first write creates it in its parent, which must. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  write(id: ObjectId, bytes: Uint8Array): Promise<boolean> {
    return explained('storing an object', async () => {
      await this.#create();
      const path = this.#objectPath(id);
      if (await holds(path, bytes)) return false;
      if (!this.#madeShards.has(shardOf(id))) await makeFolder(dirname(path));
      this.#madeShards.add(shardOf(id));
      await replaceFile(this.#path('tmp'), path, bytes);
      return true;
    });
  }

  sync(ids: readonly ObjectId[]): Promise<void> {
    return explained('making objects durable', async () => {
      const shards = [...new Set(ids.map(shardOf))];
      await Promise.all(shards.map((shard) => syncFolder(this.#path('objects', shard))));
      if (shards.every((shard) => this.#durableShards.has(shard))) return;
      await syncFolder(this.#path('objects'));
      for (const shard of shards) this.#durableShards.add(shard);
    });
  }

  read(id: ObjectId): Promise<Uint8Array | undefined> {
    return explained('reading an object', async () => {
      if (!(await this.#exists())) return undefined;
      return readWhole(this.#objectPath(id), MAX_OBJECT);
    });
  }

  async *list(): AsyncGenerator<readonly StoredObject[]> {
    if (!(await explained('opening the store', () => this.#exists()))) return;
    for (let shard = 0; shard < 256; shard++) {
      const name = shard.toString(16).padStart(2, '0');
      const batch = await explained('listing objects', () => this.#listShard(name));
      if (batch.length > 0) yield batch;
    }
  }

  currentRoot(): Promise<Uint8Array | undefined> {
    return explained('reading the root', async () => {
      if (!(await this.#exists())) return undefined;
      let newest = (await this.#readRoot(await this.#hint())) ?? (await this.#readRoot(NO_ROOT));
      if (newest === undefined) return undefined;
      for (;;) {
        const next = await this.#readRoot(rootHashOf(newest));
        if (next === undefined) break;
        newest = next;
      }
      await syncFolder(this.#path('roots')); // A root that dom0 saw must not vanish with the power.
      return newest;
    });
  }

  addRoot(previous: RootHash, root: Uint8Array): Promise<boolean> {
    return explained('publishing a root', async () => {
      await this.#create();
      if (!(await createExclusively(this.#path('tmp'), this.#path('roots', previous), root))) return false;
      await syncFolder(this.#path('roots'));
      await this.#writeHint(previous);
      return true;
    });
  }

  pinKey(key: Uint8Array, replaced?: Uint8Array): Promise<Uint8Array> {
    return explained('pinning the key', async () => {
      await this.#create();
      const [tmp, path] = [this.#path('tmp'), this.#path('key')];
      const text = utf8(`${hex(key)}\n`);
      const pinned = await this.#pinnedKey();
      if (pinned === undefined) await createExclusively(tmp, path, text);
      else if (replaced !== undefined && equalBytes(pinned, replaced)) await replaceFile(tmp, path, text);
      await syncFolder(this.#folder); // Also for a key that another process pinned an instant ago.
      return (await this.#pinnedKey()) ?? key;
    });
  }

  async #pinnedKey(): Promise<Uint8Array | undefined> {
    const path = this.#path('key');
    const found = await readWhole(path, MAX_SMALL);
    if (found === undefined) return undefined;
    const text = Buffer.from(found).toString('latin1');
    if (KEY_FILE.test(text)) return Buffer.from(text.trimEnd(), 'hex');
    throw new BackupError(
      'store-damaged',
      `${path} in the storage VM is damaged: put back the public key of your repository`,
    );
  }

  /** True if there is a store of this format, false if there is none at all. */
  async #exists(): Promise<boolean> {
    const path = this.#path('format');
    let found = await readWhole(path, MAX_SMALL);
    if (found === undefined) {
      if ((await unless('ENOENT', lstat(this.#path('objects')))) === undefined) return false;
      found = await readWhole(path, MAX_SMALL); // objects/ comes after it: by now it must be there.
      if (found === undefined)
        throw new BackupError('store-damaged', `${path} is missing in the storage VM: is this a store?`);
    }
    if (equalBytes(found, FORMAT)) return true;
    throw new BackupError(
      'store-version',
      `${path} in the storage VM names a format that this program does not know: update it there`,
    );
  }

  /** Creates what is missing of the store, once a process, and removes what dead sessions left. */
  #create(): Promise<void> {
    this.#created ??= (async () => {
      await makeFolder(this.#folder);
      await syncFolder(dirname(this.#folder));
      const tmp = this.#path('tmp');
      const isNew = !(await this.#exists());
      await makeFolder(tmp);
      if (isNew) await createExclusively(tmp, this.#path('format'), FORMAT);
      await syncFolder(this.#folder);
      await makeFolder(this.#path('objects'));
      await makeFolder(this.#path('roots'));
      await syncFolder(this.#folder);
      await removeStale(tmp);
    })();
    return this.#created;
  }

  async #listShard(shard: string): Promise<StoredObject[]> {
    const folder = this.#path('objects', shard);
    const reading = unless('ENOENT', readdir(folder, { withFileTypes: true }));
    const entries = (await unless('ENOTDIR', reading)) ?? [];
    const names = entries
      .filter((entry) => entry.isFile() && HEX_32.test(entry.name) && entry.name.startsWith(shard))
      .map((entry) => entry.name as ObjectId)
      .sort();
    const objects: StoredObject[] = [];
    for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
      const some = names.slice(at, at + STATS_AT_ONCE);
      const found = await Promise.all(some.map((name) => unless('ENOENT', lstat(join(folder, name)))));
      found.forEach((file, index) => {
        const id = some[index];
        if (id !== undefined && file?.isFile() === true) objects.push({ id, size: file.size });
      });
    }
    return objects;
  }

  async #readRoot(previous: RootHash): Promise<Uint8Array | undefined> {
    return readWhole(this.#path('roots', previous), MAX_ROOT);
  }

  /** Where to start looking for the newest root. Anything odd about the hint means: at the first one. */
  async #hint(): Promise<RootHash> {
    try {
      const found = Buffer.from((await readWhole(this.#path('head'), MAX_SMALL)) ?? [])
        .toString('latin1')
        .trimEnd();
      return HEX_32.test(found) ? (found as RootHash) : NO_ROOT;
    } catch (error) {
      note(error); // Only speed depends on it.
      return NO_ROOT;
    }
  }

  /** The root is published by now: a failure here costs a later reader some steps, and nobody an error. */
  async #writeHint(name: RootHash): Promise<void> {
    try {
      await replaceFile(this.#path('tmp'), this.#path('head'), utf8(`${name}\n`));
    } catch (error) {
      note(error);
    }
  }

  #objectPath(id: ObjectId): string {
    return this.#path('objects', shardOf(id), id);
  }

  #path(...names: string[]): string {
    return join(this.#folder, ...names);
  }
}

function shardOf(id: ObjectId): string {
  return id.slice(0, 2);
}

/** True if the file `path` has exactly `bytes`, durably. Whatever else is there is damage, to be replaced. */
async function holds(path: string, bytes: Uint8Array): Promise<boolean> {
  try {
    const found = await readWhole(path, MAX_OBJECT);
    if (found === undefined || !equalBytes(found, bytes)) return false;
  } catch (error) {
    if (systemCode(error) === undefined && !isBackupError(error, 'io')) throw error;
    note(error);
    return false;
  }
  await syncFile(path);
  return true;
}
