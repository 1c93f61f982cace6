/** R02: dom0's side of a scan, against readers that say what a test has them say. */

import { describe, expect, it } from 'vitest';
import type { Repository } from '../../dom0/repository/repository.ts';
import { ScanSession, UploadShare } from '../../dom0/session/scan-session.ts';
import type { ScanJob } from '../../dom0/session/scan-session.ts';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import { MAX_BLOB, QUOTA_SLACK } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { rejection } from '../support/failure.ts';
import { historyFor, writerFor } from '../support/repository-bench.ts';
import { NOTE, PROGRESS, DIGEST, FOLDER, accessOf, codeOf, played } from './session-kit.ts';

describe('a scan', () => {
  type Play = Parameters<typeof played<typeof scan.toService, typeof scan.toCaller>>[1];
  const changes = { changedFiles: 0, newFiles: 0, rewrittenFiles: 0, deletedFiles: 0 };
  const counts = {
    entries: 1,
    files: 0,
    bytes: 0,
    ...changes,
    readBytes: 0,
    recheckedBytes: 0,
    recheckMismatches: 0,
    skipped: 0,
  };
  const done = (top: number, ownersUnknown = false) => ({
    top,
    digest: DIGEST,
    ownerlessDigest: 'cd'.repeat(32) as ContentDigest,
    ownersUnknown,
    counts,
  });

  async function run(
    play: Play,
    change: Partial<ScanJob> = {},
    prepare: (repository: Repository) => void = () => undefined,
    share?: UploadShare,
  ) {
    const { repository } = await accessOf();
    const writer = await writerFor(repository);
    const job: ScanJob = {
      attached: FOLDER,
      volume: { name: 'private', mode: 'files', size: 0, takenAt: 1_000 },
      compress: true,
      checkpointEvery: 1000,
      recheckBytes: 0,
      recheckFrom: 0,
      reread: false,
      withBase: true,
      excludes: { lists: [], cachedirTag: false, nodump: false, volumeFile: false },
      capacity: 1_000_000,
      ...change,
    };
    prepare(repository);
    const told: unknown[] = [];
    const listener = {
      progress: (each: unknown) => void told.push(each),
      note: (each: unknown) => void told.push(each),
    };
    const call = played(scan, play);
    const scanned = await new ScanSession(call, repository.store, writer, job, listener, share).run();
    return { scanned, told, repository };
  }

  it('takes blobs, checkpoints, notes and a result whose owners may be unknown', async () => {
    const { scanned, told, repository } = await run(async (session) => {
      await session.send('putContent', utf8('new content'));
      await session.send('putTree', utf8('new tree'));
      await session.send('checkpoint', { top: 3, changes });
      expect((await session.receive())?.name).toBe('committed');
      await session.send('progress', PROGRESS);
      await session.send('note', NOTE);
      await session.send('live', NumberSet.of([2, 3]).encode());
      await session.send('done', done(3, true));
    });
    expect(scanned.volume).toMatchObject({
      digest: 'cd'.repeat(32),
      ownersKnown: false,
      top: 3,
      warnings: 1,
    });
    expect([...scanned.live]).toEqual([2, 3]);
    expect(told).toEqual([PROGRESS, NOTE]);
    expect((await (await historyFor(repository)).newest())?.partial).toBe(true);
  });

  it.each([
    ['next to nothing is left', { files: 999, bytes: 999, totalFiles: 1000, totalBytes: 1000 }, 2],
    ['there is more than was said', { files: 1001, bytes: 1001, totalFiles: 1000, totalBytes: 1000 }, 1],
    ['there are many files yet', { files: 1, bytes: 999, totalFiles: 1e9, totalBytes: 1000 }, 1],
    ['there are many bytes yet', { files: 999, bytes: 1, totalFiles: 1000, totalBytes: 1e12 }, 1],
    ['nobody knows how much there is', { files: 999, bytes: 999, totalFiles: 0, totalBytes: 0 }, 1],
    ['nothing was read', { files: 0, bytes: 0, totalFiles: 1000, totalBytes: 1000 }, 1],
  ])('says when it will end soon, as far as it can tell: %s', async (_when, progress, times) => {
    let told = 0;
    const play: Play = async (session) => {
      await session.send('putTree', utf8('new tree'));
      await session.send('progress', progress);
      await live(session, 2);
      await session.send('done', done(2));
    };
    await run(play, { ending: () => (told += 1) });
    expect(told).toBe(times);
  });

  it('lets one of many readers send a blob larger than its window, once it waits for that', async () => {
    const blob = new Uint8Array(MAX_BLOB);
    const play: Play = async (session) => {
      await session.send('putContent', blob);
      await session.send('putTree', utf8('new tree'));
      await live(session, 2, 3);
      await session.send('done', done(3));
    };
    const share = new UploadShare(8, 10);
    expect(share.window).toBeLessThan(blob.length);
    const { scanned } = await run(play, { capacity: 1e9 }, undefined, share);
    expect([...scanned.live]).toEqual([2, 3]);
  });

  const live = (session: Parameters<Play>[0], ...numbers: number[]) =>
    session.send('live', NumberSet.of(numbers).encode());

  it.each<[string, string, Play]>([
    ['ends without a result', 'protocol', () => Promise.resolve()],
    ['names a tree without its live set', 'protocol', (session) => session.send('done', done(1))],
    [
      'sends two live sets',
      'protocol',
      async (session) => {
        await live(session, 1);
        await live(session, 1);
      },
    ],
    [
      'names blobs of nobody',
      'refused',
      async (session) => {
        await live(session, 1, 99);
        await session.send('done', done(1));
      },
    ],
    [
      'names content as its tree',
      'refused',
      async (session) => {
        await live(session, 0, 1);
        await session.send('done', done(0));
      },
    ],
    [
      'names a tree that it does not keep',
      'refused',
      async (session) => {
        await live(session, 0);
        await session.send('done', done(1));
      },
    ],
    ['asks for old content', 'refused', (session) => session.send('get', { numbers: [0] })],
    [
      'checkpoints a tree of nobody',
      'refused',
      (session) => session.send('checkpoint', { top: 77, changes }),
    ],
    [
      'checkpoints before the last is committed',
      'protocol',
      async (session) => {
        await session.send('putTree', utf8('tree'));
        await Promise.all([
          session.send('checkpoint', { top: 2, changes }),
          session.send('checkpoint', { top: 2, changes }),
        ]);
      },
    ],
    [
      'reports a failure of its own',
      'service-failed',
      () => Promise.reject(new BackupError('io', 'the disk')),
    ],
  ])('refuses one that %s', async (_title, code, play) => {
    expect(await codeOf(run(play))).toBe(code);
  });

  it('fails as the store fails, not as its reader, and stores nothing more', async () => {
    const puts: unknown[] = [];
    const failing = (failure: Error) => (repository: Repository) => {
      repository.store.storage.put = (object) => {
        puts.push(object);
        return Promise.reject(failure);
      };
    };
    const two: Play = async (session) => {
      for (const text of ['one', 'two', 'three']) await session.send('putContent', utf8(text));
      await session.receive();
    };
    for (const [failure, code] of [
      [new BackupError('store-full', 'vault is full'), 'store-full'],
      [new TypeError('a mistake'), 'internal'],
    ] as const) {
      puts.length = 0;
      const { code: found, message } = await rejection(run(two, {}, failing(failure)));
      expect([found, message, puts.length]).toEqual([code, failure.message, 1]);
    }
  });

  it('fails as the store fails where the table of its base is gone', async () => {
    const play: Play = async (session) => {
      await live(session, 1);
      await session.send('done', done(1));
    };
    const gone = new BackupError('store-missing', 'vault lost object 12');
    const failed = run(play, {}, ({ store }) => void (store.getRecord = () => Promise.reject(gone)));
    expect(await rejection(failed)).toBe(gone);
  });

  it('refuses one that stores more than its volume can hold', async () => {
    const capacity = -QUOTA_SLACK / 1.1 + 10;
    expect(
      await codeOf(run((session) => session.send('putContent', utf8('more than ten bytes')), { capacity })),
    ).toBe('limit');
  });
});
