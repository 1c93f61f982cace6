/** R02: dom0's side of the sessions with disposables, against peers that say what a test has them say. */

import { describe, expect, it } from 'vitest';
import { runCompare, runEntries, runHistory, runNeeding } from '../../dom0/session/query-sessions.ts';
import { runExport, runProve, runRestore, runVerify } from '../../dom0/session/read-sessions.ts';
import type { ExportSink } from '../../dom0/session/read-sessions.ts';
import type { Note } from '../../dom0/session/report.ts';
import { utf8 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { NumberSet } from '../../shared/numbers.ts';
import { browse, compare } from '../../shared/protocol/browse.ts';
import type { Difference, ListEntry, Need, Version } from '../../shared/protocol/browse.ts';
import { exportPaths, prove, restore, verify } from '../../shared/protocol/disposable.ts';
import { rejection } from '../support/failure.ts';
import { LIST_ENTRY as ENTRY } from '../support/list-entry.ts';
import { NOTE, PROGRESS, DIGEST, FOLDER, accessOf, codeOf, played, quiet } from './session-kit.ts';

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
