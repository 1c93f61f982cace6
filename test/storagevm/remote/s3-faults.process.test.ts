/** What the S3 back end does when the service fails: Swift behind a proxy that fails for it. */

import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, vi } from 'vitest';
import { MAX_OBJECT, MAX_ROOT } from '../../../shared/limits.ts';
import { objectName, rootName } from '../../../storagevm/back-end.ts';
import type { StoreName } from '../../../storagevm/back-end.ts';
import { Ledger } from '../../../storagevm/ledger/ledger.ts';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { LocalState } from '../../../storagevm/remote/local-state.ts';
import { Attempts } from '../../../storagevm/remote/retry.ts';
import { S3Connection } from '../../../storagevm/remote/s3-connection.ts';
import { S3Locks } from '../../../storagevm/remote/s3-locks.ts';
import { S3Remote } from '../../../storagevm/remote/s3.ts';
import type { S3Options } from '../../../storagevm/remote/s3-connection.ts';
import { publish } from '../../../storagevm/set-root.ts';
import { Store } from '../../../storagevm/store.ts';
import { NO_ROOT } from '../../../shared/ids.ts';
import { rejection } from '../../support/failure.ts';
import { NO_FAULT, faultProxy } from '../../support/fault-proxy.ts';
import type { Fault, FaultProxy, Seen } from '../../support/fault-proxy.ts';
import { testNeeding } from '../../support/needs.ts';
import { swiftMissing, theSwift } from '../../support/swift/swift.ts';
import { tempFolder } from '../../support/temp.ts';
import { listed } from '../back-end-contract.ts';
import { TestRepository, object } from '../fixtures.ts';

const testOnSwift = testNeeding(swiftMissing());
const MiB = 1 << 20;
/** Without pauses worth waiting for. */
const QUICK = { attempts: 4, pause: 1, longestPause: 2, patience: 60_000 };
const unavailable: Fault = { kind: 'answer', status: 503 };

interface Setting {
  readonly options: S3Options;
  readonly proxy: FaultProxy;
  /** The same bucket without the proxy. */
  readonly direct: S3Remote;
  /** What another process of the same storage VM opens, or with another folder another storage VM. */
  readonly open: (changes?: Partial<S3Options>, folder?: string) => RemoteBackEnd;
}

async function setting(): Promise<Setting> {
  const swift = await theSwift();
  const proxy = await faultProxy(swift.url);
  const options = { ...(await swift.newBucket()), endpoint: proxy.url };
  const own = tempFolder();
  const open = (changes: Partial<S3Options> = {}, folder = own) => {
    const remote = new S3Remote({ ...options, ...changes });
    return new RemoteBackEnd(remote, new LocalState(folder, remote.place), { attempts: new Attempts(QUICK) });
  };
  const direct = new S3Remote({ ...options, endpoint: swift.url });
  return { options, proxy, direct, open };
}

function file(size?: number) {
  const { id, bytes } = object(size);
  return { name: objectName(id), bytes };
}

const of = (method: string, part: string) => (request: Seen) =>
  request.method === method && request.url.includes(part);

/** A fault of the first `count` requests that `which` is true of. */
function first(count: number, which: (request: Seen) => boolean, fault: Fault) {
  let left = count;
  return (request: Seen) => (which(request) && left-- > 0 ? fault : NO_FAULT);
}

describe('a failure that passes', () => {
  const passing: readonly [string, Fault][] = [
    ['500', { kind: 'answer', status: 500 }],
    ['503', unavailable],
    ['429', { kind: 'answer', status: 429 }],
    ['an error page instead of XML', { kind: 'answer', status: 502, body: '<html><p>Bad gateway' }],
    ['a lost answer', { kind: 'lost answer' }],
  ];
  for (const [what, fault] of passing)
    testOnSwift(`${what}, at each request in turn, is not noticed by a caller`, async () => {
      const { proxy, open } = await setting();
      const { name, bytes } = file(MiB);
      // Every request fails once, whichever it is: the first time that it is seen.
      const failed = new Set<string>();
      proxy.fault = ({ method, url }) => {
        const key = `${method} ${url.replace(/x-id=\w+|continuation-token=\S+/g, '')}`;
        if (failed.has(key)) return NO_FAULT;
        failed.add(key);
        return fault;
      };
      const backEnd = open();
      expect(await backEnd.write(name, bytes)).toBe(true);
      expect(await backEnd.create(rootName(1), bytes)).toBe(true);
      expect(await open().read(name, MAX_OBJECT)).toEqual(bytes);
      expect(await listed(open())).toEqual([{ name, size: MiB }]);
      await open().remove([name]);
      expect(await open().read(name, MAX_OBJECT)).toBeUndefined();
      expect(failed.size).toBeGreaterThan(5);
    });

  testOnSwift('a connection reset in the middle of a body, either way', async () => {
    const { proxy, open } = await setting();
    const { name, bytes } = file(4 * MiB);
    proxy.fault = first(2, of('PUT', name), { kind: 'reset request', after: MiB });
    const backEnd = open();
    expect(await backEnd.write(name, bytes)).toBe(true);
    proxy.fault = first(2, of('GET', name), { kind: 'reset answer', after: MiB });
    expect(await backEnd.read(name, MAX_OBJECT)).toEqual(bytes);
  });

  testOnSwift('an answer that is shorter than it says', async () => {
    const { proxy, open } = await setting();
    const { name, bytes } = file(MiB);
    await open().write(name, bytes);
    proxy.fault = first(1, of('GET', name), { kind: 'longer', by: 10 });
    expect(await open().read(name, MAX_OBJECT)).toEqual(bytes);
    proxy.fault = first(99, of('GET', name), { kind: 'longer', by: 10 });
    expect((await rejection(open().read(name, MAX_OBJECT))).code).toBe('io');
  });

  testOnSwift('silence', async () => {
    const { proxy, open } = await setting();
    const { name, bytes } = file();
    await open().write(name, bytes);
    proxy.fault = first(1, of('GET', name), { kind: 'silence' });
    expect(await open({ silence: 200 }).read(name, MAX_OBJECT)).toEqual(bytes);
  });
});

describe('a failure that lasts', () => {
  testOnSwift('is told after a bounded number of attempts, and nothing is stored', async () => {
    const { proxy, open } = await setting();
    const { name, bytes } = file();
    const backEnd = open();
    await backEnd.write(file().name, bytes);
    for (const status of [500, 503]) {
      proxy.fault = () => ({ kind: 'answer', status });
      proxy.seen.length = 0;
      const error = await rejection(backEnd.write(name, bytes));
      expect(error.code).toBe('store-missing');
      expect(error.message).toContain(`(${status})`);
      expect(proxy.seen).toHaveLength(QUICK.attempts);
    }
    proxy.fault = () => NO_FAULT;
    expect(await backEnd.read(name, MAX_OBJECT)).toBeUndefined();
  });

  testOnSwift('no server at all is told as that', async () => {
    const { open } = await setting();
    const error = await rejection(open({ endpoint: 'http://127.0.0.1:1' }).read('format', 100));
    expect(error.code).toBe('store-missing');
    expect(error.message).toContain('does not answer');
  });

  testOnSwift('a service without room is told as that, at once', async () => {
    const { proxy, open } = await setting();
    const { name, bytes } = file();
    const backEnd = open();
    await backEnd.write(file().name, bytes);
    for (const status of [413, 507]) {
      proxy.fault = first(99, of('PUT', name), { kind: 'answer', status });
      proxy.seen.length = 0;
      expect((await rejection(backEnd.write(name, bytes))).code).toBe('store-full');
      expect(proxy.seen.filter(of('PUT', name))).toHaveLength(1);
    }
  });

  testOnSwift('wrong credentials, bucket and region are named as that, at once', async () => {
    const { proxy, open } = await setting();
    for (const [changes, words] of [
      [{ secretAccessKey: 'wrong' }, 'does not accept the credentials'],
      [{ accessKeyId: 'test:nobody' }, 'does not accept the credentials'],
      [{ region: 'elsewhere-1' }, 'region'],
      [{ bucket: 'no-such-bucket' }, 'create it'],
    ] as const) {
      proxy.seen.length = 0;
      const error = await rejection(open(changes).read('format', 100));
      expect(error.code).toBe('usage');
      expect(error.message).toContain(words);
      expect(error.message).not.toContain('wrong');
      expect(proxy.seen).toHaveLength(1);
    }
  });

  describe('of the clock', () => {
    afterEach(() => vi.useRealTimers());

    testOnSwift('a clock that is an hour behind is named', async () => {
      const { open } = await setting();
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3600_000 });
      const error = await rejection(open().read('format', 100));
      expect(error.code).toBe('usage');
      expect(error.message).toContain('clock');
    });
  });
});

describe('listings', () => {
  testOnSwift('of several pages are complete, and one that fails in the middle goes on', async () => {
    const { proxy, direct, open } = await setting();
    const files = Array.from({ length: 210 }, () => file(8));
    await Promise.all(files.map(({ name, bytes }) => direct.put(name, bytes)));
    const names = files.map(({ name }) => name).sort();
    proxy.seen.length = 0;
    proxy.fault = first(2, of('GET', 'continuation-token'), unavailable);
    expect((await listed(open())).map(({ name }) => name)).toEqual(names);
    expect(proxy.seen).toHaveLength(4);
  });

  testOnSwift('out of order are refused', async () => {
    const { proxy, open } = await setting();
    const rows = [`roots/000000000002`, `roots/000000000001`].map(
      (name) => `<Contents><Key>backups/${name}</Key><Size>5</Size></Contents>`,
    );
    proxy.fault = () => ({
      kind: 'answer',
      status: 200,
      body: `<ListBucketResult><IsTruncated>false</IsTruncated>${rows.join('')}</ListBucketResult>`,
    });
    expect((await rejection(listed(open(), 'roots'))).code).toBe('io');
  });
});

describe('one storage VM owns a bucket', () => {
  testOnSwift('a second one is refused at its first write, and may read', async () => {
    const { open } = await setting();
    const { name, bytes } = file();
    await open().write(name, bytes);
    const second = open({}, tempFolder());
    for (const attempt of [
      () => second.write(file().name, bytes),
      () => second.create(rootName(1), bytes),
      () => second.remove([name]),
    ]) {
      const error = await rejection(attempt());
      expect(error.code).toBe('store-replaced');
      expect(error.message).toContain('qubes-backup-storage take-over');
    }
    expect(await second.read(name, MAX_OBJECT)).toEqual(bytes);
    expect(await listed(open())).toEqual([{ name, size: bytes.length }]);
  });

  testOnSwift(
    'another one takes the place when the file "owner" is removed, and the first is refused',
    async () => {
      const { direct, open } = await setting();
      const { name, bytes } = file();
      await open().write(file().name, bytes);
      await direct.remove('owner');
      expect(await open({}, tempFolder()).write(name, bytes)).toBe(true);
      expect((await rejection(open().write(name, bytes))).code).toBe('store-replaced');
    },
  );

  testOnSwift(
    'one that was replaced while it runs is refused before a root, and does not remove',
    async () => {
      const { open } = await setting();
      const { name, bytes } = file();
      const [first_, second] = [open(), open({}, tempFolder())];
      await first_.write(name, bytes);
      await second.takeOver();
      expect((await rejection(first_.create(rootName(1), bytes))).code).toBe('store-replaced');
      expect((await rejection(first_.remove([name]))).code).toBe('store-replaced');
      expect(await second.create(rootName(1), bytes)).toBe(true);
      expect((await listed(second, 'roots')).map((root) => root.name)).toEqual([rootName(1)]);
    },
  );

  testOnSwift('one that is replaced at the very instant in which it writes a root is told so', async () => {
    const { proxy, open } = await setting();
    const [own, other] = [open(), open({}, tempFolder())];
    const { name, bytes } = file();
    await own.write(name, bytes);
    let taken: Promise<void> | undefined;
    proxy.fault = async (request) => {
      if (taken !== undefined || !of('PUT', rootName(1))(request)) return NO_FAULT;
      taken = other.takeOver();
      await taken;
      return unavailable; // It tries again, and succeeds.
    };
    const creating = own.create(rootName(1), bytes);
    expect((await rejection(creating)).code).toBe('store-replaced');
  });

  testOnSwift('of two that find an empty bucket at the same time one at most goes on', async () => {
    for (let round = 0; round < 3; round++) {
      const { open } = await setting();
      const both = [open({}, tempFolder()), open({}, tempFolder())];
      const results = await Promise.allSettled(
        both.map((one, at) => one.create(rootName(1), Buffer.from([at]))),
      );
      const won = results.filter((result) => result.status === 'fulfilled' && result.value);
      expect(won.length).toBeLessThanOrEqual(1);
    }
  });

  testOnSwift('the folder of another place, and that of a store, are refused', async () => {
    const { open } = await setting();
    const { name, bytes } = file();
    await open().write(name, bytes);
    const error = await rejection(open({ prefix: 'other/' }).write(name, bytes));
    expect(error.code).toBe('usage');
    expect(error.message).toContain('put the settings back');
  });
});

/**
 * Makes the proxy accept If-None-Match, which Swift refuses: as a service that has conditional writes, or with `keeps` false as
 * one that ignores the condition.
 */
function acceptConditions({ proxy, direct, options }: Setting, keeps: boolean): void {
  const store = async (key: string, body: Uint8Array) => {
    if (keeps && (await direct.read(key as StoreName, MAX_OBJECT)) !== undefined) return 412;
    await direct.put(key as StoreName, body);
    return 200;
  };
  const start = `/${options.bucket}/${options.prefix}`;
  proxy.fault = ({ method, url, headers }) => {
    if (method !== 'PUT' || headers['if-none-match'] !== '*') return NO_FAULT;
    const key = (url.split('?')[0] ?? '').slice(start.length);
    return { kind: 'served', by: (body) => store(key, body) };
  };
}

describe('conditional writes', () => {
  for (const [what, keeps, used] of [
    ['are found out once, and used from then on', true, '*'],
    ['that a service ignores are found out as well, and not relied on', false, undefined],
  ] as const)
    testOnSwift(what, async () => {
      const here = await setting();
      const { proxy, open } = here;
      acceptConditions(here, keeps);
      const bytes = randomBytes(50);
      expect(await open().create(rootName(1), bytes)).toBe(true);
      proxy.seen.length = 0;
      expect(await open().create(rootName(2), bytes)).toBe(true);
      const puts = proxy.seen.filter(({ method }) => method === 'PUT');
      expect(puts.map(({ headers }) => headers['if-none-match'])).toEqual([used]);
      expect(await open().create(rootName(2), randomBytes(50))).toBe(false);
    });

  testOnSwift('keep what another storage VM created at the same instant, and tell the loser', async () => {
    const here = await setting();
    const { proxy, direct, open } = here;
    acceptConditions(here, true);
    const [rival, bytes] = [randomBytes(50), randomBytes(50)];
    await open().create('format', bytes);
    const before = proxy.fault;
    proxy.fault = async (request) => {
      if (of('PUT', rootName(1))(request)) await direct.put(rootName(1), rival);
      return before(request);
    };
    expect((await rejection(open().create(rootName(1), bytes))).code).toBe('store-replaced');
    expect(await open().read(rootName(1), MAX_ROOT)).toEqual(rival);
  });

  testOnSwift('that a service refuses are done without', async () => {
    const { proxy, open } = await setting();
    proxy.fault = ({ headers }) =>
      headers['if-none-match'] === undefined ? NO_FAULT : { kind: 'answer', status: 501 };
    expect(await open().create(rootName(1), randomBytes(50))).toBe(true);
    expect(await open().create(rootName(2), randomBytes(50))).toBe(true);
    expect((await listed(open(), 'roots')).length).toBe(2);
  });
});

describe('R41: a root', () => {
  for (const conditional of [true, false])
    testOnSwift(
      `whose answer was lost is published once, ${conditional ? 'with' : 'without'} conditional writes`,
      async () => {
        const here = await setting();
        const { proxy, open } = here;
        if (conditional) acceptConditions(here, true);
        const folder = tempFolder();
        const store = () =>
          new Store(open(), new Ledger(`${folder}/ledger`), { quota: undefined, reserve: 0, grace: 1 });
        const repository = new TestRepository();
        const root = repository.root();
        const next = repository.root(root);
        expect(await publish(store(), root, NO_ROOT)).toBe(root.hash);
        const before = proxy.fault;
        let lost = 0;
        proxy.fault = async (request) => {
          const fault = await before(request);
          if (!of('PUT', 'roots/')(request) || lost++ > 0) return fault;
          if (fault.kind !== 'served') return { kind: 'lost answer' };
          return { kind: 'served', by: (body) => fault.by(body).then(() => 503) };
        };
        expect(await publish(store(), next, root.hash)).toBe(next.hash);
        expect(lost).toBeGreaterThan(1);
        expect((await listed(open(), 'roots')).map(({ name }) => name)).toEqual([rootName(1), rootName(2)]);
        expect(await open().read(rootName(2), MAX_ROOT)).toEqual(next.bytes);
      },
    );
});

describe('R42: object lock', () => {
  testOnSwift('is asked for with each object and root, and with nothing else', async () => {
    const { proxy, open } = await setting();
    const backEnd = open({ lock: { days: 30, mode: 'COMPLIANCE' } });
    const { name, bytes } = file();
    await backEnd.create('format', bytes);
    await backEnd.write(name, bytes);
    await backEnd.create(rootName(1), bytes);
    for (const { url, headers } of proxy.seen.filter(({ method }) => method === 'PUT')) {
      const locked = /objects\/|roots\//.test(url);
      expect(headers['x-amz-object-lock-mode']).toBe(locked ? 'COMPLIANCE' : undefined);
      expect(headers['content-md5'] === undefined).toBe(!locked);
      const until = Date.parse(String(headers['x-amz-object-lock-retain-until-date']));
      if (locked) expect(Math.abs(until - Date.now() - 30 * 24 * 3600_000)).toBeLessThan(60_000);
    }
  });

  testOnSwift('is renewed by requests for files, of which one that is gone is no failure', async () => {
    const { proxy, options } = await setting();
    const lock = { days: 30, mode: 'COMPLIANCE' } as const;
    const locks = new S3Locks(new S3Connection(options), lock, new Attempts(QUICK));
    const names = [file().name, file().name, rootName(1)];
    const bodies = new Map<string, string>();
    let failures = 2;
    proxy.fault = ({ method, url }) => {
      const name = names.find((one) => url.includes(`/${one}?retention`));
      if (method !== 'PUT' || name === undefined) return NO_FAULT;
      if (failures-- > 0) return unavailable;
      const by = (body: Uint8Array) => {
        bodies.set(name, Buffer.from(body).toString('utf8'));
        return Promise.resolve(name === names[0] ? 404 : 200);
      };
      return { kind: 'served', by };
    };
    const now = Date.UTC(2026, 0, 1);
    await locks.renew(names, now);
    expect([...bodies.keys()].sort()).toEqual([...names].sort());
    for (const body of bodies.values()) {
      expect(body).toContain('<Mode>COMPLIANCE</Mode>');
      expect(body).toContain('<RetainUntilDate>2026-01-31T00:00:00');
    }
    for (const { headers } of proxy.seen) expect(headers).toHaveProperty('x-amz-checksum-crc32');
    expect(locks.period).toBe(15 * 24 * 3600_000);
    proxy.fault = () => ({ kind: 'answer', status: 403 });
    const error = await rejection(locks.renew(names, now));
    expect([error.code, error.message]).toEqual([
      'usage',
      expect.stringContaining('renewing the object lock'),
    ]);
  });

  testOnSwift('a file that is locked stays, and is no failure; without a lock it is one', async () => {
    const { proxy, open } = await setting();
    const lock = { days: 1, mode: 'GOVERNANCE' } as const;
    const [kept, gone] = [file(), file()];
    for (const { name, bytes } of [kept, gone]) await open({ lock }).write(name, bytes);
    proxy.fault = first(99, of('DELETE', kept.name), { kind: 'answer', status: 403 });
    expect(await open({ lock }).remove([kept.name, gone.name])).toEqual([kept.name]);
    expect((await listed(open())).map(({ name }) => name)).toEqual([kept.name]);
    const error = await rejection(open().remove([kept.name]));
    expect(error.code).toBe('usage');
    expect(error.message).toContain('delete');
  });
});
