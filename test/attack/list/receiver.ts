/**
 * What a VM may try that is given files (qubes.Filecopy), and a disposable that sends them. Whatever it answers, dom0
 * reads no more than an answer has, believes two numbers at fixed places, and shows of a name what is printable.
 *
 * Not here, because who is faster decides how it ends (`protocol` or `verify-failed`): an answer that all is well, given
 * before the end of the stream. dom0/file-copy has it, step by step.
 */

import { answer } from '../../support/file-copy.ts';
import { SANDBOX } from '../../support/home.ts';
import { encodeCbor } from '../../../shared/cbor.ts';
import type { Bench } from '../bench.ts';
import { at, base64, caseOf } from '../case.ts';
import type { Case, Outcome, Sketch } from '../case.ts';
import { frameBytes } from '../peer/altered.ts';
import type { Move } from '../peer/receiver.ts';
import { RECEIVE, typeOf } from '../program.ts';
import { fieldsOf, payloadOf } from './disposable/kit.ts';
import { MiB, insert, of, rows } from './rows.ts';
import { EXPORT } from './sessions.ts';

/** Milliseconds of silence that count as stuck here. */
const IDLE = 400;
/** The longest name in an answer. */
const MAX_NAME = 16_384;

/** As {@link EXPORT}, into a VM. What came before it failed stays there: dom0 has no right to remove it. */
const INTO = { ...EXPORT, key: 'into', command: 'extract-into', leaves: ['incoming'] } as const;
const [DATA, BEGIN, DONE] = [typeOf(INTO.service, 'data'), typeOf(INTO.service, 'begin'), INTO.frame];

type Row = readonly [
  id: string,
  attack: string,
  moves: readonly Move[],
  expected: Outcome,
  more?: Partial<Sketch>,
];

const say = (bytes: Uint8Array, times = 1): Move => ({ do: 'say', bytes: base64(bytes), times });
const leave = (status: number): Move => ({ do: 'exit', status });
const STALL: Move = { do: 'stall' };
const DIE: Move = { do: 'die' };
const patience = { idle: IDLE };

/** How long the stream is, and its CRC-32, as the honest disposable says. */
function streamOf(bench: Bench): { length: number; crc: number } {
  const said = bench.baseline(INTO.command).recordings[INTO.service] ?? [];
  const pieces = said
    .filter(({ type }) => type === DATA)
    .map(({ payload }) => Buffer.from(payload, 'base64'));
  const { crc32 } = fieldsOf(payloadOf(bench, INTO, DONE));
  return { length: Buffer.concat(pieces).length, crc: Number(crc32) };
}

function receiverRows(bench: Bench): Row[] {
  const { length, crc } = streamOf(bench);
  const all: Move = { do: 'take', bytes: length };
  const right = answer(0, crc, 'name');
  /** Takes everything, says `bytes` and ends. */
  const says = (bytes: Uint8Array, status = 0) => [all, say(bytes), leave(status)];
  const sum = (value: bigint) => {
    const other = Buffer.from(right);
    other.writeBigUInt64LE(value, 8);
    return says(other);
  };
  const failing = (errno: number, name?: string) => says(answer(errno, crc, name), 1);
  const lying = (named: number, name: Uint8Array) => {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(named);
    return says(Buffer.concat([answer(0, crc), size, name]));
  };
  const wanted = BigInt(crc);
  return [
    ['pretends', 'keeps nothing, and answers as it should', says(right), 'honest'],
    ['pretends-old', 'does so as older ones do, without a name', says(answer(0, crc)), 'honest'],
    ['silent', 'takes everything and says nothing', [all, STALL], 'timeout', { patience }],
    ['deaf', 'takes nothing and says nothing', [STALL], 'timeout', { patience }],
    [
      'half-deaf',
      'takes one byte and says nothing',
      [{ do: 'take', bytes: 1 }, STALL],
      'timeout',
      { patience },
    ],
    ['leaves-first', 'ends before it took anything', [leave(0)], 'service-died'],
    ['leaves-within', 'ends within the stream', [{ do: 'take', bytes: 100 }, leave(0)], 'service-died'],
    ['leaves', 'takes everything and ends without an answer', [all, leave(0)], 'service-died'],
    ['fails', 'takes everything and fails without an answer', [all, leave(1)], 'service-died'],
    ['dies-first', 'is killed before it took anything', [DIE], 'service-died'],
    ['dies', 'takes everything and is killed', [all, DIE], 'service-died'],
    ['dies-after', 'answers as it should and is killed', [all, say(right), DIE], 'service-died'],
    ['status', 'answers as it should and fails', says(right, 1), 'service-died'],
    ['status-255', 'answers as it should and fails with status 255', says(right, 255), 'service-died'],
    ['stays', 'answers as it should and never ends', [all, say(right), STALL], 'timeout', { patience }],
    [
      'closes',
      'ends its output without an answer and lives on',
      [all, { do: 'close' }, { do: 'take', bytes: 1 }],
      // A sandbox's own process holds the output as well.
      SANDBOX === 'none' ? 'service-died' : 'timeout',
      { patience },
    ],
    ['half', 'answers all but the last byte', says(answer(0, crc).subarray(0, 15)), 'protocol'],
    ['half-number', 'answers the error code alone', says(answer(0, crc).subarray(0, 4)), 'protocol'],
    ['byte', 'answers one byte', says(Buffer.of(0)), 'protocol'],
    ['half-length', 'ends within the length of the name', says(right.subarray(0, 18)), 'protocol'],
    ['half-name', 'ends within the name', says(right.subarray(0, 22)), 'protocol'],
    ['longer', 'says a byte after the name', says(Buffer.concat([right, Buffer.of(0)])), 'protocol'],
    ['twice', 'answers twice', says(Buffer.concat([answer(0, crc), answer(0, crc)])), 'protocol'],
    ['name-0', 'names nothing in no byte', lying(0, Buffer.alloc(0)), 'honest'],
    ['name-max', 'names as much as there may be', lying(MAX_NAME, Buffer.alloc(MAX_NAME, 'n')), 'honest'],
    ['name-over', 'names a byte more', lying(MAX_NAME + 1, Buffer.alloc(MAX_NAME + 1, 'n')), 'protocol'],
    ['name-lie', 'says a name of 4 GiB', lying(2 ** 32 - 1, Buffer.from('name')), 'protocol'],
    ['name-short', 'says a name of a byte and sends four', lying(1, Buffer.from('name')), 'protocol'],
    ['garbage', 'answers with a page of ones', says(Buffer.alloc(4096, 255)), 'protocol'],
    ['text', 'answers like a login shell', says(Buffer.from('Welcome to Debian GNU/Linux\n')), 'protocol'],
    ['frame', 'speaks the other services’ protocol', says(frameBytes(1, Buffer.alloc(40))), 'protocol'],
    ['huge', 'answers with 64 MiB', [all, say(Buffer.alloc(MiB), 64), leave(0)], 'protocol'],
    ['endless', 'answers without end', [all, say(Buffer.alloc(MiB), 1_000_000)], 'protocol'],
    [
      'endless-first',
      'answers without end and takes nothing',
      [say(Buffer.alloc(MiB), 1_000_000)],
      'protocol',
    ],
    [
      'slow',
      'answers one byte at a time, longer than it may take',
      [all, { do: 'trickle', bytes: base64(right), every: 100 }, leave(0)],
      'timeout',
      { patience },
    ],
    [
      'stderr',
      'writes 64 MiB to stderr, and answers as it should',
      [{ do: 'stderr', text: 'x'.repeat(MiB), times: 64 }, ...says(right)],
      'honest',
    ],
    [
      'stderr-escapes',
      'writes terminal escapes to stderr, and fails',
      [{ do: 'stderr', text: '\u001b]0;owned\u0007\u009b2J\r\nerror: all is lost', times: 1 }, all, leave(3)],
      'service-died',
    ],
    ['zeros', 'answers with zeros', says(Buffer.alloc(16)), 'verify-failed'],
    ['crc-bit', 'answers a checksum of which one bit is wrong', sum(wanted ^ 1n), 'verify-failed'],
    ['crc-high', 'answers one with a bit above the 32', sum(wanted + 2n ** 32n), 'verify-failed'],
    ['crc-2^53', 'answers one that a double cannot hold', sum(wanted + 2n ** 63n), 'verify-failed'],
    ['crc-max', 'answers the largest number there is', sum(2n ** 64n - 1n), 'verify-failed'],
    ['exists', 'says that the files are there already', failing(17, 'a/b'), 'vm-exists'],
    ['full', 'says that it has no room', failing(28, 'a/b'), 'store-full'],
    ['full-first', 'says so before it took anything', [say(answer(28, 0, 'a')), leave(1)], 'store-full'],
    [
      'full-stays',
      'says so, and goes on living',
      [all, say(answer(28, 0, 'a')), STALL],
      'timeout',
      { patience },
    ],
    ['refuses', 'refuses a name', failing(84, 'a/b'), 'service-failed'],
    ['errno-5', 'tells another error', failing(5), 'service-failed'],
    ['errno-4096', 'tells an error that there is not', failing(4096), 'service-failed'],
    ['errno-max', 'tells the largest error', failing(2 ** 32 - 1), 'service-failed'],
    ['errno-0-status', 'tells no error, and fails', says(answer(0, crc), 1), 'service-died'],
    ['errno-status-0', 'tells an error, and succeeds', says(answer(28, crc, 'a')), 'store-full'],
    ['name-escapes', 'hides terminal escapes in a name', failing(17, '\u001b[2J\u009b'), 'vm-exists'],
    ['name-newline', 'forges a line in a name', failing(17, 'a\nerror: all is lost'), 'vm-exists'],
    ['name-bytes', 'names 16 KiB of odd bytes', failing(17, '\u00ff'.repeat(MAX_NAME)), 'vm-exists'],
  ];
}

/** The other end: what the disposable may say that sends them, to an honest receiver. */
function senderCases(bench: Bench): Case[] {
  const honest = fieldsOf(payloadOf(bench, INTO, DONE));
  const done = (changes: object) => [at(DONE, of({ ...honest, ...changes }))];
  const begin = frameBytes(BEGIN, encodeCbor({ plainNames: true }));
  return rows(INTO, [
    ['begin-none', 'sends files without a beginning', [at(BEGIN, { do: 'drop' })], 'protocol'],
    ['begin-twice', 'begins twice', [at(BEGIN, { do: 'repeat', times: 2 })], 'protocol'],
    ['begin-late', 'begins again within the files', [at(DATA, insert(begin, 1))], 'protocol'],
    [
      'begin-more',
      'begins with a field that nobody knows',
      [at(BEGIN, of({ argument: '+all' }))],
      'protocol',
    ],
    [
      'checksum',
      'tells another checksum',
      done({ crc32: (Number(honest['crc32']) ^ 1) >>> 0 }),
      'verify-failed',
    ],
    ['checksum-none', 'tells no checksum', done({ crc32: null }), 'protocol'],
    ['checksum-huge', 'tells a checksum of more than 32 bits', done({ crc32: 2 ** 32 }), 'protocol'],
  ]);
}

export function receiverCases(bench: Bench): Case[] {
  const received = receiverRows(bench).map(([id, attack, receiver, expected, more]) =>
    caseOf({
      id: `filecopy-${id}`,
      ...{ attack, expected, receiver },
      ...{ command: INTO.command, service: RECEIVE, turns: [] },
      ...more,
    }),
  );
  return [...received, ...senderCases(bench)];
}
