/** What a storage VM may try that is given a root to publish. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { at, base64 } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import type { Turn } from '../../peer/attack.ts';
import { typeOf } from '../../program.ts';
import { insert, rows } from '../rows.ts';
import { SET_ROOT } from '../sessions.ts';

/** Milliseconds of silence that count as stuck here. */
const IDLE = 400;

export function setRootCases(): Case[] {
  const DONE = SET_ROOT.frame;
  const CONFLICT = typeOf(SET_ROOT.service, 'conflict');
  const conflict = (current: Uint8Array): Turn[] =>
    Array.from({ length: 1 }, () =>
      at(DONE, { do: 'frame', type: CONFLICT, payload: base64(encodeCbor({ current })) }),
    );
  return rows(SET_ROOT, [
    [
      'conflict',
      'says that another root is current, having published this one',
      conflict(new Uint8Array(32)),
      'store-conflict',
    ],
    ['conflict-short', 'names another root by 31 bytes', conflict(new Uint8Array(31)), 'protocol'],
    [
      'both',
      'says done and conflict',
      [at(DONE, insert(frameBytes(CONFLICT, encodeCbor({ current: new Uint8Array(32) }))))],
      'protocol',
    ],
    [
      'waits',
      'says that something waits for its owner, and not what',
      [at(DONE, { do: 'frame', type: DONE, payload: base64(encodeCbor({ waits: true })) })],
      'protocol',
    ],
    [
      'discards',
      'says done and publishes nothing',
      [at(CONFLICT, { do: 'frame', type: DONE, payload: base64(encodeCbor({ waits: null })) })],
      'honest',
      {
        discards: true,
        leaves: ['objects', 'root', 'pending'],
        next: { command: 'list', outcome: 'store-rolled-back' },
      },
    ],
    [
      'flaky',
      'publishes and dies: the next run finds it',
      [at(DONE, { do: 'die' })],
      'service-died',
      { next: { command: 'backup', outcome: 'done' } },
    ],
    [
      'silent',
      'publishes and says nothing',
      [at(DONE, { do: 'stall' })],
      'timeout',
      { patience: { idle: IDLE }, next: { command: 'check', outcome: 'done' } },
    ],
  ]);
}
