/**
 * A sweeper elsewhere (docs/retention.md): a machine with a key of the bucket that the storage VM does not have, and a ledger of
 * its own. Of that storage VM it believes nothing but signed roots that follow each other. Before it sweeps it looks:
 *
 *   - what was written over or hidden is laid bare: an object's version is right if it has the bytes of its name, a root's if
 *     it is the first;
 *   - what was stored since it last looked counts as put now;
 *   - roots that came are accepted if they follow, and their lists count from now on.
 */

import { BackupError, messageOf } from '../shared/errors.ts';
import { objectIdOf } from '../shared/ids.ts';
import { MAX_OBJECT } from '../shared/limits.ts';
import { decodeRoot } from '../shared/root.ts';
import type { Root } from '../shared/root.ts';
import { AcceptedRoots } from './accepted-roots.ts';
import type { Accepted } from './accepted-roots.ts';
import { objectOf, rootNumber } from './back-end.ts';
import type { StoreName } from './back-end.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { PutJournal } from './ledger/puts.ts';
import { takeBack } from './ledger/take-in.ts';
import { note } from './note.ts';
import type { Version } from './remote/s3-versions.ts';
import { SKEW } from './remote/swept-bucket.ts';
import type { SweptBucket } from './remote/swept-bucket.ts';
import { Roots } from './roots.ts';
import { checkSuccessor, isOfOwner, replaced } from './succession.ts';

export class Sweeper {
  /** Those that this machine accepted. */
  readonly roots: AcceptedRoots;
  readonly #bucket: SweptBucket;
  readonly #ledger: Ledger;
  readonly #all: Roots;
  readonly #now: () => number;
  #looked = false;

  /** `folder`: of the ledger. `now` answers milliseconds since 1970. */
  constructor(bucket: SweptBucket, ledger: Ledger, folder: string, now: () => number = Date.now) {
    this.#bucket = bucket;
    this.#ledger = ledger;
    this.roots = new AcceptedRoots(bucket, ledger, folder);
    this.#all = new Roots(bucket, ledger);
    this.#now = now;
  }

  /**
   * Once a process. Only under the ledger's lock. Throws `refused` if a root is there that does not follow, `usage` if the bucket
   * keeps no versions.
   */
  async look(): Promise<void> {
    if (this.#looked) return;
    const [now, before] = [this.#now(), await this.roots.accepted()];
    await this.#bucket.begin(now);
    await this.#layBare(before);
    await this.roots.accept(now, await this.#follow(before));
    this.#looked = true;
  }

  /** Goes over all versions. Of a new ledger all that is there counts as put when it began, so it needs no rows. */
  async #layBare(before: Accepted | undefined): Promise<void> {
    const since = before === undefined ? -Infinity : before.looked - SKEW;
    const journal = before === undefined ? undefined : await this.#ledger.openPuts();
    let removed = 0;
    try {
      removed += await this.#goOver('roots/', () => Promise.resolve(), since);
      removed += await this.#goOver('objects/', (version) => addRow(journal, version, since), since);
      await journal?.sync();
    } finally {
      await journal?.close();
    }
    if (removed > 0)
      note(new Error(`ATTENTION: ${removed} versions hid what was in ${this.#bucket.place} before them`));
  }

  /** Lays bare what is below `part`; answers how many versions hid something. */
  async #goOver(part: string, seen: (version: Version) => Promise<void>, since: number): Promise<number> {
    let removed = 0;
    let newest: Version | undefined;
    let last: Version | undefined;
    let isLaidBare = false;
    for await (const { versions, markers } of this.#bucket.versions(part)) {
      for (const marker of markers.filter(isOurs)) removed += await this.#remove(marker);
      for (const version of versions.filter(isOurs)) {
        await seen(version);
        if (version.name !== last?.name) [newest, isLaidBare] = [version, false];
        else if (rootNumber(version.name) !== undefined) removed += await this.#remove(last);
        else if (!isLaidBare && (newest?.storedAt ?? 0) >= since) {
          removed += await this.#layBareObject(version.name);
          isLaidBare = true;
        }
        last = version;
      }
    }
    return removed;
  }

  /** Removes what is newer than the newest right version of an object. If there is none, nothing is lost by leaving all. */
  async #layBareObject(name: StoreName): Promise<number> {
    const good = await this.#newestGood(name);
    let removed = 0;
    if (good === undefined) return removed;
    for await (const { versions } of this.#bucket.versions(name))
      for (const version of versions.filter((one) => one.name === name)) {
        if (version.id === good.id) return removed;
        if (this.#bucket.wasThere(version)) removed += await this.#remove(version); // Else it was not looked at.
      }
    return removed;
  }

  async #newestGood(name: StoreName): Promise<Version | undefined> {
    for await (const { versions } of this.#bucket.versions(name))
      for (const version of versions.filter((one) => one.name === name && one.size <= MAX_OBJECT)) {
        const bytes = await this.#bucket.readVersion(version, MAX_OBJECT);
        if (bytes !== undefined && objectIdOf(bytes) === objectOf(name)) return version;
      }
    return undefined;
  }

  async #remove(version: Version): Promise<number> {
    if (await this.#bucket.removeVersion(version)) return 1;
    note(new Error(`a lock against deletion keeps what hides ${version.name}: put that object again`));
    return 0;
  }

  /** What is accepted after the roots that came since `before`. */
  async #follow(before: Accepted | undefined): Promise<Pick<Accepted, 'newest' | 'list'>> {
    let { newest, list } = before ?? { newest: null, list: null };
    const age = await this.#ledger.clock.advance();
    let number = newest === null ? (await this.#all.numbers()).at(-1) : newest.number + 1;
    for (; number !== undefined; number += 1) {
      const found = await this.#all.read(number);
      if (found === undefined) break;
      const root = await this.#accept(number, found.bytes, newest && decodeRoot(newest.bytes), age);
      newest = { number, bytes: root.bytes };
      const { hasList } = (await this.#ledger.rootAges.read(number)) ?? { hasList: false };
      if (hasList) list = newest;
    }
    return { newest, list };
  }

  async #accept(number: number, bytes: Uint8Array, before: Root | null, age: number): Promise<Root> {
    try {
      const root = decodeRoot(bytes);
      if (before !== null && !isOfOwner(root, before)) throw replaced();
      const restored =
        before === null || root.body.counter > before.body.counter
          ? undefined
          : await this.#numberOf(root, number - 1);
      if (restored !== undefined) await takeBack(this.#ledger, restored, number, age);
      else {
        if (before !== null) checkSuccessor(root, before);
        await this.#ledger.rootAges.record(number, { at: age, hasList: root.body.live !== null });
      }
      return root;
    } catch (cause) {
      if (!(cause instanceof BackupError)) throw cause;
      throw new BackupError(
        'refused',
        `root ${number} in ${this.#bucket.place} does not follow the one before it, so nothing is removed: ${messageOf(cause)}. ` +
          'If the storage VM did not write it, remove it there by the means of the service',
        { cause },
      );
    }
  }

  /** The number up to `last` by which a root is known already: somebody made it the newest again. */
  async #numberOf({ hash }: Root, last: number): Promise<number | undefined> {
    for (const number of (await this.roots.numbers()).reverse())
      if (number <= last && (await this.roots.hashOf(number)) === hash) return number;
    return undefined;
  }
}

function isOurs({ name }: Version): boolean {
  return objectOf(name) !== undefined || rootNumber(name) !== undefined;
}

async function addRow(journal: PutJournal | undefined, { name, storedAt }: Version, since: number) {
  const id = objectOf(name);
  if (id !== undefined && storedAt >= since) await journal?.add(id, 0);
}
