/**
 * What a power cut leaves. The calls that the back end really makes are recorded and replayed on a model of a
 * disk that forgets all it was not told to keep: a name survives if its folder was synced after it was made,
 * content if its file was synced after it was written.
 */

import { constants } from 'node:fs';
import type * as FileSystem from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { NO_ROOT } from '../../shared/ids.ts';
import { objectName, rootName } from '../../storagevm/back-end.ts';
import { DirectoryBackEnd } from '../../storagevm/directory.ts';
import { LARGE } from '../../storagevm/new-file.ts';
import { publish } from '../../storagevm/set-root.ts';
import { tempFolder } from '../support/temp.ts';
import { TestRepository, object, objects } from './fixtures.ts';
import { putInto, storeIn } from './stores.ts';

type Call =
  | { readonly what: 'name'; readonly path: string; readonly from?: string } // mkdir, link, rename, create
  | { readonly what: 'write' | 'sync'; readonly path: string };

const { calls } = vi.hoisted(() => ({ calls: [] as Call[] }));

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof FileSystem>();
  const recorded = (handle: FileHandle, path: string): FileHandle =>
    new Proxy(handle, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]): Promise<unknown> => {
          const result: unknown = await Reflect.apply(value, target, args);
          if (key === 'sync' || key === 'datasync') calls.push({ what: 'sync', path });
          if (key === 'write' || key === 'truncate') calls.push({ what: 'write', path });
          return result;
        };
      },
    });
  return {
    ...real,
    open: async (path: string, flags: string | number, mode?: number) => {
      const handle = await real.open(path, flags, mode);
      if (creates(flags)) calls.push({ what: 'name', path });
      return recorded(handle, path);
    },
    mkdir: async (path: string, options: { mode: number }) => {
      await real.mkdir(path, options);
      calls.push({ what: 'name', path });
    },
    link: async (from: string, path: string) => {
      await real.link(from, path);
      calls.push({ what: 'name', path, from });
    },
    rename: async (from: string, path: string) => {
      await real.rename(from, path);
      calls.push({ what: 'name', path, from });
    },
  };
});

function creates(flags: string | number): boolean {
  return typeof flags === 'number' ? (flags & constants.O_CREAT) !== 0 : flags === 'wx' || flags === 'ax';
}

/** Paths that survive a power cut after `happened`, with all their content. */
function surviving(happened: readonly Call[]): Set<string> {
  const inode = new Map<string, string>(); // name -> the first path of the file
  const unsynced = new Set<string>(); // files with content that is not on the disk
  const fresh = new Map<string, Set<string>>(); // folder -> names that are not on the disk
  const kept = new Set<string>();
  for (const call of happened) {
    const file = inode.get(call.what === 'name' ? (call.from ?? call.path) : call.path) ?? call.path;
    if (call.what === 'write') unsynced.add(file);
    else if (call.what === 'name') {
      inode.set(call.path, file);
      kept.delete(call.path);
      const names = fresh.get(dirname(call.path)) ?? new Set();
      fresh.set(dirname(call.path), names.add(call.path));
    } else {
      unsynced.delete(file);
      for (const name of fresh.get(call.path) ?? []) kept.add(name);
      fresh.delete(call.path);
    }
  }
  for (const path of kept) if (unsynced.has(inode.get(path) ?? path)) kept.delete(path);
  return kept;
}

/** Fails unless `path` and every folder above it, up to `home`, survives a power cut now. */
function expectDurable(home: string, path: string): void {
  const kept = surviving(calls);
  for (let at = path; at !== home; at = dirname(at)) expect([...kept], `${at} would be lost`).toContain(at);
}

beforeEach(() => {
  calls.length = 0;
});

describe('a power cut loses nothing', () => {
  test('R40: that was synced', async () => {
    const home = tempFolder();
    const folder = join(home, 'store');
    const some = [...objects(8), object(LARGE + 40)];
    await putInto(storeIn(folder), some);
    expectDurable(home, join(folder, 'format'));
    for (const { id } of some) expectDurable(home, join(folder, objectName(id)));
  });

  test('R40: that another process wrote and did not sync', async () => {
    const home = tempFolder();
    const folder = join(home, 'store');
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(objectName(id), bytes);
    const backEnd = new DirectoryBackEnd(folder);
    expect(await backEnd.write(objectName(id), bytes)).toBe(false);
    await backEnd.sync([objectName(id)]);
    expectDurable(home, join(folder, objectName(id)));
  });

  test('R40: whose content another program copied here', async () => {
    const folder = join(tempFolder(), 'store');
    const { id, bytes } = object();
    await new DirectoryBackEnd(folder).write(objectName(id), bytes);
    calls.length = 0;
    await new DirectoryBackEnd(folder).write(objectName(id), bytes);
    expect(calls).toContainEqual({ what: 'sync', path: join(folder, objectName(id)) });
  });

  test('R41: a root, and the key that is pinned by it', async () => {
    const home = tempFolder();
    const folder = join(home, 'store');
    const root = new TestRepository().root();
    await publish(storeIn(folder), root, NO_ROOT);
    expectDurable(home, join(folder, 'key'));
    expectDurable(home, join(folder, rootName(1)));
    const at = (path: string) =>
      calls.findIndex((call) => call.what === 'name' && call.path === join(folder, path));
    expect(at('format')).toBeLessThan(at(rootName(1)));
    expect(at(rootName(1))).toBeLessThan(at('key'));
  });

  test('R41: a root is durable before anybody reads it', async () => {
    const folder = join(tempFolder(), 'store');
    await publish(storeIn(folder), new TestRepository().root(), NO_ROOT);
    calls.length = 0;
    await storeIn(folder).currentRoot();
    expect(calls).toContainEqual({ what: 'sync', path: join(folder, 'roots') });
  });

  test('R42: that an object was put again, before it is acknowledged', async () => {
    const home = tempFolder();
    const folder = join(home, 'store');
    const some = object();
    await putInto(storeIn(folder), [some]);
    await putInto(storeIn(folder), [some]);
    const rows = calls.filter(
      ({ what, path }) => what === 'write' && dirname(path) === join(folder, 'ledger', 'puts'),
    );
    expect(new Set(rows.map(({ path }) => path)).size).toBe(2);
    for (const { path } of rows) expectDurable(home, path);
  });

  test('content is on the disk before it gets a name', async () => {
    const folder = join(tempFolder(), 'store');
    const backEnd = new DirectoryBackEnd(folder);
    const { id, bytes } = object();
    await backEnd.write(objectName(id), bytes);
    await backEnd.create(rootName(1), bytes);
    for (const [index, call] of calls.entries()) {
      if (call.what !== 'name' || call.from === undefined) continue;
      const before = calls.slice(0, index).filter(({ path, what }) => path === call.from && what !== 'name');
      expect(before.at(-1)?.what, call.path).toBe('sync');
    }
  });
});
