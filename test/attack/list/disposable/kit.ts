/** What the cases against a session with a disposable start from: what it said honestly, and requests for blobs. */

import * as z from 'zod';
import { decodeWith } from '../../../../shared/cbor.ts';
import { MAX_BLOB_NUMBER, MAX_REQUEST } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at } from '../../case.ts';
import { CREDIT } from '../../peer/altered.ts';
import type { Step } from '../../peer/attack.ts';
import { typeOf } from '../../program.ts';
import { of } from '../rows.ts';
import type { Row } from '../rows.ts';
import type { Target } from '../sessions.ts';

/** Requests of any service that may read blobs. */
export function requests(target: Target): Row[] {
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
      'asks for its blobs 5,000 times, and grants nothing to send them by',
      [at(CREDIT, { do: 'drop' }), at(get, { do: 'repeat', times: 5000 })],
      'protocol',
      { blurt: true },
    ],
  ];
}

/** What the service of `target` said honestly. */
export function steps(bench: Bench, { command, service }: Target): readonly Step[] {
  return bench.baseline(command).recordings[service] ?? [];
}

export function fieldsOf(payload: Uint8Array): Record<string, unknown> {
  return decodeWith(z.record(z.string(), z.unknown()), payload);
}

/** What was said last of `type` in the recorded conversation of `target`. */
export function payloadOf(bench: Bench, target: Target, type: number, vm = 'work'): Buffer {
  const said = bench.baseline(target.command, vm).recordings[target.service] ?? [];
  return Buffer.from(said.findLast((step) => step.type === type)?.payload ?? '', 'base64');
}

/** Only the result and what follows it, at once. */
export function atOnce(recorded: readonly Step[], done: number): Step[] {
  const from = recorded.findIndex(({ type }) => type === done);
  return recorded.slice(from).map((step) => ({ ...step, after: 1 }));
}
