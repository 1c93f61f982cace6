/** What a hostile client may try against the services of a storage VM: one that has taken over dom0, or its place. */

import { MAX_CONTROL, MAX_OBJECT, MAX_REQUEST, MAX_ROOT, MAX_TEXT } from '../../../shared/limits.ts';
import { MIN_OBJECT, get, list, put, setRoot } from '../../../shared/protocol/storage.ts';
import type { Root } from '../../../shared/root.ts';
import { MAGIC } from '../../../shared/wire/frame.ts';
import { TestRepository, object } from '../../storagevm/fixtures.ts';
import type { TestObject } from '../../storagevm/fixtures.ts';
import { controlFrame, credit, end, error, frame, ping } from '../../support/peers.ts';
import { NEWER_MAGIC, frameBytes } from '../peer/altered.ts';

/** What the client attacks: a store with three roots and some objects. */
export interface Store {
  readonly repository: TestRepository;
  readonly roots: readonly [Root, Root, Root];
  readonly objects: readonly TestObject[];
}

export interface ClientCase {
  readonly id: string;
  readonly attack: string;
  readonly service: string;
  readonly bytes: readonly Uint8Array[];
  /** The code that the service reports, or `done`. */
  readonly expected: string;
  /** Hangs up at once, as one that crashed. */
  readonly deaf: boolean;
  /** Names of objects that may be there afterwards; `any` for all that were sent. */
  readonly stores: readonly string[];
  /** What clients beside it say at the same time; one of them all publishes a root. */
  readonly rivals: readonly (readonly Uint8Array[])[];
}

const SERVICES = [put, get, list, setRoot].map(({ service }) => service);
const REQUEST = new Uint8Array(32);

type Row = readonly [
  id: string,
  attack: string,
  bytes: readonly Uint8Array[],
  expected: string,
  more?: Partial<ClientCase>,
];

function rows(service: string, all: readonly Row[]): ClientCase[] {
  const name = service.replace('qubes.Backup', '').toLowerCase();
  return all.map(([id, attack, bytes, expected, more]) => ({
    ...{ id: `client-${name}-${id}`, attack, service, bytes, expected, deaf: false, stores: [], rivals: [] },
    ...more,
  }));
}

/** Below the meaning of frames, against each service. */
function general(service: string): ClientCase[] {
  return rows(service, [
    ['half-magic', 'hangs up within the magic', [MAGIC.subarray(0, 4)], 'service-died', { deaf: true }],
    ['banner', 'greets like a login shell', [Buffer.from('Welcome to Debian\n')], 'protocol'],
    ['newer', 'speaks a newer version', [NEWER_MAGIC], 'protocol'],
    ['nothing', 'hangs up after the magic', [MAGIC], 'service-died', { deaf: true }],
    ['half-header', 'hangs up within a header', [MAGIC, Buffer.of(0x80, 0)], 'service-died', { deaf: true }],
    [
      'half-frame',
      'crashes within a frame',
      [MAGIC, frame(0x02, Buffer.alloc(100)).subarray(0, 50)],
      'service-died',
      { deaf: true },
    ],
    ['unknown', 'sends a frame of unknown type', [MAGIC, frame(0x6f, new Uint8Array(4))], 'protocol'],
    [
      'length-max',
      'says a length of 4 GiB',
      [MAGIC, frameBytes(0x80, Buffer.alloc(0), 2 ** 32 - 1)],
      'protocol',
    ],
    [
      'control-cap',
      'says a control frame above its cap',
      [MAGIC, frameBytes(0x02, Buffer.alloc(0), MAX_CONTROL + 1)],
      'protocol',
    ],
    ['counts', 'counts wrongly what it said', [MAGIC, end(7, 7)], 'protocol'],
    ['error', 'reports an error of its own', [MAGIC, error('internal', 'dom0 gave up')], 'service-failed'],
    [
      'error-escapes',
      'hides terminal escapes in an error',
      [MAGIC, error('internal', '\u001b[2J')],
      'protocol',
    ],
    [
      'error-long',
      'tells a long story in an error',
      [MAGIC, error('internal', 'x'.repeat(MAX_TEXT + 1))],
      'protocol',
    ],
    ['credit-much', 'grants impossible credit', [MAGIC, credit(2 ** 33)], 'protocol'],
    [
      'ping-flood',
      'floods with signs of life, and ends as it should not',
      [MAGIC, ...Array.from({ length: 20_000 }, () => ping()), end(0, 0)],
      'protocol',
    ],
    ['deep', 'sends CBOR 30,000 deep', [MAGIC, frame(0x02, Buffer.alloc(30_000, 0x81))], 'protocol'],
    [
      'duplicate',
      'sends a key twice',
      [MAGIC, frame(0x04, Buffer.from('a2616101616102', 'hex'))],
      'protocol',
    ],
    ['tag', 'sends a tag', [MAGIC, frame(0x04, Buffer.from('c1a0', 'hex'))], 'protocol'],
    [
      'indefinite',
      'sends a map of unstated length',
      [MAGIC, frame(0x04, Buffer.from('bfff', 'hex'))],
      'protocol',
    ],
    ['field', 'sends a field that nobody knows', [MAGIC, controlFrame(0x04, { path: 'x' })], 'protocol'],
  ]);
}

function putCases(): ClientCase[] {
  const one = object();
  const two = object(100_000);
  const sent = frame(0x80, one.bytes);
  const largest = frame(0x80, new Uint8Array(MAX_OBJECT));
  return rows(put.service, [
    [
      'tiny',
      'puts an object below the smallest',
      [MAGIC, frame(0x80, new Uint8Array(MIN_OBJECT - 1))],
      'protocol',
    ],
    ['empty', 'puts an object of no byte', [MAGIC, frame(0x80, new Uint8Array(0))], 'protocol'],
    [
      'over-cap',
      'says an object one byte above the largest',
      [MAGIC, frameBytes(0x80, Buffer.alloc(0), MAX_OBJECT + 1)],
      'protocol',
    ],
    [
      'half',
      'crashes within the second object',
      [MAGIC, sent, frame(0x80, two.bytes).subarray(0, 50_000)],
      'service-died',
      { deaf: true, stores: [one.id] },
    ],
    [
      'no-end',
      'crashes before its final frame',
      [MAGIC, sent],
      'service-died',
      { deaf: true, stores: [one.id] },
    ],
    [
      'again',
      'puts one object 1,000 times',
      [MAGIC, ...Array.from({ length: 1000 }, () => sent), end(1000, 1000 * sent.length)],
      'done',
      { stores: [one.id] },
    ],
    [
      'flood',
      'puts more than it was granted',
      // As many as no disk takes while they come; and an end, so that a service which took them all would say so.
      [MAGIC, ...Array.from({ length: 64 }, () => largest), end(64, 64 * largest.length)],
      'protocol',
      { stores: ['any'] },
    ],
    ['other-way', 'sends an acknowledgement', [MAGIC, controlFrame(0x10, { objects: [] })], 'protocol'],
    ['ask', 'asks the wrong service', [MAGIC, controlFrame(0x11, {})], 'protocol'],
  ]);
}

function getCases({ objects }: Store): ClientCase[] {
  const want = (ids: unknown) => [MAGIC, controlFrame(0x10, { ids })];
  const known = objects[0]?.id ?? '';
  const idBytes = Buffer.from(known, 'hex');
  const asked = controlFrame(0x10, { ids: Array.from({ length: MAX_REQUEST }, () => idBytes) });
  return rows(get.service, [
    ['path', 'asks for a path', want(['../../../../etc/passwd']), 'protocol'],
    [
      'path-bytes',
      'asks for a path of 32 bytes',
      [
        ...want([Buffer.from('../../../../../../../../etc/passwd').subarray(0, 32)]),
        end(1, controlFrame(0x10, { ids: [REQUEST] }).length),
      ],
      'done',
    ],
    [
      'path-long',
      'asks for a path of more bytes',
      want([Buffer.from('../../../../../../../../../../etc/shadow')]),
      'protocol',
    ],
    ['path-nul', 'asks for a name with NUL', want(['\u0000'.repeat(32)]), 'protocol'],
    ['short', 'asks by 31 bytes', want([new Uint8Array(31)]), 'protocol'],
    ['none', 'asks for nothing', want([]), 'protocol'],
    [
      'many',
      'asks for more than a request may name',
      want(Array.from({ length: MAX_REQUEST + 1 }, () => REQUEST)),
      'protocol',
    ],
    [
      'field',
      'asks with a path beside',
      [MAGIC, controlFrame(0x10, { ids: [REQUEST], path: '/etc/passwd' })],
      'protocol',
    ],
    [
      'flood',
      'asks 500,000 times and grants nothing',
      [MAGIC, ...Array.from({ length: 2_000 }, () => asked)],
      'protocol',
    ],
    ['put', 'puts an object', [MAGIC, frame(0x80, object().bytes)], 'protocol'],
  ]);
}

function listCases(): ClientCase[] {
  const start = controlFrame(0x10, {});
  return rows(list.service, [
    [
      'twice',
      'asks twice',
      [MAGIC, credit(2 ** 20 * 4), start, start, end(3, 2 * start.length + credit(2 ** 20 * 4).length)],
      'protocol',
    ],
    ['path', 'asks for a folder', [MAGIC, controlFrame(0x10, { folder: '/etc' })], 'protocol'],
    [
      'delete',
      'asks for a deletion, which there is not',
      [MAGIC, controlFrame(0x12, { id: REQUEST })],
      'protocol',
    ],
  ]);
}

function setRootCases({ repository, roots }: Store): ClientCase[] {
  const [first, second, last] = roots;
  const next = repository.root(last);
  const sent = (root: Uint8Array, current: string = last.hash) => {
    const expected = controlFrame(0x10, { current: Buffer.from(current, 'hex') });
    const said = frame(0x80, root);
    return [MAGIC, expected, said, end(2, expected.length + said.length)];
  };
  const flipped = (root: Root, at: number) =>
    root.bytes.map((byte, index) => (index === at ? byte ^ 1 : byte));
  const other = new TestRepository();
  const { next: heir, root: handed } = repository.replaceKey(last);
  const rotations = handed.body.rotations.map((entry) => ({ ...entry, signature: new Uint8Array(64) }));
  const forged = heir.root(last, { rotations }).bytes;
  return rows(setRoot.service, [
    [
      'unsigned',
      'publishes a root with a signature of zeros',
      sent(Buffer.concat([next.bytes.subarray(0, -64), Buffer.alloc(64)])),
      'store-damaged',
    ],
    [
      'body',
      'publishes a root that was changed after it was signed',
      sent(flipped(next, 60)),
      'store-damaged',
    ],
    [
      'forged-rotation',
      'publishes a root of another key, with a forged signature by which the right one hands over',
      sent(forged),
      'store-damaged',
    ],
    ['foreign', 'publishes a root of another key', sent(other.root(last).bytes), 'store-replaced'],
    [
      'foreign-first',
      'publishes a first root of another key',
      sent(other.root().bytes, '0'.repeat(64)),
      'store-replaced',
    ],
    [
      'older',
      'publishes a root of a smaller number',
      sent(repository.root(last, { counter: 2 }).bytes),
      'store-rolled-back',
    ],
    [
      'same-number',
      'publishes a root of the same number',
      sent(repository.root(last, { counter: 3 }).bytes),
      'store-rolled-back',
    ],
    [
      'skip',
      'publishes a root that exhausts the counter',
      sent(repository.root(last, { counter: Number.MAX_SAFE_INTEGER }).bytes),
      'refused',
    ],
    [
      'fork',
      'publishes a root that follows an older one',
      sent(repository.root(second, { counter: 4 }).bytes, second.hash),
      'done',
    ],
    ['replay', 'publishes an old root again', sent(second.bytes, first.hash), 'done'],
    ['again', 'publishes the current root again', sent(last.bytes, second.hash), 'done'],
    ['unexpected', 'expects a root that is not current', sent(next.bytes, first.hash), 'done'],
    ['empty', 'publishes a root of no byte', sent(Buffer.alloc(0)), 'store-damaged'],
    ['zeros', 'publishes 64 KiB of zeros', sent(Buffer.alloc(MAX_ROOT)), 'store-damaged'],
    [
      'over-cap',
      'publishes more than a root may be',
      [MAGIC, frameBytes(0x80, Buffer.alloc(0), MAX_ROOT + 1)],
      'protocol',
    ],
    ['root-first', 'publishes before it says what it expects', [MAGIC, frame(0x80, next.bytes)], 'protocol'],
    [
      'twice',
      'publishes two roots in a session',
      [MAGIC, ...sent(last.bytes, second.hash).slice(1, 3), frame(0x80, next.bytes), end(3, 1)],
      'protocol',
    ],
    [
      'race',
      'publishes, as three others do at the same time',
      sent(next.bytes),
      'done',
      { rivals: [1, 2, 3].map(() => sent(repository.root(last).bytes)) },
    ],
    [
      'half',
      'crashes within the root',
      [MAGIC, ...sent(next.bytes).slice(1, 2), frame(0x80, next.bytes).subarray(0, 99)],
      'service-died',
      { deaf: true },
    ],
    [
      'expect-short',
      'expects a root by 31 bytes',
      [MAGIC, controlFrame(0x10, { current: new Uint8Array(31) })],
      'protocol',
    ],
    ['expect-path', 'expects a path', [MAGIC, controlFrame(0x10, { current: '../../head' })], 'protocol'],
    [
      'longer',
      'publishes a root with a byte more',
      sent(Buffer.concat([next.bytes, Buffer.of(0)])),
      'store-damaged',
    ],
  ]);
}

export function clientCases(store: Store): ClientCase[] {
  return [
    ...SERVICES.flatMap(general),
    ...putCases(),
    ...getCases(store),
    ...listCases(),
    ...setRootCases(store),
  ];
}
