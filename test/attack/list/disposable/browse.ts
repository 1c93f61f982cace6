/** What a disposable may say that lists what a snapshot holds, or the history of a path. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_REQUEST, MAX_TEXT } from '../../../../shared/limits.ts';
import { LIST_ENTRY as ENTRY } from '../../../support/list-entry.ts';
import type { Bench } from '../../bench.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { typeOf } from '../../program.ts';
import { MiB, of, ofBytes, rows } from '../rows.ts';
import { BROWSE, NEEDING } from '../sessions.ts';
import { payloadOf, requests } from './kit.ts';

export function browseCases(bench: Bench): Case[] {
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
        'unknown-path',
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

/** What is said to need lost blobs. */
export function needingCases(): Case[] {
  const [NEEDS, GET] = [NEEDING.frame, typeOf(NEEDING.service, 'get')];
  const file = { kind: 'file', top: 0, path: 'file-0', bytes: 5 };
  const list = { kind: 'list', top: 0, path: 'a', until: 'b', within: null, entries: 1 };
  const needs = (...all: object[]) => [at(NEEDS, of({ needs: all }))];
  return rows(NEEDING, [
    ...requests(NEEDING),
    ['get-content', 'asks for content', [at(GET, of({ numbers: [0] }))], 'refused'],
    ['other', 'names another file', needs({ ...file, path: 'innocent' }), 'claimed'],
    ['none', 'says that nothing is hit', [at(NEEDS, { do: 'drop' })], 'claimed'],
    ['list', 'names a part of a list that is whole', needs(list), 'claimed'],
    [
      'beyond',
      'names a file of a snapshot that was not asked about',
      needs({ ...file, top: 99 }),
      'protocol',
    ],
    ['order', 'goes back to a snapshot', needs({ ...file, top: 1 }, file), 'protocol'],
    ['more', 'names more than there is', needs(...Array.from({ length: 200 }, () => file)), 'protocol'],
    ['empty', 'sends an empty page', needs(), 'protocol'],
    ['path-escapes', 'hides terminal escapes in a path', needs({ ...file, path: '\u001b[2J' }), 'protocol'],
    ['until-escapes', 'hides them where a part ends', needs({ ...list, until: '\u009b2J' }), 'protocol'],
    ['within-escapes', 'hides them in a folder', needs({ ...list, within: 'a\nb' }), 'protocol'],
    ['entries', 'names a part without names', needs({ ...list, entries: 0 }), 'protocol'],
    ['kind', 'names something else', needs({ ...file, kind: 'soul' }), 'protocol'],
    [
      'listing',
      'lists instead',
      [
        at(NEEDS, {
          do: 'frame',
          type: typeOf(NEEDING.service, 'entries'),
          payload: base64(encodeCbor({ entries: [ENTRY] })),
        }),
      ],
      'protocol',
    ],
  ]);
}
