/** Attacks below the meaning of frames, against every session. */

import { MAX_TEXT } from '../../../shared/limits.ts';
import { at, base64, caseOf } from '../case.ts';
import type { Case, Outcome, Patience } from '../case.ts';
import { CREDIT, END, NEWER_MAGIC, PING_FRAME, frameBytes } from '../peer/altered.ts';
import { MAGIC_TYPE } from '../peer/attack.ts';
import type { Act, Attack, Turn } from '../peer/attack.ts';
import { protocolOf } from '../program.ts';
import { encodeCbor } from '../../../shared/cbor.ts';
import type { FrameTable } from '../../../shared/wire/frame.ts';
import { SANDBOX } from '../../support/home.ts';
import { TARGETS } from './sessions.ts';
import type { Target } from './sessions.ts';

/** Milliseconds of silence that count as stuck where the attack is silence. */
const IDLE = 400;
/** As IDLE, where something honest has to happen first, on a busy machine: a disk may take its time. */
const LONG_IDLE = 5_000;

const ERROR = 0x02;
const LEAVE: Act = { do: 'exit', status: 0 };
const MiB = 1024 * 1024;

/** What is expected of `target`: where sessions differ, the exceptions by key; `else` for all others. */
type Expected = Readonly<Partial<Record<string, Outcome>>> & { readonly else: Outcome };

interface General {
  readonly id: string;
  readonly attack: string;
  readonly turns: (target: Target) => readonly Turn[];
  readonly expected: Expected;
  readonly options?: Partial<Pick<Attack, 'recount' | 'blurt' | 'status'>>;
  readonly patience?: Patience;
}

const only =
  (act: Act) =>
  ({ frame }: Target): Turn[] => [at(frame, act)];
/** As {@link only}, where a storage VM answers by as many frames as its disk takes turns. */
const every =
  (act: Act) =>
  ({ key, frame }: Target): Turn[] => [
    { ...at(frame, act), ...(key === 'put' ? { onwards: true as const } : {}) },
  ];
const first = (act: Act) => (): Turn[] => [at(MAGIC_TYPE, act)];
const say = (bytes: Uint8Array): Act => ({ do: 'say', bytes: base64(bytes) });
const insert = (bytes: Uint8Array, times = 1): Act => ({ do: 'insert', bytes: base64(bytes), times });
const control = (type: number, value: unknown) => frameBytes(type, encodeCbor(value));
const specOf = ({ service, frame }: Target) =>
  Object.values(protocolOf(service).toCaller).find(({ type }) => type === frame);
/** A type that only dom0 uses in this service's conversations. */
function typeOfDom0({ service }: Target): number {
  const { toService, toCaller } = protocolOf(service);
  const types = (table: FrameTable) => Object.values(table).map(({ type }) => type);
  return types(toService).find((type) => !types(toCaller).includes(type)) ?? 0x7f;
}

const BROKEN: Expected = { else: 'protocol' };
const DIED: Expected = { else: 'service-died' };
/** By the time it says its goodbye, all was acknowledged or verified: that deserves a warning. */
const AT_GOODBYE: Expected = { put: 'warned', get: 'warned', else: 'protocol' };
const SILENT: Expected = { else: 'timeout' };
const HARMLESS: Expected = { else: 'honest' };
/** The content of an object is checked by its hash, whatever its frame was like. */
const HASHED: Expected = { get: 'store-damaged', else: 'protocol' };

const ATTACKS: readonly General[] = [
  { id: 'no-byte', attack: 'ends before its first byte', turns: first(LEAVE), expected: DIED },
  {
    id: 'half-magic',
    attack: 'ends within the magic',
    turns: () => [at(MAGIC_TYPE, { do: 'cut', bytes: 3 }, LEAVE)],
    expected: DIED,
  },
  {
    id: 'banner',
    attack: 'greets like a login shell',
    turns: first(say(Buffer.from('Welcome to Debian GNU/Linux\n'))),
    expected: BROKEN,
  },
  {
    id: 'newer',
    attack: 'speaks a newer version',
    turns: first(say(NEWER_MAGIC)),
    expected: BROKEN,
  },
  {
    id: 'magic-twice',
    attack: 'says the magic twice',
    turns: first({ do: 'repeat', times: 2 }),
    expected: BROKEN,
  },
  {
    id: 'silence',
    attack: 'says nothing at all',
    turns: first({ do: 'stall' }),
    expected: SILENT,
    patience: { idle: IDLE },
  },
  {
    id: 'stall',
    attack: 'stalls before its answer',
    turns: only({ do: 'stall' }),
    expected: SILENT,
    patience: { idle: IDLE },
  },
  {
    id: 'ping-only',
    attack: 'says for ever that it lives, and never answers',
    turns: only({ do: 'ping', every: 50 }),
    expected: SILENT,
    patience: { answer: IDLE, session: IDLE },
  },
  {
    id: 'slow-loris',
    attack: 'answers one byte at a time, for ever',
    turns: ({ frame }) => [at(frame, { do: 'frame', payload: '', length: 40 }, { do: 'trickle', every: 50 })],
    expected: SILENT,
    patience: { answer: IDLE, session: IDLE },
  },
  {
    id: 'ping-flood',
    attack: 'floods with signs of life',
    turns: only(insert(Buffer.concat(Array.from({ length: 1000 }, () => PING_FRAME)), 200)),
    expected: HARMLESS,
  },
  {
    id: 'credit-flood',
    attack: 'floods with credit',
    turns: only(
      insert(Buffer.concat(Array.from({ length: 1000 }, () => control(CREDIT, { bytes: 1 }))), 100),
    ),
    expected: HARMLESS,
  },
  { id: 'dies', attack: 'is killed before its answer', turns: only({ do: 'die' }), expected: DIED },
  { id: 'leaves', attack: 'exits before its answer', turns: only(LEAVE), expected: DIED },
  {
    id: 'closes',
    attack: 'closes its output and lives on',
    turns: only({ do: 'close' }),
    // A sandbox's own process holds the output as well.
    expected: { else: SANDBOX === 'none' ? 'service-died' : 'timeout' },
    patience: { idle: IDLE },
  },
  {
    id: 'half-header',
    attack: 'ends within a header',
    turns: ({ frame }) => [at(frame, say(Buffer.of(frame, 0)), LEAVE)],
    expected: DIED,
  },
  {
    id: 'half-frame',
    attack: 'ends within a frame',
    turns: ({ frame }) => [at(frame, { do: 'cut', bytes: 1 }, LEAVE)],
    expected: DIED,
  },
  {
    id: 'shorter',
    attack: 'leaves the last byte of its answer out',
    turns: only({ do: 'shrink', bytes: 1, at: 1 }),
    expected: HASHED,
  },
  {
    id: 'longer',
    attack: 'adds a byte to its answer',
    turns: only({ do: 'grow', bytes: base64(Buffer.of(0)), at: 1 }),
    expected: HASHED,
  },
  {
    id: 'empty',
    attack: 'answers with nothing',
    turns: only({ do: 'frame', payload: '' }),
    expected: { ...HASHED, list: 'store-damaged' },
  },
  {
    id: 'length-0',
    attack: 'says length 0 of an answer that has bytes',
    turns: only({ do: 'frame', length: 0 }),
    expected: HASHED,
  },
  {
    id: 'length-less',
    attack: 'says a length one too small',
    turns: ({ frame }) => [at(frame, { do: 'frame', length: 7 })],
    expected: HASHED,
  },
  {
    id: 'length-cap',
    attack: 'says the largest length there may be, and ends',
    turns: (target) => [at(target.frame, { do: 'frame', length: specOf(target)?.max ?? 0 }, LEAVE)],
    expected: DIED,
  },
  {
    id: 'length-cap+1',
    attack: 'says one more than the largest length',
    turns: (target) => [at(target.frame, { do: 'frame', length: (specOf(target)?.max ?? 0) + 1 })],
    expected: BROKEN,
  },
  {
    id: 'length-max',
    attack: 'says a length of 4 GiB',
    turns: only({ do: 'frame', length: 2 ** 32 - 1 }),
    expected: BROKEN,
  },
  {
    id: 'twice',
    attack: 'answers twice',
    turns: only({ do: 'repeat', times: 2 }),
    expected: { get: 'store-damaged', compare: 'claimed', else: 'protocol' },
  },
  {
    id: 'many',
    attack: 'answers thousands of times',
    // So many objects are less than what is granted: what dom0 asks next gets the first one again.
    turns: ({ key, frame }) => [at(frame, { do: 'repeat', times: key === 'get' ? 4_000 : 10_000 })],
    expected: { get: 'store-damaged', compare: 'claimed', else: 'protocol' },
  },
  {
    id: 'nothing',
    attack: 'leaves its answer out',
    turns: every({ do: 'drop' }),
    expected: {
      put: 'timeout',
      get: 'timeout',
      list: 'store-damaged',
      browse: 'claimed',
      needing: 'claimed',
      compare: 'claimed',
      else: 'protocol',
    },
    patience: { idle: IDLE },
  },
  {
    id: 'late',
    attack: 'answers after its final frame',
    turns: every({ do: 'swap' }),
    options: { blurt: true },
    expected: { put: 'timeout', get: 'timeout', list: 'store-damaged', else: 'protocol' },
    patience: { idle: IDLE },
  },
  {
    id: 'unknown',
    attack: 'answers with a frame of unknown type',
    turns: only({ do: 'frame', type: 0x6f }),
    expected: BROKEN,
  },
  {
    id: 'of-dom0',
    attack: 'answers with a frame that only dom0 may send',
    turns: (target) => [at(target.frame, { do: 'frame', type: typeOfDom0(target) })],
    expected: BROKEN,
  },
  {
    id: 'garbage',
    attack: 'answers with a page of zeros',
    turns: only(say(Buffer.alloc(4096))),
    expected: BROKEN,
  },
  {
    id: 'early-end',
    attack: 'says that it ends, instead of an answer',
    turns: ({ frame }) => [
      at(frame, { do: 'frame', type: END, payload: base64(encodeCbor({ bytes: 0, frames: 0 })) }),
    ],
    expected: BROKEN,
  },
  {
    id: 'counts',
    attack: 'counts wrongly what it said',
    turns: () => [at(END, { do: 'frame', payload: base64(encodeCbor({ bytes: 1, frames: 1 })) })],
    expected: AT_GOODBYE,
  },
  {
    id: 'no-end',
    attack: 'ends without its final frame',
    turns: () => [at(END, LEAVE)],
    expected: { put: 'warned', get: 'warned', else: 'service-died' },
  },
  {
    id: 'half-end',
    attack: 'ends within its final frame',
    turns: () => [at(END, { do: 'cut', bytes: 1 }, LEAVE)],
    expected: { put: 'warned', get: 'warned', else: 'service-died' },
  },
  {
    id: 'no-goodbye',
    attack: 'is silent instead of its final frame',
    turns: () => [at(END, { do: 'stall' })],
    expected: { put: 'warned', get: 'warned', else: 'timeout' },
    patience: { idle: LONG_IDLE },
  },
  {
    id: 'status',
    attack: 'exits with status 1 after it has said everything',
    turns: () => [],
    options: { status: 1 },
    expected: { put: 'warned', get: 'warned', else: 'service-died' },
  },
  {
    id: 'after-end',
    attack: 'goes on after its final frame',
    turns: () => [at(END, { do: 'repeat', times: 2 })],
    options: { recount: false },
    expected: HARMLESS,
  },
  {
    id: 'pings',
    attack: 'says now and then that it lives',
    turns: only(insert(PING_FRAME, 3)),
    expected: HARMLESS,
  },
  {
    id: 'error',
    attack: 'reports an error of its own',
    turns: only(say(control(ERROR, { code: 'io', message: 'disk on fire' }))),
    expected: { else: 'service-failed' },
  },
  {
    id: 'error-escapes',
    attack: 'hides terminal escapes in an error',
    turns: only(say(control(ERROR, { code: 'io', message: '\u001b[2Jall is well' }))),
    expected: BROKEN,
  },
  {
    id: 'error-c1',
    attack: 'hides 8-bit terminal escapes in an error',
    turns: only(say(control(ERROR, { code: 'io', message: '\u009b2J' }))),
    expected: BROKEN,
  },
  {
    id: 'error-long',
    attack: 'tells a very long story in an error',
    turns: only(say(control(ERROR, { code: 'io', message: 'x'.repeat(MAX_TEXT + 1) }))),
    expected: BROKEN,
  },
  {
    id: 'error-code',
    attack: 'sends an error without a code',
    turns: only(say(control(ERROR, { message: 'x' }))),
    expected: BROKEN,
  },
  {
    id: 'credit-much',
    attack: 'grants impossible credit',
    turns: only(insert(control(CREDIT, { bytes: 2 ** 33 }))),
    expected: BROKEN,
  },
  {
    id: 'credit-0',
    attack: 'grants no credit',
    turns: only(insert(control(CREDIT, { bytes: 0 }))),
    expected: BROKEN,
  },
  {
    id: 'stderr',
    attack: 'writes 64 MiB to stderr',
    turns: only({ do: 'stderr', text: 'x'.repeat(MiB), times: 64 }),
    expected: HARMLESS,
  },
  {
    id: 'stderr-escapes',
    attack: 'writes terminal escapes to stderr, and dies',
    turns: ({ frame }) => [
      at(MAGIC_TYPE, { do: 'stderr', text: '\u001b]0;owned\u0007\u009b2J\r\nerror: all is lost', times: 1 }),
      at(frame, { do: 'exit', status: 3 }),
    ],
    expected: DIED,
  },
];

const outcomeOf = (expected: Expected, { key }: Target) => expected[key] ?? expected.else;

/** Whether dom0 has to wait in vain, at the latest when it says goodbye. */
function isSilent(expected: Expected, target: Target): boolean {
  return ['timeout', 'warned'].includes(outcomeOf(expected, target));
}

export function frameCases(): Case[] {
  return TARGETS.flatMap((target) =>
    ATTACKS.map(({ id, attack, turns, expected, options, patience }) =>
      caseOf({
        id: `${target.key}-frame-${id}`,
        attack,
        command: target.command,
        service: target.service,
        turns: turns(target),
        expected: outcomeOf(expected, target),
        leaves: target.leaves,
        ...options,
        // Whoever must find something else than silence is given the time to.
        ...(patience === undefined || !isSilent(expected, target) ? {} : { patience }),
      }),
    ),
  );
}
