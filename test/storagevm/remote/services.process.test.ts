/** The four services as processes, on a bucket and on an rclone remote. */

import { copyFileSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { MAX_OBJECT } from '../../../shared/limits.ts';
import { list, put } from '../../../shared/protocol/storage.ts';
import { MAGIC } from '../../../shared/wire/frame.ts';
import type { S3Options } from '../../../storagevm/remote/s3-connection.ts';
import { rejection } from '../../support/failure.ts';
import { faultProxy } from '../../support/fault-proxy.ts';
import { program, testNeeding } from '../../support/needs.ts';
import type { Missing } from '../../support/needs.ts';
import { controlFrame, end } from '../../support/peers.ts';
import { PROJECT, exited, isAlive, outcome, run, waitFor } from '../../support/processes.ts';
import { theRemotes } from '../../support/rclone.ts';
import { swiftMissing, theSwift } from '../../support/swift/swift.ts';
import { tempFolder } from '../../support/temp.ts';
import { Caller, acks, getAll, getRoot, listAll, publishRoot, putAll, startService } from '../caller.ts';
import { TestRepository, object, objects } from '../fixtures.ts';

const MiB = 1 << 20;
const OWNER = join(PROJECT, 'bin/qubes-backup-storage');
const rcloneMissing = program('rclone') ?? program('setpriv');

/** Writes settings as the owner of the storage VM with this home does. */
type Configure = (home: string) => void;

function s3Settings(options: S3Options, endpoint = options.endpoint): string {
  return `[s3]
bucket = "${options.bucket}"
endpoint = "${endpoint ?? ''}"
access_key_id = "${options.accessKeyId}"
secret_access_key = "${options.secretAccessKey}"
path_style = true
`;
}

async function onSwift(): Promise<Configure> {
  const options = await (await theSwift()).newBucket();
  return (home) => writeFileSync(join(home, 'storage.toml'), s3Settings(options));
}

let folders = 0;

async function onWebdav(): Promise<Configure> {
  const { config } = await theRemotes();
  const settings = `[rclone]\nremote = "dav:services-${(folders += 1)}"\n`;
  return (home) => {
    copyFileSync(config, join(home, 'rclone.conf'));
    writeFileSync(join(home, 'storage.toml'), settings);
  };
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
}

const kinds: readonly [string, () => Promise<Configure>, Missing][] = [
  ['a bucket', onSwift, swiftMissing()],
  ['an rclone remote', onWebdav, rcloneMissing],
];

for (const [kind, newPlace, missing] of kinds)
  describe(`R40 R43: the services on ${kind}`, () => {
    testNeeding(missing)('put, list, get and setRoot, as on a folder', async () => {
      const home = tempFolder();
      (await newPlace())(home);
      expect(await getRoot(home)).toBeUndefined();
      expect(await listAll(home)).toEqual({ rows: [], pages: [] });
      const some = [...objects(5), object(MiB), object(MAX_OBJECT)];
      expect(await putAll(home, some)).toEqual(some.map(() => true));
      expect(await putAll(home, some.slice(3))).toEqual(some.slice(3).map(() => false));
      const rows = some.map(({ id, bytes }) => ({ id, size: bytes.length }));
      rows.sort((a, b) => (a.id < b.id ? -1 : 1));
      expect((await listAll(home)).rows).toEqual(rows);
      const gone = object();
      const found = await getAll(home, [gone.id, ...some.map(({ id }) => id)]);
      expect(found.map((bytes) => bytes?.length)).toEqual([
        undefined,
        ...some.map(({ bytes }) => bytes.length),
      ]);
      for (const root of new TestRepository().chain(3)) {
        expect(await publishRoot(home, root)).toBe('done');
        expect(await getRoot(home)).toEqual(root.bytes);
      }
      expect(readdirSync(join(home, 'qubes-backup')).sort()).toEqual(['ledger', 'remote', 'remote-lock']);
    });

    testNeeding(missing)('R41: of several setRoot at once one wins', async () => {
      const home = tempFolder();
      (await newPlace())(home);
      const repository = new TestRepository();
      const rivals = Array.from({ length: 4 }, () => repository.root());
      const answers = await Promise.all(rivals.map((root) => publishRoot(home, root)));
      expect(answers.filter((answer) => answer === 'done')).toHaveLength(1);
      expect(await getRoot(home)).toEqual(rivals[answers.indexOf('done')]!.bytes);
    });

    testNeeding(missing)(
      'R05: a second storage VM on the same place is refused, and says what to do',
      async () => {
        const [home, second] = [tempFolder(), tempFolder()];
        const configure = await newPlace();
        for (const one of [home, second]) configure(one);
        await putAll(home, objects(1));
        const caller = new Caller(second, put);
        await caller.session.send('object', object().bytes);
        const error = await rejection(acks(caller, 1));
        expect(error.message).toContain('reports store-replaced');
        expect(error.message).toContain('another storage VM');
        expect(await caller.hangUp()).toBe(1);
      },
    );

    testNeeding(missing)('its owner lets another storage VM take the place of one that is gone', async () => {
      const [home, second] = [tempFolder(), tempFolder()];
      const configure = await newPlace();
      for (const one of [home, second]) configure(one);
      const [kept, added] = [object(), object()];
      await putAll(home, [kept]);
      const { code, stdout } = await run(OWNER, ['--yes', 'take-over'], {
        env: { PATH: '/usr/bin:/bin', HOME: second, QUBES_BACKUP_STORAGE_CONFIG: second },
      });
      expect([code, stdout.toString()]).toEqual([0, expect.stringContaining('writes there now')]);
      expect(await putAll(second, [kept, added])).toEqual([false, true]);
      await expect(putAll(home, [object()])).rejects.toThrow('another storage VM');
    });
  });

describe('a service', () => {
  testNeeding(swiftMissing())('loads the library of S3 for a bucket, and for nothing else', async () => {
    const hooks =
      'registerHooks({ resolve(name, context, next) { if (name.startsWith("@aws-sdk/")) process.exitCode = 77; return next(name, context); } })';
    const preload = `data:text/javascript,${encodeURIComponent(`import { registerHooks } from "node:module"; ${hooks}`)}`;
    const [onFolder, onBucket] = [tempFolder(), tempFolder()];
    (await onSwift())(onBucket);
    for (const [home, status] of [
      [onFolder, 0],
      [onBucket, 77],
    ] as const) {
      const child = startService(home, list.service, { NODE_OPTIONS: `--import=${preload}` });
      const result = outcome(child);
      const asked = controlFrame(0x10, {});
      child.stdin.end(Buffer.concat([MAGIC, asked, end(1, asked.length)]));
      expect((await result).code).toBe(status);
    }
  });

  testNeeding(swiftMissing())(
    'that is killed while it puts has acknowledged nothing that is not there',
    async () => {
      const home = tempFolder();
      (await onSwift())(home);
      const some = objects(20, MiB);
      const caller = new Caller(home, put);
      for (const { bytes } of some) caller.session.send('object', bytes).catch(() => undefined);
      const acknowledged = await acks(caller, 5);
      caller.child.kill('SIGKILL');
      await exited(caller.child);
      const found = await getAll(
        home,
        acknowledged.map(({ id }) => id),
      );
      found.forEach((bytes, index) => expect(bytes).toEqual(some[index]!.bytes));
    },
  );

  testNeeding(swiftMissing())('whose S3 service fails for ever ends, and says so', async () => {
    const home = tempFolder();
    const swift = await theSwift();
    const proxy = await faultProxy(swift.url);
    writeFileSync(join(home, 'storage.toml'), s3Settings(await swift.newBucket(), proxy.url));
    proxy.fault = () => ({ kind: 'answer', status: 403 });
    const error = await rejection(getRoot(home));
    expect(error.message).toContain('reports usage');
  });

  testNeeding(rcloneMissing)('takes its rclone with it, however it ends', async () => {
    const home = tempFolder();
    (await onWebdav())(home);
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const caller = new Caller(home, put);
      await caller.session.send('object', object().bytes);
      await acks(caller, 1);
      const rclones = childrenOf(caller.child.pid!).filter((pid) =>
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('rclone'),
      );
      expect(rclones).toHaveLength(1);
      caller.child.kill(signal);
      await exited(caller.child);
      await waitFor(() => !isAlive(rclones[0]!), 'the end of rclone');
    }
  });

  testNeeding(rcloneMissing)(
    'R10: gives rclone its password in no argument, and lets nobody else in',
    async () => {
      const home = tempFolder();
      (await onWebdav())(home);
      const caller = new Caller(home, put);
      await caller.session.send('object', object().bytes);
      await acks(caller, 1);
      const [pid = 0] = childrenOf(caller.child.pid!);
      const environ = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      const password = environ.find((entry) => entry.startsWith('RCLONE_RC_PASS='))?.split('=')[1] ?? '';
      expect(password).toMatch(/^[0-9a-f]{64}$/);
      expect(readFileSync(`/proc/${pid}/cmdline`, 'latin1')).not.toContain(password);
      const inodes = readFileSync('/proc/net/tcp', 'latin1')
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(/\s+/));
      const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      const listening = inodes.filter(
        ([, , , state, , , , , , inode]) => state === '0A' && sockets.includes(`socket:[${inode}]`),
      );
      expect(listening.map(([, local]) => local?.split(':')[0])).toEqual(['0100007F']); // 127.0.0.1 only.
      const port = parseInt(listening[0]?.[1]?.split(':')[1] ?? '0', 16);
      const answer = await fetch(`http://127.0.0.1:${port}/rc/noop`, { method: 'POST' });
      expect(answer.status).toBe(401);
      await caller.finish();
    },
  );
});
