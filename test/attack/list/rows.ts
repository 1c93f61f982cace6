/** Written cases as rows of a table, and the acts that many of them share. */

import { encodeCbor } from '../../../shared/cbor.ts';
import { base64, caseOf } from '../case.ts';
import type { Case, Outcome, Sketch } from '../case.ts';
import type { Act, Turn } from '../peer/attack.ts';
import type { Target } from './sessions.ts';

export const MiB = 1024 * 1024;

/** The frame with another payload: `value` as CBOR, or raw bytes. */
export const of = (value: unknown): Act => ({ do: 'frame', payload: base64(encodeCbor(value)) });
export const ofBytes = (bytes: Uint8Array): Act => ({ do: 'frame', payload: base64(bytes) });

/** `bytes` before the frame, so many times. */
export const insert = (bytes: Uint8Array, times = 1) =>
  ({ do: 'insert', bytes: base64(bytes), times }) as const;

export type Row = readonly [
  id: string,
  attack: string,
  turns: readonly Turn[],
  expected: Outcome,
  more?: Partial<Sketch>,
];

/** The cases of `target`, whose key begins their ids. */
export function rows({ key, command, service, leaves }: Target, all: readonly Row[]): Case[] {
  return all.map(([id, attack, turns, expected, more]) =>
    caseOf({ id: `${key}-${id}`, ...{ attack, command, service, leaves, turns, expected }, ...more }),
  );
}
