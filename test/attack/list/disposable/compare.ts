/** What a disposable may say that compares a snapshot with another, or with a volume. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { insert, of, rows } from '../rows.ts';
import { COMPARE } from '../sessions.ts';
import { requests } from './kit.ts';

export function compareCases(): Case[] {
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
      'note-flood',
      'sends 64 MiB of notes, as fast as it is granted',
      [
        at(DONE, {
          ...insert(
            frameBytes(
              NOTE,
              encodeCbor({ code: 'unreadable', path: 'x'.repeat(8000), detail: 'x'.repeat(8000) }),
            ),
            4000,
          ),
          granted: true,
        }),
      ],
      'claimed',
    ],
    [
      'left-out',
      'says that it left out more than there is',
      [at(DONE, of({ leftOut: Number.MAX_SAFE_INTEGER }))],
      'claimed',
    ],
  ]);
}
