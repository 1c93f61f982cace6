/**
 * What the rclone back end does when rclone dies, hangs, or has a server that errs: WebDAV behind a proxy that fails for it. Whatever
 * happens, what was acknowledged is there as it was given, and what was not is told with what to do.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { BackupError } from '../../../shared/errors.ts';
import { MAX_OBJECT } from '../../../shared/limits.ts';
import { objectName, rootName } from '../../../storagevm/back-end.ts';
import type { StoreName } from '../../../storagevm/back-end.ts';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { LocalState } from '../../../storagevm/remote/local-state.ts';
import { RcloneDaemon } from '../../../storagevm/remote/rclone-daemon.ts';
import { RcloneRemote } from '../../../storagevm/remote/rclone.ts';
import { Attempts } from '../../../storagevm/remote/retry.ts';
import { NO_FAULT, faultProxy } from '../../support/fault-proxy.ts';
import type { Fault, FaultProxy, Seen } from '../../support/fault-proxy.ts';
import { program, testNeeding } from '../../support/needs.ts';
import { theRemotes } from '../../support/rclone.ts';
import { tempFolder } from '../../support/temp.ts';
import { object } from '../fixtures.ts';

const testOnRclone = testNeeding(program('rclone') ?? program('setpriv'));
const HALF_MIB = 1 << 19;

function file(size = HALF_MIB) {
  const { id, bytes } = object(size);
  return { name: objectName(id), bytes };
}

interface Setting {
  readonly proxy: FaultProxy;
  readonly daemon: RcloneDaemon;
  readonly backEnd: RemoteBackEnd;
  /** Where a file of the store is, behind the server's back. */
  readonly path: (name: string) => string;
}

/** A back end that was used once, so that it owns its place and rclone runs. */
async function setting(attempts: number, callTimeout?: number): Promise<Setting> {
  const remotes = await theRemotes();
  const proxy = await faultProxy(remotes.url);
  const { temporary } = remotes;
  const daemon = new RcloneDaemon(remotes.configFor(proxy.url), { callTimeout, temporary });
  onTestFinished(() => daemon.stop());
  const place = randomBytes(6).toString('hex');
  const remote = new RcloneRemote({ remote: `dav:${place}`, daemon });
  const state = new LocalState(tempFolder(), remote.place);
  const backEnd = new RemoteBackEnd(remote, state, {
    attempts: new Attempts({ attempts, pause: 1, longestPause: 2, patience: 60_000 }),
  });
  const { name, bytes } = file(100);
  await backEnd.write(name, bytes);
  return { proxy, daemon, backEnd, path: (name) => join(remotes.folder, place, name) };
}

/** Writes, and checks what became of it: answers what was said if it failed. */
async function written({ backEnd, path }: Setting, name: StoreName, bytes: Uint8Array) {
  const said = await backEnd.write(name, bytes).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof BackupError) return error;
      throw error;
    },
  );
  // Acknowledged or not, under its name there is nothing but the whole.
  expect(existsSync(path(name)) ? readFileSync(path(name)).equals(bytes) : said !== undefined).toBe(true);
  return said;
}

const uploads = ({ method, url }: Seen) => method === 'PUT' && url.includes('/tmp/');

describe('rclone', () => {
  testOnRclone('that dies while it stores is started again, and what is acknowledged is there', async () => {
    const here = await setting(2);
    const { name, bytes } = file();
    const before = here.daemon.pid!;
    let deaths = 1;
    here.proxy.fault = (request) => {
      if (!uploads(request) || deaths-- <= 0) return NO_FAULT;
      process.kill(here.daemon.pid!, 'SIGKILL');
      return { kind: 'silence' };
    };
    expect(await written(here, name, bytes)).toBeUndefined();
    expect(here.daemon.pid).not.toBe(before);
    expect(await here.backEnd.read(name, MAX_OBJECT)).toEqual(bytes);

    deaths = Infinity;
    const other = file();
    const error = await written(here, other.name, other.bytes);
    expect([error?.code, error?.message]).toEqual([
      'store-missing',
      expect.stringMatching(/does not answer.*"rclone lsd"/),
    ]);
    here.proxy.fault = () => NO_FAULT;
    expect(await written(here, other.name, other.bytes)).toBeUndefined();
  });

  testOnRclone('that hangs is given up after a time, and goes on where it is woken', async () => {
    const here = await setting(1, 500);
    const { name, bytes } = file();
    process.kill(here.daemon.pid!, 'SIGSTOP');
    const error = await written(here, name, bytes);
    expect([error?.code, error?.message]).toEqual([
      'store-missing',
      expect.stringContaining('try again later'),
    ]);
    process.kill(here.daemon.pid!, 'SIGCONT');
    expect(await written(here, name, bytes)).toBeUndefined();
  });

  const faults: readonly [string, Fault, (request: Seen) => boolean][] = [
    ['has no room for uploads', { kind: 'answer', status: 507 }, uploads],
    ['cuts them', { kind: 'reset request', after: 100_000 }, uploads],
    ['acknowledges them and discards', { kind: 'answer', status: 201 }, uploads],
    ['refuses to move', { kind: 'answer', status: 502 }, ({ method }) => method === 'MOVE'],
    ['says that it moved', { kind: 'answer', status: 201 }, ({ method }) => method === 'MOVE'],
    ['loses its answers to moves', { kind: 'lost answer' }, ({ method }) => method === 'MOVE'],
    [
      'answers nonsense',
      { kind: 'answer', status: 207, body: '<oops' },
      ({ method }) => method === 'PROPFIND',
    ],
  ];
  for (const [what, fault, which] of faults)
    testOnRclone(`whose server ${what}: nothing is acknowledged that is not there`, async () => {
      const here = await setting(1);
      const { name, bytes } = file();
      let hits = 0;
      here.proxy.fault = (request) => {
        if (!which(request)) return NO_FAULT;
        hits += 1;
        return fault;
      };
      const error = await written(here, name, bytes);
      expect(hits).toBeGreaterThan(0);
      if (error !== undefined)
        expect(error.message).toMatch(/the rclone remote dav:\w+ fails while .*try again later$/);
      here.proxy.fault = () => NO_FAULT;
      expect(await written(here, name, bytes)).toBeUndefined();
    });

  testOnRclone('whose server stores half of a file and says all: it is not acknowledged', async () => {
    const here = await setting(1);
    const { name, bytes } = file();
    here.proxy.fault = (request) =>
      uploads(request)
        ? {
            kind: 'served',
            by: (body) => {
              writeFileSync(
                here.path(`tmp/${request.url.split('/').at(-1) ?? ''}`),
                body.subarray(0, body.length / 2),
              );
              return Promise.resolve(201);
            },
          }
        : NO_FAULT;
    expect((await written(here, name, bytes))?.code).toBe('store-missing');
    expect(existsSync(here.path(name))).toBe(false);
  });

  testOnRclone(
    'whose server sends less than it says, or dies while it sends: nothing is delivered',
    async () => {
      const here = await setting(2);
      const { name, bytes } = file();
      await here.backEnd.create(rootName(1), bytes);
      await here.backEnd.write(name, bytes);
      for (const fault of [
        { kind: 'longer', by: 10 },
        { kind: 'reset answer', after: 1000 },
      ] as const) {
        let left = 1;
        here.proxy.fault = ({ method }) => (method === 'GET' && left-- > 0 ? fault : NO_FAULT);
        expect(await here.backEnd.read(name, MAX_OBJECT)).toEqual(bytes);
        left = Infinity; // rclone asks for the rest again and again: it gets all, or it tells.
        const found = await here.backEnd.read(name, MAX_OBJECT).catch((error: unknown) => error);
        if (found instanceof BackupError) expect(['io', 'store-missing']).toContain(found.code);
        else expect(found).toEqual(bytes);
      }
    },
  );
});
