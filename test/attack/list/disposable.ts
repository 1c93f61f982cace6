/** What a disposable may try that a crafted file system has taken over: each service by what its frames mean. */

import { z } from 'zod';
import { decodeWith, encodeCbor } from '../../../shared/cbor.ts';
import { MAX_BLOB_NUMBER, MAX_NUMBER_SET, MAX_REQUEST, MAX_TEXT } from '../../../shared/limits.ts';
import { NumberSet } from '../../../shared/numbers.ts';
import type { Bench } from '../bench.ts';
import { at, base64, caseOf } from '../case.ts';
import type { Case, Outcome, Sketch } from '../case.ts';
import { frameBytes } from '../peer/altered.ts';
import type { Act, Step, Turn } from '../peer/attack.ts';
import { typeOf } from '../program.ts';
import { BROWSE, COMPARE, EXPORT, PROVE, RESTORE, SCAN, VERIFY } from './sessions.ts';
import type { Target } from './sessions.ts';

const MiB = 1024 * 1024;

const of = (value: unknown): Act => ({ do: 'frame', payload: base64(encodeCbor(value)) });
const ofBytes = (bytes: Uint8Array): Act => ({ do: 'frame', payload: base64(bytes) });
const message = (service: string, name: string, value: unknown) =>
  frameBytes(typeOf(service, name), encodeCbor(value));
const insert = (bytes: Uint8Array, times = 1) => ({ do: 'insert', bytes: base64(bytes), times }) as const;

type Row = readonly [
  id: string,
  attack: string,
  turns: readonly Turn[],
  expected: Outcome | readonly Outcome[],
  more?: Partial<Sketch>,
];

function rows({ key, command, service, leaves }: Target, all: readonly Row[]): Case[] {
  return all.map(([id, attack, turns, expected, more]) =>
    caseOf({
      id: `${key}-${id}`,
      ...{ attack, command, service, leaves, turns },
      expected: typeof expected === 'string' ? [expected] : expected,
      ...more,
    }),
  );
}

/** Requests of any service that may read blobs. */
function requests(target: Target): Row[] {
  const get = typeOf(target.service, 'get');
  const ask = (numbers: number[]) => [at(get, of({ numbers }))];
  return [
    ['get-never', 'asks for a blob that was never stored', ask([999_999]), 'refused'],
    ['get-past-end', 'asks for the blob after the last', ask([1000]), 'refused'],
    ['get-last', 'asks for the largest blob number', ask([MAX_BLOB_NUMBER]), 'refused'],
    ['get-beyond', 'asks for a blob number beyond the largest', ask([MAX_BLOB_NUMBER + 1]), 'protocol'],
    ['get-none', 'asks for no blob', ask([]), 'protocol'],
    [
      'get-many',
      'asks for more blobs than a request may name',
      ask(Array.from({ length: MAX_REQUEST + 1 }, () => 2)),
      'protocol',
    ],
    [
      'get-endless',
      'asks for its blobs 5,000 times and takes none',
      [at(get, { do: 'repeat', times: 5000 })],
      ['limit', 'protocol', 'refused', 'honest'],
    ],
  ];
}

/** What the service of `target` said honestly. */
function steps(bench: Bench, { command, service }: Target): readonly Step[] {
  return bench.baseline(command).recordings[service] ?? [];
}

function scanCases(bench: Bench): Case[] {
  const name = (frame: string) => typeOf(SCAN.service, frame);
  const [GET, CONTENT, TREE, LIVE, DONE] = [
    name('get'),
    name('putContent'),
    name('putTree'),
    name('live'),
    name('done'),
  ];
  const recorded = steps(bench, SCAN);
  const stepOf = (type: number) => recorded.find((step) => step.type === type);
  const payload = (type: number) => Buffer.from(stepOf(type)?.payload ?? '', 'base64');
  const live = (set: NumberSet) => [at(LIVE, ofBytes(set.encode()))];
  const honest = NumberSet.decode(payload(LIVE));
  const last = Math.max(...honest);
  const done = fieldsOf(payload(DONE));
  const doneWith = (changes: object) => [at(DONE, of({ ...done, ...changes }))];
  const top = (number: number) => doneWith({ top: number });
  const note = (value: unknown) => [at(DONE, insert(message(SCAN.service, 'note', value)))];
  const NOTE = { code: 'unreadable', path: 'a', detail: 'b' };
  const checkpoint = (number: number) => message(SCAN.service, 'checkpoint', { top: number });
  const vault = bench.baseline('backup', 'vault').recordings[SCAN.service] ?? [];
  const many = NumberSet.of(Array.from({ length: 1_000_000 }, (_, i) => 2 * i));
  return rows(SCAN, [
    ...requests(SCAN),
    ['get-content', 'asks for old content', [at(GET, of({ numbers: [0] }))], 'refused'],
    [
      'get-content-late',
      'asks for old content after all else',
      [at(DONE, insert(message(SCAN.service, 'get', { numbers: [0] })))],
      ['refused', 'protocol'],
    ],
    [
      'get-own',
      'asks for what it put itself',
      [at(DONE, insert(message(SCAN.service, 'get', { numbers: [last] })))],
      'refused',
    ],
    [
      'get-of-other-vm',
      'asks for a number that only another VM has',
      [at(GET, of({ numbers: [Math.max(0, last - 1)] }))],
      'refused',
      { vm: 'vault' },
    ],
    ['live-never-owned', 'claims blobs that never were', live(NumberSet.range(0, 100_000)), 'refused'],
    [
      'live-next',
      'claims the blob it would put next',
      live(honest.union(NumberSet.of([last + 1]))),
      'refused',
    ],
    ['live-without-top', 'does not claim its own tree', live(honest.minus(NumberSet.of([last]))), 'refused'],
    ['live-empty', 'claims nothing', live(NumberSet.empty), 'refused'],
    ['live-elsewhere', 'claims numbers far away', live(NumberSet.range(5000, 5001)), 'refused'],
    ['live-million', 'claims a million scattered blobs', live(many), 'refused'],
    [
      'live-cap',
      'sends a number set as large as may be',
      [at(LIVE, ofBytes(Buffer.alloc(MAX_NUMBER_SET, 1)))],
      ['refused', 'protocol', 'store-damaged'],
    ],
    [
      'live-over-cap',
      'sends a number set larger than may be',
      [at(LIVE, ofBytes(Buffer.alloc(MAX_NUMBER_SET + 1, 1)))],
      'protocol',
    ],
    [
      'live-zero-run',
      'sends a number set with an empty run',
      [at(LIVE, ofBytes(Buffer.of(0, 0)))],
      ['protocol', 'store-damaged'],
    ],
    [
      'live-touching',
      'sends a number set with runs that touch',
      [at(LIVE, ofBytes(Buffer.of(0, 1, 0, 1)))],
      ['protocol', 'store-damaged'],
    ],
    [
      'live-long-varint',
      'sends a number set with a long form',
      [at(LIVE, ofBytes(Buffer.of(0x80, 0x00, 1)))],
      ['protocol', 'store-damaged'],
    ],
    [
      'live-huge',
      'sends a number set beyond all numbers',
      [at(LIVE, ofBytes(Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1)))],
      ['protocol', 'store-damaged'],
    ],
    [
      'live-half',
      'sends half a number set',
      [at(LIVE, ofBytes(Buffer.of(0)))],
      ['protocol', 'store-damaged'],
    ],
    ['live-none', 'sends no number set', [at(LIVE, { do: 'drop' })], 'protocol'],
    ['live-twice', 'sends two number sets', [at(LIVE, { do: 'repeat', times: 2 })], 'protocol'],
    ['live-late', 'sends its number set after its result', [at(LIVE, { do: 'swap' })], 'protocol'],
    ['top-never', 'names a tree that never was', top(999_999), 'refused'],
    ['top-content', 'names content as its tree', top(0), 'refused'],
    ['top-beyond', 'names a tree beyond all numbers', top(MAX_BLOB_NUMBER + 1), 'protocol'],
    [
      'kind',
      'puts its tree as content',
      [{ type: TREE, nth: 1, act: { do: 'frame', type: CONTENT } }],
      'refused',
    ],
    ['put-missing', 'leaves out a blob that it counts', [at(TREE, { do: 'drop' })], 'refused'],
    ['put-order', 'exchanges two blobs', [at(CONTENT, { do: 'swap' })], ['claimed', 'honest']],
    [
      'put-content',
      'puts other content than it read',
      [at(CONTENT, { do: 'flip', at: 0.5 })],
      ['claimed', 'honest'],
    ],
    [
      'put-oversized',
      'puts a blob larger than may be',
      [at(CONTENT, { do: 'frame', length: 16 * MiB - 3 })],
      'protocol',
    ],
    [
      'put-ungranted',
      'puts more than it was granted',
      [at(CONTENT, { do: 'zeros', type: CONTENT, size: 8 * MiB, times: 20 })],
      ['protocol', 'refused'],
      { blurt: true, apart: true },
    ],
    [
      'put-flood',
      'puts 160 MiB of blobs, as fast as it is granted',
      [at(LIVE, { do: 'zeros', type: CONTENT, size: 4 * MiB, times: 40, granted: true })],
      'claimed',
      { apart: true },
    ],
    [
      'put-tiny-flood',
      'puts 200,000 blobs of no byte without a grant',
      [at(CONTENT, insert(frameBytes(CONTENT, Buffer.alloc(0)), 200_000))],
      'protocol',
      { blurt: true, apart: true },
    ],
    [
      'put-late',
      'puts after its result',
      [
        at(DONE, {
          do: 'say',
          bytes: base64(Buffer.concat([frameBytes(DONE, payload(DONE)), frameBytes(CONTENT, Buffer.of(1))])),
        }),
      ],
      'protocol',
    ],
    ['checkpoint-never', 'commits a tree that never was', [at(DONE, insert(checkpoint(999_999)))], 'refused'],
    ['checkpoint-content', 'commits content as a tree', [at(DONE, insert(checkpoint(0)))], 'refused'],
    [
      'checkpoint-twice',
      'commits again before the first commit is done',
      [at(DONE, insert(checkpoint(last), 2))],
      'protocol',
      { leaves: ['objects', 'root', 'pending'] },
    ],
    [
      'checkpoint-flood',
      'commits 1,000 times',
      [at(DONE, insert(checkpoint(last), 1000))],
      'protocol',
      { leaves: ['objects', 'root', 'pending'] },
    ],
    [
      'counts',
      'counts more files than there can be',
      doneWith({ counts: { ...countsOf(done['counts']), files: Number.MAX_SAFE_INTEGER } }),
      'claimed',
    ],
    ['digest', 'tells another digest', doneWith({ digest: new Uint8Array(32) }), ['claimed', 'honest']],
    ['digest-short', 'tells a digest of 31 bytes', doneWith({ digest: new Uint8Array(31) }), 'protocol'],
    ['note-escapes', 'hides terminal escapes in a note', note({ ...NOTE, path: '\u001b[2J' }), 'protocol'],
    [
      'note-newline',
      'forges a line in a note',
      note({ ...NOTE, detail: 'x\nerror: all is lost' }),
      'protocol',
    ],
    [
      'note-long',
      'sends a note longer than may be',
      note({ ...NOTE, detail: 'x'.repeat(MAX_TEXT + 1) }),
      'protocol',
    ],
    ['note-code', 'sends a note of an unknown kind', note({ ...NOTE, code: 'free-beer' }), 'protocol'],
    [
      'note-flood',
      'sends 20,000 notes',
      [at(DONE, insert(message(SCAN.service, 'note', NOTE), 20_000))],
      ['claimed', 'warned'],
    ],
    [
      'note-silent-flood',
      'sends 20,000 notes of what is left out',
      [at(DONE, insert(message(SCAN.service, 'note', { ...NOTE, code: 'skipped-socket' }), 20_000))],
      ['claimed', 'honest'],
    ],
    [
      'progress-flood',
      'reports progress 100,000 times',
      [
        at(
          DONE,
          insert(
            message(SCAN.service, 'progress', { files: 1, bytes: 1, totalFiles: 0, totalBytes: 0 }),
            100_000,
          ),
        ),
      ],
      'honest',
    ],
    [
      'progress-huge',
      'reports more progress than there can be',
      [
        at(
          DONE,
          insert(
            message(SCAN.service, 'progress', {
              files: Number.MAX_SAFE_INTEGER,
              bytes: Number.MAX_SAFE_INTEGER,
              totalFiles: 0,
              totalBytes: 0,
            }),
          ),
        ),
      ],
      'honest',
    ],
    [
      'replay-other-vm',
      'says what it said of another VM',
      [],
      ['refused', 'claimed', 'protocol'],
      { recordings: { [SCAN.service]: vault } },
    ],
    [
      'replay-earlier-live',
      'claims what an earlier session claimed',
      [at(LIVE, ofBytes(NumberSet.range(0, 3).encode()))],
      ['refused', 'claimed'],
    ],
  ]);
}

function countsOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}

function fieldsOf(payload: Uint8Array): Record<string, unknown> {
  return decodeWith(z.record(z.string(), z.unknown()), payload);
}

/** What was said last of `type` in the recorded conversation of `target`. */
function payloadOf(bench: Bench, target: Target, type: number, vm = 'work'): Buffer {
  const said = bench.baseline(target.command, vm).recordings[target.service] ?? [];
  return Buffer.from(said.findLast((step) => step.type === type)?.payload ?? '', 'base64');
}

function restoreCases(bench: Bench): Case[] {
  const get = typeOf(RESTORE.service, 'get');
  const done = RESTORE.frame;
  const note = (value: unknown) => [at(done, insert(message(RESTORE.service, 'note', value)))];
  const newest = Math.max(...liveNumbers(bench));
  const result = fieldsOf(payloadOf(bench, RESTORE, done));
  return rows(RESTORE, [
    ...requests(RESTORE),
    [
      'get-newer',
      'asks for a blob of a newer snapshot than it restores',
      [at(get, of({ numbers: [newest] }))],
      'refused',
      { command: 'restore-first' },
    ],
    [
      'nothing-written',
      'says that it is done before it wrote anything',
      [],
      'verify-failed',
      { recordings: { [RESTORE.service]: atOnce(steps(bench, RESTORE), done), [VERIFY.service]: null } },
    ],
    ['counts', 'counts other files than it restored', [at(done, of({ ...result, files: 99 }))], 'claimed'],
    [
      'note-escapes',
      'hides terminal escapes in a note',
      note({ code: 'not-restored', path: '\u001b]0;x\u0007', detail: '' }),
      'protocol',
    ],
    [
      'note',
      'notes what it could not restore',
      note({ code: 'not-restored', path: 'a', detail: 'b' }),
      ['claimed', 'warned'],
    ],
    [
      'replay-other-vm',
      'says what it said of another VM',
      [],
      ['refused', 'claimed', 'honest'],
      {
        recordings: {
          [RESTORE.service]: bench.baseline('restore', 'vault').recordings[RESTORE.service] ?? [],
        },
      },
    ],
  ]);
}

/** What the newest snapshot refers to, as the last honest scan would have said. */
function liveNumbers(bench: Bench): NumberSet {
  const honest = NumberSet.decode(payloadOf(bench, SCAN, typeOf(SCAN.service, 'live')));
  // Before what that scan itself put, which was never committed.
  const top = Number(fieldsOf(payloadOf(bench, SCAN, SCAN.frame))['top']);
  const put = bench.baseline('backup').recordings[SCAN.service] ?? [];
  const own = put.filter(({ type }) => type === 0x80 || type === 0x81).length;
  return honest.minus(NumberSet.range(top - own + 1, top + 1));
}

/** Only the result and what follows it, at once. */
function atOnce(recorded: readonly Step[], done: number): Step[] {
  const from = recorded.findIndex(({ type }) => type === done);
  return recorded.slice(from).map((step) => ({ ...step, after: 1 }));
}

function verifyCases(bench: Bench): Case[] {
  const done = VERIFY.frame;
  const honest = fieldsOf(payloadOf(bench, VERIFY, done));
  const other = fieldsOf(payloadOf(bench, VERIFY, done, 'vault'));
  const first = bench.baseline('restore-first').recordings[VERIFY.service] ?? [];
  const get = frameBytes(typeOf(RESTORE.service, 'get'), encodeCbor({ numbers: [2] }));
  const digest = (value: unknown) => [at(done, of({ ...honest, digest: value }))];
  return rows(VERIFY, [
    ['digest', 'tells another digest', digest(new Uint8Array(32)), 'verify-failed'],
    [
      'digest-bit',
      'tells a digest of which one bit is wrong',
      [at(done, of({ ...honest, digest: flipped(honest['digest']) }))],
      'verify-failed',
    ],
    ['digest-short', 'tells a digest of 31 bytes', digest(new Uint8Array(31)), 'protocol'],
    ['digest-long', 'tells a digest of 33 bytes', digest(new Uint8Array(33)), 'protocol'],
    ['digest-text', 'tells a digest as text', digest('a'.repeat(32)), 'protocol'],
    ['replay-other-vm', 'tells the digest of another VM', [at(done, of(other))], 'verify-failed'],
    [
      'replay-other-snapshot',
      'tells the digest of an older snapshot',
      [],
      'verify-failed',
      { recordings: { [VERIFY.service]: first } },
    ],
    ['get', 'asks for a blob, which it must do without', [at(done, insert(get))], 'protocol'],
    [
      'at-once',
      'answers before it was asked',
      [],
      'honest',
      {
        recordings: {
          [VERIFY.service]: atOnce(steps(bench, VERIFY), done).map((step) => ({ ...step, after: 0 })),
        },
      },
    ],
  ]);
}

function proveCases(bench: Bench): Case[] {
  const done = PROVE.frame;
  const honest = fieldsOf(payloadOf(bench, PROVE, done));
  return rows(PROVE, [
    ...requests(PROVE),
    [
      'digest',
      'tells another digest',
      [at(done, of({ ...honest, digest: new Uint8Array(32) }))],
      'verify-failed',
    ],
    [
      'digest-bit',
      'tells a digest of which one bit is wrong',
      [at(done, of({ ...honest, digest: flipped(honest['digest']) }))],
      'verify-failed',
    ],
    [
      'digest-short',
      'tells a digest of 31 bytes',
      [at(done, of({ ...honest, digest: new Uint8Array(31) }))],
      'protocol',
    ],
    [
      'at-once',
      'answers before it read anything',
      [],
      'honest',
      { recordings: { [PROVE.service]: atOnce(steps(bench, PROVE), done) } },
    ],
  ]);
}

function flipped(bytes: unknown): Uint8Array {
  const changed = bytes instanceof Uint8Array ? new Uint8Array(bytes) : new Uint8Array(32);
  changed[31] = (changed[31] ?? 0) ^ 1;
  return changed;
}

function exportCases(bench: Bench): Case[] {
  const name = (frame: string) => typeOf(EXPORT.service, frame);
  const [DATA, DONE] = [name('data'), name('done')];
  const honest = fieldsOf(payloadOf(bench, EXPORT, DONE));
  const done = (changes: object) => [at(DONE, of({ ...honest, ...changes }))];
  const begin = frameBytes(name('begin'), encodeCbor({ plainNames: true }));
  return rows(EXPORT, [
    ...requests(EXPORT),
    ['data', 'sends another archive', [at(DATA, { do: 'flip', at: 0.5 })], ['claimed', 'honest']],
    ['data-none', 'sends no archive', [at(DATA, { do: 'drop' })], ['claimed', 'honest']],
    [
      'data-oversized',
      'sends a piece larger than may be',
      [at(DATA, { do: 'frame', length: MiB + 1 })],
      'protocol',
    ],
    [
      'data-ungranted',
      'sends more than it was granted',
      [at(DATA, { do: 'zeros', type: DATA, size: MiB, times: 200 })],
      ['protocol', 'limit'],
      { blurt: true },
    ],
    [
      'data-late',
      'sends more of the archive after its result',
      [
        at(DONE, {
          do: 'say',
          bytes: base64(
            Buffer.concat([frameBytes(DONE, encodeCbor(honest)), frameBytes(DATA, Buffer.of(1))]),
          ),
        }),
      ],
      'protocol',
    ],
    ['begin', 'begins a file copy that nobody asked for', [at(DATA, insert(begin))], 'protocol'],
    ['checksum', 'tells a checksum that nobody asked for', done({ crc32: 1 }), 'protocol'],
    ['checksum-huge', 'tells a checksum of more than 32 bits', done({ crc32: 2 ** 32 }), 'protocol'],
    [
      'missing',
      'says that what was asked for is not there',
      done({ missing: [0] }),
      'unknown-path',
      { leaves: ['output'] },
    ],
    [
      'missing-beyond',
      'says so of what was not asked for',
      done({ missing: [2 ** 40] }),
      ['unknown-path', 'protocol'],
      { leaves: ['output'] },
    ],
    [
      'missing-many',
      'says so of more paths than may be named',
      done({ missing: Array.from({ length: MAX_REQUEST + 1 }, () => 0) }),
      'protocol',
    ],
    ['counts', 'counts other files than it sent', done({ files: 99 }), 'claimed'],
  ]);
}

const ENTRY = {
  path: 'a',
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 1,
  mtime: 0,
  beforeEpoch: false,
  mtimeNanoseconds: 0,
  target: null,
  linked: false,
  attributes: 0,
  flags: [],
  doubtful: false,
  unreadable: false,
};

function browseCases(bench: Bench): Case[] {
  const name = (frame: string) => typeOf(BROWSE.service, frame);
  const [GET, PAGE, VERSIONS] = [name('get'), name('entries'), name('versions')];
  const page = (...entries: object[]) => [at(PAGE, of({ entries }))];
  const other = payloadOf(bench, BROWSE, PAGE, 'vault');
  const versions = (...all: object[]) => [at(VERSIONS, of({ versions: all }))];
  const version = { newest: 0, oldest: 0, entry: ENTRY, changed: [] };
  const inHistory = { command: 'history' } as const;
  return [
    ...rows(BROWSE, [
      ...requests(BROWSE),
      ['get-content', 'asks for content', [at(GET, of({ numbers: [0] }))], 'refused'],
      [
        'get-of-other-vm',
        'asks for a number that only another VM has',
        [at(GET, of({ numbers: [5] }))],
        'refused',
        { vm: 'vault' },
      ],
      [
        'more',
        'lists more than the snapshot has',
        page(...Array.from({ length: 200 }, () => ENTRY)),
        'protocol',
      ],
      ['endless', 'never stops listing', [at(PAGE, { do: 'repeat', times: 1000 })], 'protocol'],
      [
        'page-many',
        'sends more rows than a page may have',
        page(...Array.from({ length: MAX_REQUEST + 1 }, () => ENTRY)),
        'protocol',
      ],
      ['page-empty', 'sends an empty page', page(), 'protocol'],
      [
        'page-ungranted',
        'sends more pages than it was granted',
        [at(PAGE, { do: 'zeros', type: PAGE, size: 4 * MiB, times: 12 })],
        'protocol',
        { blurt: true },
      ],
      [
        'page-over-cap',
        'sends a page larger than may be',
        [at(PAGE, { do: 'frame', length: 4 * MiB + 1 })],
        'protocol',
      ],
      ['replay-other-vm', 'lists another VM', [at(PAGE, ofBytes(other))], 'claimed'],
      ['name-escapes', 'hides terminal escapes in a name', page({ ...ENTRY, path: '\u001b[2J' }), 'protocol'],
      [
        'name-newline',
        'forges a line in a name',
        page({ ...ENTRY, path: 'a\nerror: all is lost' }),
        'protocol',
      ],
      ['name-bidi', 'turns a name around', page({ ...ENTRY, path: 'a\u202efdp.exe' }), 'protocol'],
      ['name-del', 'deletes in a name', page({ ...ENTRY, path: 'a\u007f' }), 'protocol'],
      [
        'name-long',
        'lists a name longer than may be',
        page({ ...ENTRY, path: 'a'.repeat(MAX_TEXT + 1) }),
        'protocol',
      ],
      [
        'target-escapes',
        'hides terminal escapes in the target of a link',
        page({ ...ENTRY, type: 'symlink', target: '\u009b2J' }),
        'protocol',
      ],
      ['type', 'lists a door', page({ ...ENTRY, type: 'door' }), 'protocol'],
      ['mode', 'lists impossible permissions', page({ ...ENTRY, mode: 0o10000 }), 'protocol'],
      ['owner', 'lists an impossible owner', page({ ...ENTRY, uid: 2 ** 32 }), 'protocol'],
      ['time', 'lists an impossible time', page({ ...ENTRY, mtimeNanoseconds: 1e9 }), 'protocol'],
      [
        'time-far',
        'lists a time in the far future',
        page({ ...ENTRY, mtime: Number.MAX_SAFE_INTEGER }),
        'claimed',
      ],
      ['flags', 'lists unknown flags', page({ ...ENTRY, flags: ['sparkling'] }), 'protocol'],
      [
        'versions',
        'answers another question',
        [at(PAGE, { do: 'frame', type: VERSIONS, payload: base64(encodeCbor({ versions: [version] })) })],
        'protocol',
      ],
      [
        'not-found',
        'says that the path is not there',
        [at(name('done'), of({ found: false }))],
        ['unknown-path', 'claimed'],
      ],
    ]),
    ...rows({ ...BROWSE, key: 'history' }, [
      ['none', 'leaves out all versions', [at(VERSIONS, { do: 'drop' })], 'protocol', inHistory],
      [
        'beyond',
        'tells versions of snapshots that are none',
        versions({ ...version, oldest: 7 }),
        'protocol',
        inHistory,
      ],
      [
        'order',
        'tells versions out of order',
        versions({ ...version, newest: 1, oldest: 1 }),
        'protocol',
        inHistory,
      ],
      [
        'backwards',
        'tells a version that ends before it began',
        versions({ ...version, newest: 0, oldest: 0 }, { ...version, newest: 1, oldest: 0 }),
        'protocol',
        inHistory,
      ],
      ['overlap', 'tells a version twice', versions(version, version), 'protocol', inHistory],
      [
        'changed',
        'tells an unknown change',
        versions({ ...version, changed: ['mood'] }),
        'protocol',
        inHistory,
      ],
      [
        'entries',
        'lists instead',
        [at(VERSIONS, { do: 'frame', type: PAGE, payload: base64(encodeCbor({ entries: [ENTRY] })) })],
        'protocol',
        inHistory,
      ],
      ['get-content', 'asks for content', [at(GET, of({ numbers: [0] }))], 'refused', inHistory],
    ]),
  ];
}

function compareCases(): Case[] {
  const name = (frame: string) => typeOf(COMPARE.service, frame);
  const [GET, PAGE, NOTE, DONE] = [name('get'), name('differences'), name('note'), name('done')];
  const file = { type: 'file', size: 1 };
  const page = (changes: object) => [
    at(PAGE, of({ differences: [{ path: 'a', before: file, after: null, fields: [], ...changes }] })),
  ];
  const note = (value: unknown) => [at(DONE, insert(frameBytes(NOTE, encodeCbor(value))))];
  return rows(COMPARE, [
    ...requests(COMPARE),
    ['get-content', 'asks for content', [at(GET, of({ numbers: [0] }))], 'refused'],
    ['nowhere', 'tells of a path on neither side', page({ before: null }), 'protocol'],
    ['no-difference', 'tells of a difference that is none', page({ after: file }), 'protocol'],
    ['both', 'tells what differs of a path that is gone', page({ fields: ['content'] }), 'protocol'],
    ['escapes', 'hides terminal escapes in a name', page({ path: '\u009b2J' }), 'protocol'],
    ['field', 'invents a field', page({ after: file, fields: ['colour'] }), 'protocol'],
    [
      'fields-many',
      'tells more fields than there are',
      page({ after: file, fields: Array.from({ length: 11 }, () => 'mode') }),
      'protocol',
    ],
    ['other', 'tells of another difference', page({}), 'claimed'],
    [
      'snapshots-more',
      'tells of more differences than two snapshots can have',
      [at(PAGE, { do: 'repeat', times: 1000 })],
      'protocol',
      { command: 'diff-snapshots' },
    ],
    [
      'note-escapes',
      'hides terminal escapes in a note',
      note({ code: 'unreadable', path: '\u001b[2J', detail: '' }),
      'protocol',
    ],
    [
      'note-ungranted',
      'sends more notes than it was granted',
      [
        at(
          DONE,
          insert(
            frameBytes(
              NOTE,
              encodeCbor({ code: 'unreadable', path: 'x'.repeat(8000), detail: 'x'.repeat(8000) }),
            ),
            4000,
          ),
        ),
      ],
      ['protocol', 'claimed', 'warned'],
      { blurt: true },
    ],
    [
      'left-out',
      'says that it left out more than there is',
      [at(DONE, of({ leftOut: Number.MAX_SAFE_INTEGER }))],
      'claimed',
    ],
  ]);
}

export function disposableCases(bench: Bench): Case[] {
  return [
    ...scanCases(bench),
    ...restoreCases(bench),
    ...verifyCases(bench),
    ...proveCases(bench),
    ...exportCases(bench),
    ...browseCases(bench),
    ...compareCases(),
  ];
}
