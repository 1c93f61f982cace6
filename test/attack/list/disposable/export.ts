/** What a disposable may say that sends an archive. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_REQUEST } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { MiB, insert, of, rows } from '../rows.ts';
import { EXPORT } from '../sessions.ts';
import { fieldsOf, payloadOf, requests } from './kit.ts';

export function exportCases(bench: Bench): Case[] {
  const name = (frame: string) => typeOf(EXPORT.service, frame);
  const [DATA, DONE] = [name('data'), name('done')];
  const honest = fieldsOf(payloadOf(bench, EXPORT, DONE));
  const done = (changes: object) => [at(DONE, of({ ...honest, ...changes }))];
  const begin = frameBytes(name('begin'), encodeCbor({ plainNames: true }));
  return rows(EXPORT, [
    ...requests(EXPORT),
    ['data', 'sends another archive', [at(DATA, { do: 'flip', at: 0.5 })], 'honest'],
    ['data-none', 'sends no archive', [at(DATA, { do: 'drop' })], 'honest'],
    [
      'data-oversized',
      'sends a piece larger than may be',
      [at(DATA, { do: 'frame', length: MiB + 1 })],
      'protocol',
    ],
    [
      'data-endless',
      'sends more than its snapshot can hold, as fast as it is granted',
      [at(DATA, { do: 'zeros', type: DATA, size: MiB - 300, times: 400, granted: true })],
      'limit',
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
    ['missing-beyond', 'says so of what was not asked for', done({ missing: [2 ** 40] }), 'protocol'],
    [
      'missing-many',
      'says so of more paths than may be named',
      done({ missing: Array.from({ length: MAX_REQUEST + 1 }, () => 0) }),
      'protocol',
    ],
    ['counts', 'counts other files than it sent', done({ files: 99 }), 'claimed'],
  ]);
}
