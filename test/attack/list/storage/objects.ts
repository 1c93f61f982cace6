/** What a storage VM may try that is asked for objects. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_OBJECT } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { insert, ofBytes, rows } from '../rows.ts';
import { GET } from '../sessions.ts';

const ROOT = typeOf(GET.service, 'root');
const MISSING = typeOf(GET.service, 'missing');
const OBJECT = GET.frame;

export function objectCases({ world: { roots, otherObject, objects, olderCatalog } }: Bench): Case[] {
  const object = (bytes: Uint8Array) => [at(OBJECT, ofBytes(bytes))];
  const [smallest = otherObject] = objects;
  const largest = objects.at(-1) ?? otherObject;
  const missing = (type: number, id: Uint8Array) => [
    at(type, { do: 'frame', type: MISSING, payload: base64(encodeCbor({ id })) }),
  ];
  return rows(GET, [
    ['object-bit', 'flips a bit of an object', [at(OBJECT, { do: 'flip', at: 0.5 })], 'store-damaged'],
    [
      'object-nonce',
      'flips a bit of the first byte of an object',
      [at(OBJECT, { do: 'flip', at: 0 })],
      'store-damaged',
    ],
    [
      'object-tag',
      'flips a bit of the last byte of an object',
      [at(OBJECT, { do: 'flip', at: 1 })],
      'store-damaged',
    ],
    [
      'object-other',
      'serves another object of the store: right hash, wrong number',
      object(largest),
      'store-damaged',
    ],
    [
      'object-older',
      'serves an older catalog, sealed for the same place',
      object(olderCatalog),
      'store-damaged',
    ],
    ['object-other-store', 'serves an object of another store', object(otherObject), 'store-damaged'],
    ['object-tiny', 'serves an object of one byte', object(Buffer.of(1)), 'store-damaged'],
    [
      'object-largest',
      'serves 16 MiB of zeros as an object',
      [at(OBJECT, { do: 'zeros', type: OBJECT, size: MAX_OBJECT, times: 1, instead: true })],
      'store-damaged',
    ],
    [
      'object-over-cap',
      'serves an object larger than may be',
      [at(OBJECT, { do: 'frame', length: MAX_OBJECT + 1 })],
      'protocol',
    ],
    [
      'object-unasked',
      'serves objects that nobody asked for',
      [at(ROOT, insert(frameBytes(OBJECT, otherObject)))],
      'protocol',
    ],
    [
      'object-flood',
      'serves 16 MiB objects without end',
      [at(OBJECT, { do: 'zeros', type: OBJECT, size: MAX_OBJECT, times: 16 })],
      'store-damaged',
    ],
    [
      'object-as-root',
      'serves an object as the root',
      [at(ROOT, { do: 'frame', type: ROOT, payload: base64(smallest) })],
      'store-damaged',
    ],
    [
      'root-as-object',
      'serves the root as an object',
      [at(OBJECT, { do: 'frame', type: ROOT, payload: base64(roots.current) })],
      'protocol',
    ],
    ['swapped', 'answers in another order', [at(ROOT, { do: 'frame', type: OBJECT })], 'protocol'],
    [
      'missing',
      'says that it lost an object that nobody asked for',
      missing(OBJECT, new Uint8Array(32)),
      'protocol',
    ],
    [
      'missing-root',
      'says that it lost an object when asked for the root',
      missing(ROOT, new Uint8Array(32)),
      'protocol',
    ],
    [
      'flaky',
      'fails, and the next run goes on',
      [at(OBJECT, { do: 'die' })],
      'service-died',
      { next: { command: 'list', outcome: 'done' } },
    ],
  ]);
}
