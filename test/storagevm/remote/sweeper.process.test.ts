/**
 * R42: a sweeper elsewhere. Whoever has the credentials of the storage VM, and dom0's keys, may write over everything in a bucket that
 * keeps versions, and delete nothing. Swift is that bucket; what Swift cannot forbid, a proxy does.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { equalBytes } from '../../../shared/bytes.ts';
import { newRepositoryId } from '../../../shared/ids.ts';
import { MAX_OBJECT } from '../../../shared/limits.ts';
import type { Root } from '../../../shared/root.ts';
import { objectName, rootName } from '../../../storagevm/back-end.ts';
import type { StoreName } from '../../../storagevm/back-end.ts';
import { Ledger } from '../../../storagevm/ledger/ledger.ts';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { LocalState } from '../../../storagevm/remote/local-state.ts';
import { Attempts } from '../../../storagevm/remote/retry.ts';
import { S3Connection } from '../../../storagevm/remote/s3-connection.ts';
import type { S3Options } from '../../../storagevm/remote/s3-connection.ts';
import { S3Versions } from '../../../storagevm/remote/s3-versions.ts';
import type { Version, VersionPage } from '../../../storagevm/remote/s3-versions.ts';
import { S3Remote } from '../../../storagevm/remote/s3.ts';
import { SweptBucket } from '../../../storagevm/remote/swept-bucket.ts';
import { publish } from '../../../storagevm/set-root.ts';
import { Store } from '../../../storagevm/store.ts';
import { Sweeper } from '../../../storagevm/sweeper.ts';
import { rejection } from '../../support/failure.ts';
import { NO_FAULT, faultProxy } from '../../support/fault-proxy.ts';
import type { FaultProxy } from '../../support/fault-proxy.ts';
import { testNeeding } from '../../support/needs.ts';
import { PROJECT, run } from '../../support/processes.ts';
import { swiftMissing, theSwift } from '../../support/swift/swift.ts';
import { tempFolder } from '../../support/temp.ts';
import { DAY, listOf } from '../ageing-store.ts';
import { TestRepository, object, objects } from '../fixtures.ts';
import type { TestObject } from '../fixtures.ts';
import { putInto } from '../stores.ts';

const testOnSwift = testNeeding(swiftMissing());
const OWNER = join(PROJECT, 'bin/qubes-backup-storage');
const QUICK = { attempts: 2, pause: 1, longestPause: 2, patience: 60_000 };
const SETTINGS = { quota: undefined, reserve: 0, grace: (30 * DAY) / 1000 };

/** Versions as a service whose clock is the test's would date them: Swift's own clock does not turn. */
class DatedVersions extends S3Versions {
  readonly #dates: Map<string, number>;
  readonly #now: () => number;

  constructor(connection: S3Connection, dates: Map<string, number>, now: () => number) {
    super(connection);
    this.#dates = dates;
    this.#now = now;
  }

  override async page(...args: Parameters<S3Versions['page']>): Promise<VersionPage> {
    const page = await super.page(...args);
    const dated = (version: Version) => {
      const key = `${version.name} ${version.id}`;
      if (!this.#dates.has(key)) this.#dates.set(key, this.#now());
      return { ...version, storedAt: this.#dates.get(key) ?? 0 };
    };
    return { ...page, versions: page.versions.map(dated), markers: page.markers.map(dated) };
  }
}

/** A storage VM that only appends, the bucket that keeps versions, and the sweeper. */
class Swept {
  readonly repository = new TestRepository();
  readonly options: S3Options;
  readonly proxy: FaultProxy;
  /** What the storage VM's credentials, in whoever's hands, can do. */
  readonly credentials: S3Remote;
  readonly #direct: S3Connection;
  readonly #folders = { home: tempFolder(), sweeper: tempFolder() };
  readonly #dates = new Map<string, number>();
  now = Date.UTC(2026, 0, 1);
  root: Root | undefined;

  constructor(options: S3Options, proxy: FaultProxy) {
    this.options = options;
    this.proxy = proxy;
    mkdirSync(join(this.#folders.sweeper, 'ledger'));
    this.#direct = new S3Connection(options);
    this.credentials = new S3Remote({ ...options, endpoint: proxy.url });
    proxy.fault = ({ method, url }) =>
      method === 'DELETE' && url.includes('versionId') ? { kind: 'answer', status: 403 } : NO_FAULT;
  }

  home(): Store {
    const state = new LocalState(this.#folders.home, this.credentials.place);
    const backEnd = new RemoteBackEnd(this.credentials, state, {
      attempts: new Attempts(QUICK),
      appendOnly: true,
    });
    return new Store(backEnd, new Ledger(join(this.#folders.home, 'ledger'), () => this.now), SETTINGS);
  }

  get versions(): S3Versions {
    return new DatedVersions(this.#direct, this.#dates, () => this.now);
  }

  /** As another run of the sweeper opens it. */
  sweeper(): Store {
    const folder = join(this.#folders.sweeper, 'ledger');
    const ledger = new Ledger(folder, () => this.now);
    const bucket = new SweptBucket(new S3Remote(this.#direct), this.versions, new Attempts(QUICK));
    const sweeper = new Sweeper(bucket, ledger, folder, () => this.now);
    return new Store(bucket, ledger, SETTINGS, { sweeper });
  }

  /** All that is there is dated now, if it was not. */
  async date(): Promise<void> {
    for (const part of ['objects/', 'roots/']) await this.versions.page(part, undefined);
  }

  /** Days pass at the sweeper; at the end of them it sweeps. */
  async live(days: number): Promise<void> {
    await this.date();
    for (let day = 0; day < days; day++) {
      this.now += DAY;
      await this.sweeper().ledger.clock.advance();
    }
    await this.sweeper().sweep();
  }

  async put(...some: readonly TestObject[]): Promise<boolean[]> {
    const stored = await putInto(this.home(), some);
    await this.date();
    return stored;
  }

  async publish(live?: readonly TestObject[]): Promise<Root> {
    const { objects: own, changes } = live === undefined ? { objects: [], changes: {} } : listOf(live);
    await this.put(...own);
    const root = this.repository.root(this.root, changes);
    expect(await publish(this.home(), root, root.body.previous)).toBe(root.hash);
    this.root = root;
    return root;
  }

  /** Which of them the storage VM has, whole. */
  async whole(some: readonly TestObject[]): Promise<boolean[]> {
    const found = await Promise.all(some.map(({ id }) => this.home().read(id)));
    return found.map((bytes, index) => bytes !== undefined && equalBytes(bytes, some[index]!.bytes));
  }

  async versionsOf(name: StoreName): Promise<number> {
    const { versions, markers } = await this.versions.page(name, undefined);
    return versions.length + markers.length;
  }
}

const MANY = objects(12);
const all = (some: readonly TestObject[]) => some.map(() => true);

/** A bucket with MANY, `others` and a root, which the sweeper has known for longer than a list needs. */
async function swept(...others: readonly TestObject[]): Promise<Swept> {
  const swift = await theSwift();
  const store = new Swept(await swift.newBucket(true), await faultProxy(swift.url));
  await store.put(...MANY, ...others);
  await store.publish();
  await store.live(1);
  await store.live(8);
  return store;
}

describe('R42: a sweeper elsewhere', () => {
  testOnSwift('removes what is dead after its own grace period, and the storage VM nothing', async () => {
    const dead = object();
    const store = await swept(dead);
    await store.publish(MANY);
    await store.live(1);
    const home = store.home();
    await home.sweep({ now: true });
    expect(await store.whole([dead])).toEqual([true]);
    expect(store.proxy.seen.filter(({ method }) => method === 'DELETE')).toEqual([]);
    await store.live(29);
    expect(await store.whole([dead, ...MANY])).toEqual(all([dead, ...MANY]));
    expect(await home.roots.numbers()).toEqual([1, 2]);
    await store.live(2);
    expect(await store.versionsOf(objectName(dead.id))).toBe(0);
    expect(await store.whole(MANY)).toEqual(all(MANY));
    expect(await home.roots.numbers()).toEqual([2]);
  });

  testOnSwift('keeps what was put again, at the last moment and while it sweeps', async () => {
    const early = object();
    // A turn of a sweep removes from one shard at least: the first object goes in it, the last when it goes on.
    const dead = objects(3).sort((a, b) => (a.id < b.id ? -1 : 1));
    const late = dead.at(-1)!;
    const store = await swept(early, ...dead);
    await store.publish(MANY);
    await store.live(1);
    await store.live(29);
    expect(await store.put(early)).toEqual([false]); // It is there: another version says that somebody wants it.
    store.now += 2 * DAY;
    const sweeper = store.sweeper();
    await sweeper.sweep({ stopped: () => true }); // It has looked.
    expect(await store.put(late)).toEqual([false]);
    store.now += DAY;
    while (!(await sweeper.sweep()).finished);
    await store.live(40);
    expect(await store.whole([early, late, ...MANY])).toEqual(all([early, late, ...MANY]));
  });

  testOnSwift('lays bare what somebody with the storage VM’s credentials wrote over or hid', async () => {
    const store = await swept();
    const { credentials } = store;
    await store.put(MANY[2]!); // A second version, and a right one.
    const good = (await store.home().currentRoot())!;
    const [over, hidden] = [MANY.slice(0, 5), MANY.slice(5, 9)];
    await credentials.put(objectName(over[0]!.id), Buffer.alloc(MAX_OBJECT + 1));
    for (const { id } of over) await credentials.put(objectName(id), randomBytes(100));
    for (const { id } of hidden) await credentials.remove(objectName(id));
    await credentials.put(rootName(1), randomBytes(200));
    const version = (await store.versions.page(objectName(MANY[0]!.id), undefined)).versions.at(-1)!;
    const thief = new S3Versions(new S3Connection({ ...store.options, endpoint: store.proxy.url }));
    expect((await rejection(thief.remove(version))).code).toBe('usage');
    expect((await store.whole(MANY)).filter(Boolean)).toHaveLength(3);

    await store.live(1);
    expect(await store.whole(MANY)).toEqual(all(MANY));
    expect(await store.home().currentRoot()).toEqual(good);
    await store.live(100);
    expect(await store.whole(MANY)).toEqual(all(MANY));
  });

  testOnSwift('removes nothing by a root that does not follow, whoever signed it', async () => {
    const dead = object();
    const store = await swept(dead);
    await store.publish(MANY);
    await store.live(1);
    const { objects: own, changes } = listOf([]);
    for (const { id, bytes } of own) await store.credentials.put(objectName(id), bytes);
    const other = new TestRepository().root(store.root, changes);
    for (const bytes of [
      other.bytes,
      randomBytes(300),
      store.repository.root(store.root, { ...changes, counter: 2 ** 20 }).bytes,
      store.repository.root(undefined, changes).bytes,
      store.repository.root(store.root, { ...changes, repository: newRepositoryId() }).bytes,
    ]) {
      await store.credentials.put(rootName(3), bytes);
      const error = await rejection(store.live(1));
      expect(error.code).toBe('refused');
      expect(error.message).toMatch(
        /^root 3 in the S3 bucket .* so nothing is removed: .* means of the service$/,
      );
      for (const version of (await store.versions.page(rootName(3), undefined)).versions)
        await store.versions.remove(version);
    }
    expect(await store.whole([dead, ...MANY])).toEqual(all([dead, ...MANY]));
    await store.live(31);
    expect(await store.whole([dead])).toEqual([false]); // So it was the root that held it up.
  });

  testOnSwift('goes by its own clock and rules whoever has dom0’s keys as well', async () => {
    const store = await swept();
    const yesterday = await store.home().currentRoot();
    await store.publish(MANY.slice(2)); // Less than a quarter: it dies.
    await store.publish([]); // All else waits for the owner's word.
    await store.credentials.put(rootName(2), store.root!.bytes); // The first list, replaced by another.
    await store.live(1);
    await store.live(28);
    expect(await store.whole(MANY)).toEqual(all(MANY));
    expect((await store.sweeper().ledger.readState()).waiting).toMatchObject({ root: 3 });

    await store.home().restoreRoot(1);
    expect(await store.home().currentRoot()).toEqual(yesterday);
    await store.live(1);
    await store.live(60);
    expect(await store.whole(MANY)).toEqual(all(MANY));
  });

  testOnSwift('needs a bucket that keeps versions', async () => {
    const swift = await theSwift();
    const store = new Swept(await swift.newBucket(), await faultProxy(swift.url));
    await store.put(object());
    const error = await rejection(store.sweeper().sweep());
    expect([error.code, error.message]).toEqual([
      'usage',
      expect.stringContaining('switch its versioning on'),
    ]);
  });

  testOnSwift('is the owner’s command with the setting `role`, and does nothing else', async () => {
    const swift = await theSwift();
    const store = new Swept(await swift.newBucket(true), await faultProxy(swift.url));
    await store.put(...MANY);
    await store.publish();
    const { bucket, endpoint, prefix, accessKeyId, secretAccessKey } = store.options;
    const folder = tempFolder();
    const strings = { bucket, endpoint, prefix, role: 'sweep' };
    const lines = Object.entries({
      ...strings,
      access_key_id: accessKeyId,
      secret_access_key: secretAccessKey,
    });
    writeFileSync(
      join(folder, 'storage.toml'),
      `[s3]\npath_style = true\n${lines.map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('')}`,
    );
    const owner = (...args: readonly string[]) =>
      run(OWNER, args, {
        env: { PATH: '/usr/bin:/bin', HOME: folder, QUBES_BACKUP_STORAGE_CONFIG: folder },
      });
    const swept_ = await owner('sweep');
    expect([swept_.code, swept_.stdout.toString()]).toEqual([0, 'Removed 0 objects (0 B) and 0 roots.\n']);
    expect((await owner('status')).stdout.toString()).toMatch(/^newest root +1 /m);
    const refused = await owner('--yes', 'restore-root', '1');
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('only sweeps')]);
    expect(await store.whole(MANY)).toEqual(all(MANY));
  });
});
