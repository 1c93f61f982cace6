/** What a storage VM may try that is given objects. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_REQUEST } from '../../../../shared/limits.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { insert, of, rows } from '../rows.ts';
import { PUT } from '../sessions.ts';

export function putCases(): Case[] {
  const ACK = PUT.frame;
  const unknown = { id: new Uint8Array(32), stored: true };
  const acks = (...objects: object[]) => [at(ACK, of({ objects }))];
  return rows(PUT, [
    ['ack-unknown', 'acknowledges what it was not sent', acks(unknown), 'protocol'],
    [
      'ack-extra',
      'acknowledges what it was not sent, and then all the rest as it should',
      [at(ACK, insert(frameBytes(ACK, encodeCbor({ objects: [unknown] }))))],
      'protocol',
    ],
    [
      'ack-bit',
      'acknowledges a name of which one bit is wrong',
      [at(ACK, { do: 'cbor', item: 5, edit: { how: 'flip', at: 0.5 } })],
      'protocol',
    ],
    [
      'ack-before',
      'acknowledges before anything was sent',
      [at(0x03, insert(frameBytes(ACK, encodeCbor({ objects: [unknown] }))))],
      'protocol',
    ],
    ['ack-none', 'acknowledges nothing', acks(), 'protocol'],
    [
      'ack-many',
      'acknowledges more than an acknowledgement may name',
      acks(...Array.from({ length: MAX_REQUEST + 1 }, () => unknown)),
      'protocol',
    ],
    [
      'ack-twice',
      'acknowledges an object twice in one breath',
      [at(ACK, { do: 'cbor', item: 3, edit: { how: 'times', times: 2 } })],
      'protocol',
    ],
    [
      'ack-short',
      'acknowledges a name of 31 bytes',
      acks({ id: new Uint8Array(31), stored: true }),
      'protocol',
    ],
    ['ack-swapped', 'acknowledges what came last first', [at(ACK, { do: 'swap-acks' })], 'protocol'],
    [
      'discards',
      'acknowledges all and keeps nothing',
      [],
      'claimed',
      { discards: true, next: { command: 'check', outcome: 'store-damaged' } },
    ],
    [
      'discards-one',
      'fails, and the next run goes on',
      [at(ACK, { do: 'die' })],
      'service-died',
      { next: { command: 'backup', outcome: 'done' } },
    ],
  ]);
}
