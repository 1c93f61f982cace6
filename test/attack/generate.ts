/** Generated attacks: each one a few changes to a recorded honest conversation, decided by a seed and a number. */

import * as fc from 'fast-check';
import { base64 } from './case.ts';
import { END, FrameSplitter, PING_FRAME, frameBytes } from './peer/altered.ts';
import type { Frame } from './peer/altered.ts';
import { MAGIC_TYPE } from './peer/attack.ts';
import type { Act, Attack, Edit, Turn } from './peer/attack.ts';
import { protocolOf } from './program.ts';
import type { Target } from './list/sessions.ts';

/** An honest conversation of a service, as it was said. */
export interface Conversed {
  readonly target: Target;
  readonly frames: readonly Frame[];
}

export interface Generated {
  readonly id: string;
  readonly target: Target;
  readonly attack: Attack;
}

export function conversed(target: Target, said: Uint8Array): Conversed {
  return { target, frames: new FrameSplitter().take(said) };
}

/** The `number`-th case of `seed`. */
export function generate(all: readonly Conversed[], seed: number, number: number): Generated {
  const [drawn] = fc.sample(attacks(all), { numRuns: 1, seed: Math.imul(seed, 1_000_003) + number });
  if (drawn === undefined) throw new Error('nothing was generated');
  return { id: `generated-${number}`, ...drawn };
}

function attacks(all: readonly Conversed[]): fc.Arbitrary<Omit<Generated, 'id'>> {
  const donors = all.flatMap(({ frames }) => frames).filter(({ type }) => type !== MAGIC_TYPE);
  return fc.constantFrom(...all).chain((one) =>
    fc
      .record({
        turns: fc.array(turns(one, donors), { minLength: 1, maxLength: 3, size: 'xsmall' }),
        recount: fc.oneof(
          { weight: 4, arbitrary: fc.constant(true) },
          { weight: 1, arbitrary: fc.constant(false) },
        ),
        blurt: fc.boolean(),
        status: fc.oneof(
          { weight: 20, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.integer({ min: 1, max: 255 }) },
        ),
      })
      .map(({ turns: some, ...rest }) => ({
        target: one.target,
        attack: {
          turns: some,
          discards: false,
          ...rest,
          blurt: rest.blurt || some.some(({ act }) => act.do === 'drop'),
        },
      })),
  );
}

function turns({ target, frames }: Conversed, donors: readonly Frame[]): fc.Arbitrary<Turn> {
  return fc.nat(frames.length - 1).chain((nth) => {
    const type = frames[nth]?.type ?? MAGIC_TYPE;
    return fc
      .oneof(
        { weight: holdsCbor(target, type) ? 6 : 0, arbitrary: cborActs },
        { weight: 3, arbitrary: byteActs },
        { weight: 3, arbitrary: frameActs },
        { weight: 2, arbitrary: donated(donors) },
        { weight: 1, arbitrary: processActs },
      )
      .map((act) => ({ nth, act }));
  });
}

function holdsCbor({ service }: Target, type: number): boolean {
  if (type === MAGIC_TYPE) return false;
  const spec = Object.values(protocolOf(service).toCaller).find((one) => one.type === type);
  return spec === undefined ? type < 0x80 : spec.form !== 'bulk';
}

const share = fc.double({ min: 0, max: 1, noNaN: true });
const bytes = (maxLength: number) => fc.uint8Array({ minLength: 1, maxLength }).map(base64);
const NUMBERS = [
  0,
  1,
  2,
  23,
  24,
  255,
  256,
  65_535,
  65_536,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 48 - 1,
  2 ** 48,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 63,
];
/** Items that are no part of any message. */
const ODD = [
  'f6',
  'f5',
  'f7',
  '20',
  'f97e00',
  'fb3ff0000000000000',
  'c001',
  '9fff',
  'bfff',
  '5fff',
  '80',
  'a0',
  '40',
  '60',
  '1b0020000000000000',
  '61c3',
  '621b5b',
  '6109',
  'ff',
  '1c',
  '7b7fffffffffffffff',
];

/** Edits of an item of CBOR. */
export const edits: fc.Arbitrary<Edit> = fc.oneof(
  fc.constantFrom(...ODD).map((hex) => ({ how: 'replace' as const, bytes: base64(Buffer.from(hex, 'hex')) })),
  bytes(12).map((some) => ({ how: 'replace' as const, bytes: some })),
  fc.integer({ min: 1, max: 4 }).map((steps) => ({ how: 'lengthen' as const, steps })),
  fc.oneof(fc.constantFrom(...NUMBERS), fc.nat(1000)).map((value) => ({ how: 'number' as const, value })),
  fc.nat(7).map((major) => ({ how: 'major' as const, major })),
  fc.constantFrom(0, 2, 27, 30, 258, 55_799).map((tag) => ({ how: 'tag' as const, tag })),
  fc.constant({ how: 'indefinite' as const }),
  fc.integer({ min: 1, max: 20 }).map((depth) => ({ how: 'nest' as const, depth })),
  fc.constantFrom(0, 2, 3, 300).map((times) => ({ how: 'times' as const, times })),
  fc
    .constantFrom('a', 'extra', 'top', 'constructor', '__proto__', 'x y')
    .map((key) => ({ how: 'field' as const, key })),
  fc.constant({ how: 'unsort' as const }),
  share.map((at) => ({ how: 'flip' as const, at })),
);

const cborActs: fc.Arbitrary<Act> = fc
  .record({ item: fc.nat(60), edit: edits })
  .map((one) => ({ do: 'cbor', ...one }));

const byteActs: fc.Arbitrary<Act> = fc.oneof(
  share.map((at) => ({ do: 'flip' as const, at })),
  fc.record({ do: fc.constant('shrink' as const), bytes: fc.integer({ min: 1, max: 64 }), at: share }),
  fc.record({ do: fc.constant('grow' as const), bytes: bytes(64), at: share }),
  bytes(200).map((some) => ({ do: 'say' as const, bytes: some })),
  bytes(64).map((some) => ({ do: 'frame' as const, payload: some })),
);

const frameActs: fc.Arbitrary<Act> = fc.oneof(
  fc.constant({ do: 'drop' as const }),
  fc.constant({ do: 'swap' as const }),
  fc.constantFrom(2, 3, 50).map((times) => ({ do: 'repeat' as const, times })),
  fc.integer({ min: 1, max: 8 }).map((some) => ({ do: 'cut' as const, bytes: some })),
  fc.nat(255).map((type) => ({ do: 'frame' as const, type })),
  fc
    .oneof(fc.constantFrom(...NUMBERS.filter((value) => value < 2 ** 32)), fc.nat(4096))
    .map((length) => ({ do: 'frame' as const, length })),
  fc.constantFrom(1, 10, 100).map((times) => ({ do: 'insert' as const, bytes: base64(PING_FRAME), times })),
  fc.record({ frames: fc.nat(20), size: fc.nat(5000) }).map(({ frames, size }) => ({
    do: 'frame' as const,
    type: END,
    payload: base64(Buffer.of(0xa2, frames, size & 0xff)),
  })),
);

/** Frames of this conversation or another: of another service, another VM, another moment. */
function donated(donors: readonly Frame[]): fc.Arbitrary<Act> {
  return fc
    .record({
      donor: fc.constantFrom(...donors),
      insert: fc.boolean(),
      times: fc.constantFrom(1, 1, 1, 2, 20),
    })
    .map(({ donor, insert, times }): Act => {
      const said = base64(frameBytes(donor.type, donor.payload));
      return insert ? { do: 'insert', bytes: said, times } : { do: 'say', bytes: said };
    });
}

const processActs: fc.Arbitrary<Act> = fc.oneof(
  fc.integer({ min: 0, max: 3 }).map((status) => ({ do: 'exit' as const, status })),
  fc.constant({ do: 'die' as const }),
  fc.constant({ do: 'close' as const }),
  fc.constant({ do: 'stall' as const }),
  fc
    .constantFrom('\u001b[2J\u009b', 'x'.repeat(10_000))
    .map((text) => ({ do: 'stderr' as const, text, times: 3 })),
);
