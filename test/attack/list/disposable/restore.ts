/** What a disposable may say that restores a volume, or tells the digest of one. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { NumberSet } from '../../../../shared/numbers.ts';
import type { Bench } from '../../bench.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { insert, of, rows } from '../rows.ts';
import { PROVE, RESTORE, SCAN, VERIFY } from '../sessions.ts';
import { atOnce, fieldsOf, payloadOf, requests, steps } from './kit.ts';

export function restoreCases(bench: Bench): Case[] {
  const get = typeOf(RESTORE.service, 'get');
  const done = RESTORE.frame;
  const note = (value: unknown) => [
    at(done, insert(frameBytes(typeOf(RESTORE.service, 'note'), encodeCbor(value)))),
  ];
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
      'claimed',
    ],
    [
      'replay-other-vm',
      'says what it said of another VM',
      [],
      'refused',
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

export function verifyCases(bench: Bench): Case[] {
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

export function proveCases(bench: Bench): Case[] {
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
