/**
 * R44: what eight stores can make dom0 hold, whatever they send and however slowly they take: counted in bytes, at its side of their
 * pipes. Each may send ahead its share; what is sent to all is held once, within one budget.
 */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { StorePinFile } from '../../dom0/state/store-pin.ts';
import { configuredStores } from '../../dom0/storage/configured-stores.ts';
import { u32 } from '../../shared/bytes.ts';
import { DOM0_UPLOAD_SHARE, FRAME_COST, MAX_OBJECT } from '../../shared/limits.ts';
import { get, put } from '../../shared/protocol/storage.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

const MiB = 1 << 20;
const NAMES = Array.from({ length: 8 }, (_, index) => `store${index}`);
/** What dom0 may hold that stores sent: one object of each, and a piece of the next. With what it sends that is 161 of 256 MiB. */
const BOUND = NAMES.length * (MAX_OBJECT + FRAME_COST) + MiB;

/** A service that sends `start` and then `more` for ever, or nothing more at all; `read` counts what dom0 took. */
function sending(start: Uint8Array, more: Uint8Array | undefined, read: { bytes: number }): ServiceCall {
  let at = 0;
  let end = (): void => undefined;
  const exited = new Promise<{ code: number; signal: null }>((resolve) => {
    end = () => resolve({ code: 1, signal: null });
  });
  const fill = (target: Uint8Array): number => {
    const source = at < start.length ? start.subarray(at) : more;
    if (source === undefined) return -1;
    const count = Math.min(target.length, source.length);
    target.set(source.subarray(0, count));
    at += count;
    read.bytes += count;
    return count;
  };
  return {
    peer: 'hostile: qubes.BackupGet',
    answerTimeout: 300,
    exited,
    io: {
      read: (target) => {
        const count = fill(target);
        return count < 0
          ? exited.then(() => 0)
          : new Promise((resolve) => setImmediate(() => resolve(count)));
      },
      write: () => Promise.resolve(),
    },
    stderr: () => '',
    hangUp: end,
    kill: end,
  };
}

/** The header of a frame of an object of the largest size there is. */
const HEADER = Buffer.concat([Buffer.from([get.toCaller.object.type]), u32(MAX_OBJECT)]);

it.each([
  ['answer with an object of the largest size, but for its last byte', HEADER, MAX_OBJECT - 1, undefined],
  ['answer with objects for ever', HEADER, 0, new Uint8Array(64 * 1024)],
  ['answer with pings for ever', Buffer.alloc(0), 0, Buffer.from([4, 0, 0, 0, 1, 0xa0])],
] as const)('eight stores that %s', async (_what, header, size, more) => {
  const read = { bytes: 0 };
  const state = tempFolder();
  const start = Buffer.concat([MAGIC, header, Buffer.alloc(size)]);
  const callStorage = () => Promise.resolve(sending(start, more, read));
  const limits = { upload: undefined, download: undefined };
  const configs = NAMES.map((name) => ({ name, folder: undefined, removable: false, limits }));
  const stores = configuredStores(
    { callStorage, callFolder: callStorage },
    configs,
    (name) => new StorePinFile(state, name),
  );
  await Promise.all(stores.map((store) => store.survey()));
  for (const { standing } of stores) expect(standing.is).toBe('failed');
  expect(read.bytes).toBeGreaterThan(8 * MAGIC.length);
  if (more === undefined || header.length > 0) expect(read.bytes).toBeLessThan(BOUND);
});

it('of eight stores of which some take nothing, some die, some answer wrong: what waits for them is bounded', async () => {
  const home = new Home();
  home.configure(
    ...['quorum = 3', '[backup]', 'spot_check_mib = 0'],
    ...NAMES.flatMap((name) => ['[[storage]]', `vm = "${name}"`]),
  );
  createKeyFile(home.keyFile);
  home.identify('work');
  const random = new Random(8);
  for (let file = 0; file < 12; file++) home.write('work', `large-${file}`, random.bytes(8 * MiB));
  const plain = new InProcessDomains(home.folder);
  await runOver(plain, home, (app) => init(app, () => app.secrets()));

  const written = new Map<string, number>(NAMES.map((name) => [name, 0]));
  let ahead = 0;
  const slow = new Set(['store1', 'store2', 'store3']);
  const counted = (call: ServiceCall, name: string): ServiceCall => {
    let dead = (): void => undefined;
    const killed = new Promise<never>((_resolve, reject) => {
      dead = () => reject(new Error('killed'));
    });
    killed.catch(() => undefined);
    const write = async (pieces: readonly Uint8Array[]) => {
      const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
      const before = written.get(name) ?? 0;
      if (slow.has(name) && before > 4 * MiB) return killed; // It takes no more.
      if (name === 'store4' && before > 4 * MiB) call.kill();
      written.set(name, before + bytes);
      if (slow.has(name) || name === 'store0')
        for (const one of slow)
          ahead = Math.max(ahead, (written.get('store0') ?? 0) - (written.get(one) ?? 0));
      await call.io.write(pieces);
    };
    const read = async (target: Uint8Array) => {
      const count = await call.io.read(target);
      if (name === 'store5' && (written.get(name) ?? 0) > 4 * MiB) target.fill(0xff, 0, count);
      return count;
    };
    return {
      ...call,
      // Milliseconds: more than passes between two objects on a busy machine, or they are given up before they hold anything back.
      ...(slow.has(name) ? { idleTimeout: 5000, answerTimeout: 5000 } : {}),
      io: { read, write },
      kill: () => {
        slow.delete(name); // It is left out from now on.
        dead();
        call.kill();
      },
    };
  };
  const domains = new (class extends WrappedDomains {
    override async callStorage(vm: string, service: string): Promise<ServiceCall> {
      const call = await plain.callStorage(vm, service);
      return service === put.service ? counted(call, vm) : call;
    }
  })(plain, (call) => call);
  const { app } = await runOver(domains, home, (run) => backup(run, ['work']));
  const standing = (name: string) => app.storage.named(name).standing.is;
  for (const name of ['store1', 'store2', 'store3', 'store4', 'store5'])
    expect(standing(name)).toBe('failed');
  for (const name of ['store0', 'store6', 'store7']) expect(standing(name)).toBe('in-step');
  expect(written.get('store0')).toBeGreaterThan(90 * MiB);
  expect(ahead).toBeGreaterThan(8 * MiB); // So it was held back by them.
  expect(ahead).toBeLessThanOrEqual(DOM0_UPLOAD_SHARE + 2 * MAX_OBJECT);
  expect(statSync(join(home.folder, 'storage', 'store7', 'qubes-backup', 'roots')).isDirectory()).toBe(true);
}, 60_000);
