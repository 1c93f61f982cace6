/** What a reader of a volume may say that a crafted file system has taken over. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_BLOB_NUMBER, MAX_NUMBER_SET, MAX_TEXT } from '../../../../shared/limits.ts';
import { NumberSet } from '../../../../shared/numbers.ts';
import type { Bench } from '../../bench.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { MiB, insert, of, ofBytes, rows } from '../rows.ts';
import { SCAN } from '../sessions.ts';
import { fieldsOf, requests, steps } from './kit.ts';

const message = (service: string, name: string, value: unknown) =>
  frameBytes(typeOf(service, name), encodeCbor(value));

export function scanCases(bench: Bench): Case[] {
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
  const checkpoint = (number: number) =>
    message(SCAN.service, 'checkpoint', { top: number, changes: NO_CHANGES });
  const vault = bench.baseline('backup', 'vault').recordings[SCAN.service] ?? [];
  const many = NumberSet.of(Array.from({ length: 1_000_000 }, (_, i) => 2 * i));
  return rows(SCAN, [
    ...requests(SCAN),
    ['get-content', 'asks for old content', [at(GET, of({ numbers: [0] }))], 'refused'],
    [
      'get-content-late',
      'asks for old content after all else',
      // And waits: who says that it is done gets nothing, asked for or not.
      [
        at(
          DONE,
          { do: 'say', bytes: base64(message(SCAN.service, 'get', { numbers: [0] })) },
          { do: 'stall' },
        ),
      ],
      'refused',
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
      'refused',
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
      'protocol',
    ],
    [
      'live-touching',
      'sends a number set with runs that touch',
      [at(LIVE, ofBytes(Buffer.of(0, 1, 0, 1)))],
      'protocol',
    ],
    [
      'live-long-varint',
      'sends a number set with a long form',
      [at(LIVE, ofBytes(Buffer.of(0x80, 0x00, 1)))],
      'protocol',
    ],
    [
      'live-huge',
      'sends a number set beyond all numbers',
      [at(LIVE, ofBytes(Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1)))],
      'protocol',
    ],
    ['live-half', 'sends half a number set', [at(LIVE, ofBytes(Buffer.of(0)))], 'protocol'],
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
    ['put-order', 'exchanges two blobs', [at(CONTENT, { do: 'swap' })], 'honest'],
    ['put-content', 'puts other content than it read', [at(CONTENT, { do: 'flip', at: 0.5 })], 'honest'],
    [
      'put-oversized',
      'puts a blob larger than may be',
      [at(CONTENT, { do: 'frame', length: 16 * MiB - 3 })],
      'protocol',
    ],
    [
      'put-ungranted',
      'puts more than it was granted',
      // Two of them are more than the first grant: the second would have to wait until the first is stored.
      [at(CONTENT, { do: 'zeros', type: CONTENT, size: 16 * MiB - 4, times: 20 })],
      'protocol',
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
      'put-quota',
      'puts 280 MiB of blobs as it is granted, though its volume holds 1 MiB',
      [at(LIVE, { do: 'zeros', type: CONTENT, size: 4 * MiB, times: 70, granted: true })],
      'limit',
      { apart: true, capacity: MiB },
    ],
    [
      'put-tiny-granted',
      'puts 60,000 blobs of no byte, which the first grant allows',
      [at(CONTENT, insert(frameBytes(CONTENT, Buffer.alloc(0)), 60_000))],
      'protocol',
      { blurt: true, apart: true },
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
    ['digest', 'tells another digest', doneWith({ digest: new Uint8Array(32) }), 'honest'],
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
      'claimed',
    ],
    [
      'note-silent-flood',
      'sends 20,000 notes of what is left out',
      [at(DONE, insert(message(SCAN.service, 'note', { ...NOTE, code: 'skipped-socket' }), 20_000))],
      'claimed',
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
      'refused',
      { recordings: { [SCAN.service]: vault } },
    ],
    [
      'replay-earlier-live',
      'claims what an earlier session claimed',
      [at(LIVE, ofBytes(NumberSet.range(0, 3).encode()))],
      'refused',
    ],
  ]);
}

const NO_CHANGES = { changedFiles: 0, newFiles: 0, rewrittenFiles: 0, deletedFiles: 0 };

function countsOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
