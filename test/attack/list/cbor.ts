/** Attacks in the CBOR of control frames and pages: what a strict reader must refuse before anything looks at it. */

import { at, base64, caseOf } from '../case.ts';
import type { Case } from '../case.ts';
import { head } from '../peer/cbor.ts';
import type { Act, Edit } from '../peer/attack.ts';
import { BROWSE, PUT, RESTORE, SCAN, SET_ROOT, VERIFY } from './sessions.ts';

const edit = (item: number, how: Edit): Act => ({ do: 'cbor', item, edit: how });
const raw = (hex: string): Act => ({ do: 'frame', payload: base64(Buffer.from(hex, 'hex')) });
const replace = (item: number, hex: string): Act =>
  edit(item, { how: 'replace', bytes: base64(Buffer.from(hex, 'hex')) });

/** Item 0 of a frame is its map, item 1 the first key, item 2 the first value. */
const FORMS: readonly (readonly [string, string, Act])[] = [
  ['long-head', 'a map header in a longer form than it needs', edit(0, { how: 'lengthen', steps: 1 })],
  ['long-key', 'a key whose length is in a longer form', edit(1, { how: 'lengthen', steps: 1 })],
  ['long-value', 'a value in the longest form', edit(2, { how: 'lengthen', steps: 4 })],
  ['tag', 'a tag before a value', edit(2, { how: 'tag', tag: 1 })],
  ['tag-all', 'a tag before the message', edit(0, { how: 'tag', tag: 55799 })],
  ['tag-regexp', 'a regular expression', replace(2, 'd81b82662f2e2a2f67')],
  ['tag-set', 'a set', replace(2, 'd90102820102')],
  ['indefinite-map', 'a map of unstated length', edit(0, { how: 'indefinite' })],
  ['indefinite-text', 'a text in pieces', edit(1, { how: 'indefinite' })],
  ['negative', 'a negative number', replace(2, '20')],
  ['float', 'a float', replace(2, 'fb3ff0000000000000')],
  ['nan', 'not a number', replace(2, 'f97e00')],
  ['undefined', 'undefined', replace(2, 'f7')],
  ['simple', 'a simple value', replace(2, 'f8ff')],
  ['break', 'a break without a beginning', replace(2, 'ff')],
  ['null', 'null', replace(2, 'f6')],
  ['2^53', 'a number that a double cannot hold', replace(2, '1b0020000000000000')],
  ['2^64', 'the largest number there is', replace(2, '1bffffffffffffffff')],
  ['deep', 'arrays in arrays, nine deep', edit(2, { how: 'nest', depth: 9 })],
  ['deeper', 'arrays in arrays, 60,000 deep', raw(`${'81'.repeat(60_000)}00`)],
  ['deep-maps', 'maps in maps, 10,000 deep', raw(`${'a16161'.repeat(10_000)}00`)],
  ['duplicate', 'a key twice', edit(1, { how: 'times', times: 2 })],
  ['missing', 'a field left out', edit(1, { how: 'times', times: 0 })],
  ['unknown', 'a field that nobody knows', edit(0, { how: 'field', key: 'extra' })],
  ['proto', 'a field named __proto__', edit(0, { how: 'field', key: '__proto__' })],
  ['bom', 'a field whose name begins with a byte order mark', edit(0, { how: 'field', key: '\ufeffx' })],
  ['not-utf8', 'a key that is not UTF-8', replace(1, '62c328')],
  ['bytes-key', 'a key of bytes', edit(1, { how: 'major', major: 2 })],
  ['number-key', 'a number as a key', replace(1, '01')],
  ['long-map', 'a map of 2^32 pairs', edit(0, { how: 'number', value: 2 ** 32 })],
  ['long-array', 'an array of 2^32 items', replace(2, '9b0000000100000000')],
  ['long-bytes', 'bytes of 4 GiB', replace(2, '5affffffff')],
  ['longer-bytes', 'bytes of 2^53 and more', replace(2, '5b0020000000000000')],
  ['trailing', 'a byte after the message', { do: 'grow', bytes: base64(Buffer.of(0xf6)), at: 1 }],
  ['second', 'a second message in the frame', { do: 'grow', bytes: base64(Buffer.of(0xa0)), at: 1 }],
  ['half', 'half of the message', { do: 'shrink', bytes: 2, at: 1 }],
  ['array', 'an array for a map', edit(0, { how: 'major', major: 4 })],
  ['text', 'a text for a map', raw(Buffer.concat([head(3, 5), Buffer.from('hello')]).toString('hex'))],
  ['reserved', 'a reserved length', replace(2, '1c')],
];

/** Two keys are needed to have them out of order. */
const UNSORTED: Act = edit(3, { how: 'unsort' });
/** An empty map has neither a key nor a value to spoil. */
const OF_EMPTY = [
  'long-head',
  'tag-all',
  'indefinite-map',
  'deeper',
  'deep-maps',
  'unknown',
  'proto',
  'bom',
  'long-map',
  'trailing',
  'second',
  'array',
  'text',
];
/** The full list against these; the code that reads the others is the same. */
const TARGETS = [SCAN, RESTORE, BROWSE, PUT, SET_ROOT] as const;

export function cborCases(): Case[] {
  const all = TARGETS.flatMap(({ key, command, service, frame, leaves }) =>
    FORMS.filter(([id]) => key !== SET_ROOT.key || OF_EMPTY.includes(id)).map(([id, attack, act]) =>
      caseOf({
        id: `${key}-cbor-${id}`,
        attack: `answers with ${attack}`,
        ...{ command, service, leaves },
        turns: [at(frame, act)],
        expected: 'protocol',
      }),
    ),
  );
  const unsorted = [RESTORE, VERIFY].map(({ key, command, service, frame, leaves }) =>
    caseOf({
      id: `${key}-cbor-unsorted`,
      attack: 'answers with keys out of order',
      ...{ command, service, leaves },
      turns: [at(frame, UNSORTED)],
      expected: 'protocol',
    }),
  );
  return [...all, ...unsorted];
}
