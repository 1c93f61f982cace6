/**
 * Anything that rclone can reach, as a place for files: paths are the store's names below the remote. Where a remote is no object
 * store a file is uploaded under a name in tmp/ and moved, so that nobody sees a part of it. To replace one takes removing it
 * first: what rclone takes for the same, by its size, it leaves.
 *
 * What a remote acknowledged counts as durable. rclone itself syncs nothing: a remote that is a folder of this machine may lose
 * the last seconds before a power cut. (Use `folder` for that.)
 */

import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { objectOf, rootNumber } from '../back-end.ts';
import type { Listed, StoreName, StoredFile } from '../back-end.ts';
import { note } from '../note.ts';
import { readAnswer } from './rclone-daemon.ts';
import type { RcloneDaemon } from './rclone-daemon.ts';
import { Transient } from './remote.ts';
import type { Page, Remote } from './remote.ts';

export interface RcloneOptions {
  /** Name and path as rclone takes them: `NAME:PATH`. */
  readonly remote: string;
  readonly daemon: RcloneDaemon;
}

/** A remote by name and path, without parameters, which may be passwords. */
const PLAIN = /^[\w. -]+:[^,:]*$/;
/** Milliseconds after which a file in tmp/ belongs to no living session. */
const STALE = 24 * 3600_000;

const features = z.object({ Features: z.object({ BucketBased: z.boolean(), About: z.boolean() }) });
const listing = z.object({
  list: z.nullable(
    z.array(z.object({ Name: z.string(), Size: z.number(), IsDir: z.boolean(), ModTime: z.string() })),
  ),
});
const about = z.object({ free: z.int().min(0).optional() });
const failure = z.object({ error: z.string() });

type Entry = NonNullable<z.output<typeof listing>['list']>[number];

export class RcloneRemote implements Remote {
  readonly place: string;
  readonly putIfAbsent = undefined;
  readonly #remote: string;
  readonly #daemon: RcloneDaemon;
  #features: Promise<z.output<typeof features>['Features']> | undefined;
  #swept: Promise<void> | undefined;

  constructor({ remote, daemon }: RcloneOptions) {
    this.#remote = remote;
    this.#daemon = daemon;
    this.place = `the rclone remote ${PLAIN.test(remote) ? remote : (remote.split(/[:,]/)[0] ?? '')}`;
  }

  async read(name: StoreName, max: number): Promise<Uint8Array | undefined> {
    const path = name.split('/').map(encodeURIComponent).join('/');
    const answer = await this.#daemon.request(`${encodeURIComponent(`[${this.#remote}]`)}/${path}`);
    if (answer.status === 404) {
      await answer.body?.cancel();
      return undefined;
    }
    if (!answer.ok) throw await this.#failure('reading', answer);
    const bytes = await readAnswer(answer, max);
    if (bytes === 'too large')
      throw new BackupError('io', `${name} has more than the ${max} bytes that are allowed`);
    return bytes;
  }

  async put(name: StoreName, bytes: Uint8Array, replacing: boolean): Promise<void> {
    this.#features ??= this.#look();
    if ((await this.#features).BucketBased) return this.#upload(name, bytes);
    this.#swept ??= this.#removeStale();
    await this.#swept;
    const temporary = `tmp/${randomBytes(16).toString('hex')}`;
    try {
      await this.#upload(temporary, bytes);
      if (replacing) await this.#removeFile(name); // rclone leaves what looks the same by its size.
      const [srcFs, dstFs] = [this.#remote, this.#remote];
      await this.#call('movefile', { srcFs, srcRemote: temporary, dstFs, dstRemote: name }, 'storing');
    } catch (error) {
      await this.#removeFile(temporary).catch(note); // What failed is told.
      throw error;
    }
  }

  async page(what: Listed, start: string | undefined): Promise<Page> {
    if (what !== 'objects') return { files: await this.#files(what), next: undefined };
    // A shard a page; where the next one starts is the list of those that are left.
    const shards =
      start?.split(',') ??
      (await this.#list('objects', { dirsOnly: true }))
        .map(({ Name }) => Name)
        .filter((name) => /^[0-9a-f]{2}$/.test(name))
        .sort();
    const [shard, ...left] = shards;
    return {
      files: shard === undefined ? [] : await this.#files(`objects/${shard}`),
      next: left.length === 0 ? undefined : left.join(),
    };
  }

  async remove(name: StoreName): Promise<boolean> {
    await this.#removeFile(name);
    return true;
  }

  async room(): Promise<number | undefined> {
    this.#features ??= this.#look();
    if (!(await this.#features).About) return undefined;
    const answer = await this.#call('about', {}, 'looking for room', true);
    return answer === undefined ? undefined : about.parse(answer).free; // Some only tell it of a folder that is there.
  }

  async #look(): Promise<z.output<typeof features>['Features']> {
    return features.parse(await this.#call('fsinfo', {}, 'looking at it')).Features;
  }

  async #files(folder: string): Promise<StoredFile[]> {
    const files = (await this.#list(folder, { filesOnly: true }))
      .map(({ Name, Size }) => ({ name: `${folder}/${Name}` as StoreName, size: Size }))
      .filter(
        ({ name, size }) => size >= 0 && (objectOf(name) !== undefined || rootNumber(name) !== undefined),
      )
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    // Some remotes hold two files of one name.
    return files.filter(({ name }, index) => name !== files[index - 1]?.name);
  }

  async #list(folder: string, options: Readonly<Record<string, boolean>>): Promise<readonly Entry[]> {
    const opt = { noModTime: true, noMimeType: true, ...options };
    const answer = await this.#call('list', { remote: folder, opt }, 'listing', true);
    return answer === undefined ? [] : (listing.parse(answer).list ?? []);
  }

  async #removeFile(name: string): Promise<void> {
    await this.#call('deletefile', { remote: name }, 'removing', true);
  }

  /** Removes what sessions that died left in tmp/. */
  async #removeStale(): Promise<void> {
    const old = Date.now() - STALE;
    const entries = await this.#list('tmp', { filesOnly: true, noModTime: false });
    for (const { Name, ModTime } of entries)
      if (Date.parse(ModTime) < old) await this.#removeFile(`tmp/${Name}`);
  }

  async #upload(path: string, bytes: Uint8Array): Promise<void> {
    const at = path.lastIndexOf('/') + 1;
    const form = new FormData();
    form.append('file', new Blob([new Uint8Array(bytes)]), path.slice(at));
    const query = new URLSearchParams({ fs: this.#remote, remote: path.slice(0, at) });
    const answer = await this.#daemon.request(`operations/uploadfile?${query.toString()}`, {
      method: 'POST',
      body: form,
    });
    if (!answer.ok) throw await this.#failure('storing', answer);
    await readAnswer(answer);
  }

  /** What `operations/METHOD` answers; with `mayMiss` undefined if there is no such file or folder. */
  async #call(method: string, input: object, doing: string, mayMiss = false): Promise<unknown> {
    const answer = await this.#daemon.request(`operations/${method}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ fs: this.#remote, ...input }),
    });
    if (mayMiss && answer.status === 404) {
      await answer.body?.cancel();
      return undefined;
    }
    if (!answer.ok) throw await this.#failure(doing, answer);
    const bytes = await readAnswer(answer);
    if (bytes === 'too large') throw new BackupError('io', `an answer of rclone while ${doing} is too large`);
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  }

  /** rclone says what went wrong in words only, so any failure may pass. */
  async #failure(doing: string, answer: Response): Promise<Transient> {
    const bytes = await readAnswer(answer, 64 * 1024);
    return new Transient(
      new BackupError(
        'store-missing',
        `${this.place} fails while ${doing}: ${this.#words(answer.status, bytes)}. ` +
          'Check rclone.conf beside storage.toml, and try again later',
      ),
    );
  }

  #words(status: number, bytes: Uint8Array | string): string {
    try {
      const { error } = failure.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
      return `${error.replaceAll(this.#remote, 'it').slice(0, 300)} (${status})`;
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof z.ZodError)) throw error;
      return `an answer of status ${status}`;
    }
  }
}
