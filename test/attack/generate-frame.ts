/** What a generated attack does to a single frame, given as bytes. */

import * as fc from 'fast-check';
import type { Edit } from './peer/attack.ts';
import { edited } from './peer/cbor.ts';
import { frameBytes } from './peer/altered.ts';
import { edits } from './generate.ts';

const HEADER = 5;
/** Types from here on are bulk. */
const BULK = 0x80;

export type Alteration =
  | { readonly do: 'flip' | 'cut' | 'shrink'; readonly at: number }
  | { readonly do: 'length'; readonly length: number }
  | { readonly do: 'type'; readonly type: number }
  | { readonly do: 'repeat'; readonly times: number }
  | { readonly do: 'cbor'; readonly item: number; readonly edit: Edit };

export interface Altered {
  /** Of the session's frames. */
  readonly nth: number;
  readonly how: Alteration;
}

const share = fc.double({ min: 0, max: 1, noNaN: true });

const alteration: fc.Arbitrary<Alteration> = fc.oneof(
  fc.record({ do: fc.constantFrom('flip' as const, 'cut' as const, 'shrink' as const), at: share }),
  fc
    .oneof(fc.constantFrom(0, 1, 2 ** 16, 2 ** 24, 2 ** 32 - 1), fc.nat(5000))
    .map((length) => ({ do: 'length' as const, length })),
  fc.nat(255).map((type) => ({ do: 'type' as const, type })),
  fc.constantFrom(2, 3, 40).map((times) => ({ do: 'repeat' as const, times })),
  fc.record({ do: fc.constant('cbor' as const), item: fc.nat(20), edit: edits }),
);

/** Of half of the sessions none. */
export function alterations(): fc.Arbitrary<Altered[]> {
  const some = fc.array(fc.record({ nth: fc.nat(6), how: alteration }), { minLength: 1, maxLength: 2 });
  return fc.oneof(fc.constant<Altered[]>([]), some);
}

/** What is said in place of `whole`. */
export function alteredFrame(whole: Buffer, how: Alteration): Buffer[] {
  const [type, payload] = [whole.readUInt8(0), whole.subarray(HEADER)];
  switch (how.do) {
    case 'flip': {
      const changed = Buffer.from(whole);
      const at = Math.min(Math.floor(how.at * changed.length), changed.length - 1);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      return [changed];
    }
    case 'cut':
      return [whole.subarray(0, Math.floor(how.at * whole.length))];
    case 'shrink':
      return [frameBytes(type, payload.subarray(0, Math.floor(how.at * payload.length)))];
    case 'length':
      return [frameBytes(type, payload, how.length)];
    case 'type':
      return [frameBytes(how.type, payload)];
    case 'repeat':
      return Array.from({ length: how.times }, () => whole);
    case 'cbor':
      return [type < BULK ? frameBytes(type, edited(payload, how.item, how.edit)) : whole];
  }
}
