/** R02: dom0's side of the sessions with disposables, against peers that say what a test has them say. */

import { describe, expect, it } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Repository } from '../../dom0/repository/repository.ts';
import { runCompare, runEntries, runHistory, runNeeding } from '../../dom0/session/query-sessions.ts';
import { runExport, runProve, runRestore, runVerify } from '../../dom0/session/read-sessions.ts';
import type { BlobAccess, ExportSink } from '../../dom0/session/read-sessions.ts';
import type { Note } from '../../dom0/session/report.ts';
import { ScanSession, UploadShare } from '../../dom0/session/scan-session.ts';
import type { ScanJob } from '../../dom0/session/scan-session.ts';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import { MAX_BLOB, QUOTA_SLACK } from '../../shared/limits.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { browse, compare } from '../../shared/protocol/browse.ts';
import type { Difference, ListEntry, Need, Version } from '../../shared/protocol/browse.ts';
import { exportPaths, prove, restore, scan, verify } from '../../shared/protocol/disposable.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import type { Session } from '../../shared/wire/session.ts';
import { rejection } from '../support/failure.ts';
import { LIST_ENTRY as ENTRY } from '../support/list-entry.ts';
import { service } from '../attack/peer/storage-services.ts';
import { callDisposableHere } from '../support/in-process-services.ts';
import {
  Machine,
  appendBlob,
  commitVolume,
  historyFor,
  storeFolder,
  writerFor,
} from '../support/repository-bench.ts';

/** A call of `protocol` whose service takes its job and then does as `play` says. */
function played<In extends FrameTable, Out extends FrameTable>(
  protocol: Protocol<In, Out>,
  play: (session: Session<In, Out>) => Promise<void>,
): ServiceCall {
  const [name, serve] = service(protocol, async (session: Session<In, Out>) => {
    await session.receive();
    await play(session);
  });
  return { ...callDisposableHere(name, serve), idleTimeout: 2_000 };
}

/** Access to the two blobs of a snapshot: 0 is content, 1 the tree. */
async function accessOf(treesOnly = false) {
  const machine = new Machine(storeFolder());
  const repository = await machine.create();
  const writer = await writerFor(repository);
  const [content, tree] = [await appendBlob(writer, 'content'), await appendBlob(writer, 'tree', 'tree')];
  await commitVolume(writer, tree, [content, tree]);
  const history = await historyFor(repository);
  const access: BlobAccess = {
    history,
    grant: { numbers: await history.newestLive(), treesOnly },
  };
  return { access, repository };
}

const quiet = { progress: () => undefined, note: () => undefined };
const codeOf = async (work: Promise<unknown>) => (await rejection(work)).code;
const DIGEST = 'ab'.repeat(32) as ContentDigest;
const FOLDER = { kind: 'folder', path: '/mnt' } as const;
const PROGRESS = { files: 1, bytes: 2, totalFiles: 3, totalBytes: 4 };
const NOTE = { code: 'changed', path: 'a', detail: 'b' } as const;

describe('a listing', () => {
  const question = { kind: 'list', top: 1, path: utf8(''), recursive: true, skipped: false } as const;

  it('gives what it asks for, and shows what comes', async () => {
    const { access } = await accessOf(true);
    const call = played(browse, async (session) => {
      await session.send('get', { numbers: [1] });
      const blob = await session.receive();
      expect(blob?.name === 'blob' && Buffer.from(blob.value.subarray(8)).toString()).toBe('tree');
      await session.send('entries', { entries: [ENTRY, ENTRY] });
      await session.send('done', { found: true });
    });
    const shown: ListEntry[] = [];
    const show = (entries: readonly ListEntry[]) => Promise.resolve(void shown.push(...entries));
    expect(await runEntries(call, access, question, 2, show)).toBe(true);
    expect(shown).toEqual([ENTRY, ENTRY]);
  });

  it('refuses more entries than there are, versions, content, and an end without a result', async () => {
    const { access } = await accessOf(true);
    const show = () => Promise.resolve();
    const run = (play: Parameters<typeof played<typeof browse.toService, typeof browse.toCaller>>[1]) =>
      codeOf(runEntries(played(browse, play), access, question, 1, show));
    expect(await run((session) => session.send('entries', { entries: [ENTRY, ENTRY] }))).toBe('protocol');
    const versions: Version[] = [{ newest: 0, oldest: 0, entry: null, changed: [] }];
    expect(await run((session) => session.send('versions', { versions }))).toBe('protocol');
    expect(await run((session) => session.send('get', { numbers: [0] }))).toBe('refused');
    expect(await run(() => Promise.resolve())).toBe('protocol');
    expect(await run(() => Promise.reject(new BackupError('store-damaged', 'a leaf is damaged')))).toBe(
      'service-failed',
    );
  });

  it('ends when what shows it fails, with that failure', async () => {
    const { access } = await accessOf(true);
    const call = played(browse, (session) => session.send('entries', { entries: [ENTRY] }));
    const show = () => Promise.reject(new BackupError('io', 'the terminal is gone'));
    expect(await codeOf(runEntries(call, access, question, 1, show))).toBe('io');
  });
});

describe('what needs lost blobs', () => {
  const question = { kind: 'needing', tops: [1, 3], blobs: NumberSet.of([0]).encode() } as const;
  const file = (top: number): Need => ({ kind: 'file', top, path: 'a', bytes: 1 });
  const run = async (limit: number, ...pages: (Need[] | 'entries')[]) => {
    const { access } = await accessOf(true);
    const call = played(browse, async (session) => {
      for (const page of pages)
        if (page === 'entries') await session.send('entries', { entries: [ENTRY] });
        else await session.send('needs', { needs: page });
      await session.send('done', { found: true });
    });
    const shown: Need[] = [];
    const show = (needs: readonly Need[]) => Promise.resolve(void shown.push(...needs));
    await runNeeding(call, access, { ...question, tops: [...question.tops] }, limit, show);
    return shown;
  };

  it('is told tree by tree, in their order, and no more of it than there can be', async () => {
    expect(await run(3, [file(0), file(0)], [file(1)])).toEqual([file(0), file(0), file(1)]);
    expect(await run(3)).toEqual([]);
    expect(await codeOf(run(3, [file(1)], [file(0)]))).toBe('protocol');
    expect(await codeOf(run(3, [file(2)]))).toBe('protocol');
    expect(await codeOf(run(1, [file(0), file(1)]))).toBe('protocol');
    expect(await codeOf(run(3, 'entries'))).toBe('protocol');
  });
});

describe('a history', () => {
  const question = { kind: 'history', tops: [5, 4, 3], path: utf8('a') } as const;
  const run = async (...answers: ([newest: number, oldest: number][] | 'entries')[]) => {
    const { access } = await accessOf(true);
    const call = played(browse, async (session) => {
      for (const answer of answers) {
        if (answer === 'entries') await session.send('entries', { entries: [ENTRY] });
        else {
          const versions = answer.map(([newest, oldest]) => ({ newest, oldest, entry: ENTRY, changed: [] }));
          await session.send('versions', { versions });
        }
      }
      await session.send('done', { found: true });
    });
    return runHistory(call, access, { ...question, tops: [...question.tops] }, () => Promise.resolve());
  };

  it('is every snapshot once, in order', async () => {
    expect(await run([[0, 1]], [[2, 2]])).toBe(true);
    for (const answers of [
      [[[0, 1]]],
      [[[1, 2]]],
      [[[0, 3]]],
      [
        [
          [0, 1],
          [1, 2],
        ],
      ],
      [
        [
          [0, 0],
          [2, 1],
        ],
      ],
      ['entries' as const],
    ])
      expect(
        await codeOf(run(...(answers as ([number, number][] | 'entries')[]))),
        JSON.stringify(answers),
      ).toBe('protocol');
  });
});

describe('a comparison', () => {
  const job = { before: { top: 1, takenAt: 0 }, after: { kind: 'tree', top: 1 } } as const;
  const difference: Difference = { path: 'a', before: { type: 'file', size: 1 }, after: null, fields: [] };

  it('shows differences and notes, up to as many as there can be', async () => {
    const { access } = await accessOf(true);
    const told: unknown[] = [];
    const listener = {
      progress: (each: unknown) => void told.push(each),
      note: (each: unknown) => void told.push(each),
    };
    const show = (rows: readonly Difference[]) => Promise.resolve(void told.push(...rows));
    const play = (rows: number) =>
      played(compare, async (session) => {
        await session.send('progress', PROGRESS);
        await session.send('note', NOTE);
        await session.send('differences', { differences: Array.from({ length: rows }, () => difference) });
        await session.send('done', { leftOut: 7 });
      });
    expect(await runCompare(play(2), access, job, 2, show, listener)).toEqual({ leftOut: 7 });
    expect(told).toEqual([PROGRESS, NOTE, difference, difference]);
    expect(await codeOf(runCompare(play(3), access, job, 2, show, quiet))).toBe('protocol');
  });
});

describe('a digest', () => {
  const done = { digest: DIGEST, entries: 1, files: 1, bytes: 1 };

  it('is taken from a verifier, which gets no blob for the asking', async () => {
    const notes: Note[] = [];
    const job = { volume: FOLDER, owners: true, excludes: null, deviceSize: null };
    const call = played(verify, async (session) => {
      await session.send('progress', PROGRESS);
      await session.send('note', NOTE);
      await session.send('done', done);
    });
    expect(await runVerify(call, job, { ...quiet, note: (note) => void notes.push(note) })).toBe(DIGEST);
    expect(notes).toEqual([NOTE]);
    expect(Object.keys(verify.toCaller)).not.toContain('get');
    const silent = played(verify, () => new Promise(() => undefined));
    expect(await codeOf(runVerify({ ...silent, idleTimeout: 50 }, job, quiet))).toBe('timeout');
  });

  it('is taken from one who reads the blobs of one snapshot', async () => {
    const { access } = await accessOf();
    const ask = (numbers: number[]) =>
      played(prove, async (session) => {
        await session.send('get', { numbers });
        if (numbers[0] === 0) expect((await session.receive())?.name).toBe('blob');
        await session.send('done', done);
      });
    expect(await runProve(ask([0]), access, { top: 1, owners: true }, quiet)).toBe(DIGEST);
    expect(await codeOf(runProve(ask([2]), access, { top: 1, owners: true }, quiet))).toBe('refused');
  });
});

describe('a restore', () => {
  it('answers what was restored, with its warnings', async () => {
    const { access } = await accessOf();
    const call = played(restore, async (session) => {
      await session.send('note', NOTE);
      await session.send('note', { ...NOTE, code: 'skipped-socket' });
      await session.send('done', { entries: 3, files: 2, bytes: 1 });
    });
    const result = await runRestore(call, access, { volume: FOLDER, top: 1 }, quiet);
    expect(result).toEqual({ entries: 3, files: 2, bytes: 1, warnings: 1 });
    const image = { kind: 'ext4', path: '/x' } as const;
    const other = played(restore, () => Promise.resolve());
    expect(await codeOf(runRestore(other, access, { volume: image, top: 1 }, quiet))).toBe('internal');
  });

  it('fails as the store fails, not as its disposable', async () => {
    const { access, repository } = await accessOf();
    repository.store.get = () => Promise.reject(new BackupError('store-missing', 'main lost object 12'));
    const call = played(restore, async (session) => {
      await session.send('get', { numbers: [0] });
      await session.receive();
    });
    const error = await rejection(runRestore(call, access, { volume: FOLDER, top: 1 }, quiet));
    expect([error.code, error.message]).toEqual(['store-missing', 'main lost object 12']);
  });
});

describe('an export', () => {
  const DONE = { entries: 1, files: 1, bytes: 1, missing: [], crc32: null };
  type Play = Parameters<typeof played<typeof exportPaths.toService, typeof exportPaths.toCaller>>[1];
  const run = async (
    kind: 'tar' | 'fileCopy' | 'folder',
    play: Play,
    sink: Partial<ExportSink> = {},
    limit = 10,
  ) => {
    const { access } = await accessOf();
    const outputs = {
      tar: { kind: 'tar' },
      fileCopy: { kind: 'fileCopy', folder: 'work-1' },
      folder: { kind: 'folder', path: '/mnt', overwrite: false },
    } as const;
    const job = { top: 1, paths: [utf8('')], output: outputs[kind] };
    const none = { begin: () => Promise.resolve(), write: () => Promise.resolve() };
    return runExport(played(exportPaths, play), access, job, { ...none, ...sink }, limit, quiet);
  };

  it('passes a stream on, up to its limit', async () => {
    const written: string[] = [];
    const sink = {
      write: (piece: Uint8Array) => Promise.resolve(void written.push(Buffer.from(piece).toString())),
    };
    const stream =
      (...pieces: string[]): Play =>
      async (session) => {
        for (const piece of pieces) await session.send('data', utf8(piece));
        await session.send('done', DONE);
      };
    expect(await run('tar', stream('12345', '67890'), sink)).toEqual(DONE);
    expect(written).toEqual(['12345', '67890']);
    expect(await codeOf(run('tar', stream('12345', '678901'), sink))).toBe('limit');
  });

  it('gives the blobs of its snapshot, and takes notes, between the pieces', async () => {
    const play: Play = async (session) => {
      await session.send('get', { numbers: [0] });
      expect((await session.receive())?.name).toBe('blob');
      await session.send('data', utf8('1'));
      await session.send('note', NOTE);
      await session.send('progress', PROGRESS);
      await session.send('done', DONE);
    };
    expect(await run('tar', play)).toEqual(DONE);
  });

  it('begins a file copy once, and ends it with a checksum', async () => {
    const begun: boolean[] = [];
    const sink = { begin: (plain: boolean) => Promise.resolve(void begun.push(plain)) };
    const play: Play = async (session) => {
      await session.send('begin', { plainNames: true });
      await session.send('data', utf8('x'));
      await session.send('done', { ...DONE, crc32: 5 });
    };
    expect((await run('fileCopy', play, sink)).crc32).toBe(5);
    expect(begun).toEqual([true]);
  });

  it('refuses a stream out of turn and the wrong kind of end', async () => {
    const begin: Play = (session) => session.send('begin', { plainNames: true });
    expect(await codeOf(run('tar', begin))).toBe('protocol');
    expect(
      await codeOf(
        run('fileCopy', async (session) => {
          await begin(session);
          await begin(session);
        }),
      ),
    ).toBe('protocol');
    for (const kind of ['fileCopy', 'folder'] as const)
      expect(await codeOf(run(kind, (session) => session.send('data', utf8('x'))))).toBe('protocol');
    expect(await codeOf(run('tar', (session) => session.send('done', { ...DONE, crc32: 1 })))).toBe(
      'protocol',
    );
    expect(await codeOf(run('fileCopy', (session) => session.send('done', DONE)))).toBe('protocol');
  });

  it('fails as its sink fails', async () => {
    const sink = { write: () => Promise.reject(new BackupError('io', 'no room')) };
    expect(await codeOf(run('tar', (session) => session.send('data', utf8('x')), sink))).toBe('io');
  });
});

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
