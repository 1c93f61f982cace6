/** What a storage VM may try that is wholly hostile: each service by what its frames mean. */

import { encodeCbor } from '../../../shared/cbor.ts';
import { MAX_OBJECT, MAX_REQUEST, MAX_ROOT, MAX_SLOTS } from '../../../shared/limits.ts';
import { LIST_ROW } from '../../../shared/protocol/storage.ts';
import type { RootBody } from '../../../shared/root.ts';
import type { Bench } from '../bench.ts';
import { at, base64 } from '../case.ts';
import type { Case } from '../case.ts';
import { frameBytes } from '../peer/altered.ts';
import type { Turn } from '../peer/attack.ts';
import { typeOf } from '../program.ts';
import { MiB, insert, of, ofBytes, rows } from './rows.ts';
import { GET, LIST, PUT, SET_ROOT } from './sessions.ts';

const IDLE = 400;
const ROWS = Math.floor(MiB / LIST_ROW);

function putCases(): Case[] {
  const ACK = PUT.frame;
  const unknown = { id: new Uint8Array(32), stored: true };
  const acks = (...objects: object[]) => [at(ACK, of({ objects }))];
  return rows(PUT, [
    ['ack-unknown', 'acknowledges what it was not sent', acks(unknown), 'protocol'],
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
    ['ack-swapped', 'acknowledges what came last first', [at(ACK, { do: 'swap-acks' })], ['protocol']],
    [
      'discards',
      'acknowledges all and keeps nothing',
      [],
      ['warned', 'claimed'],
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

function getCases(bench: Bench): Case[] {
  const [OBJECT, ROOT, NO_ROOT, MISSING] = ['object', 'root', 'noRoot', 'missing'].map((name) =>
    typeOf(GET.service, name),
  ) as [number, number, number, number];
  const { roots, otherObject, objects } = bench.world;
  const root = (bytes: Uint8Array) => [at(ROOT, ofBytes(bytes))];
  const object = (bytes: Uint8Array) => [at(OBJECT, ofBytes(bytes))];
  const [smallest = otherObject] = objects;
  const missing = (type: number, id: Uint8Array) => [
    at(type, { do: 'frame', type: MISSING, payload: base64(encodeCbor({ id })) }),
  ];
  const clean = { clean: true } as const;
  const slot = {
    kind: 'passphrase',
    label: 'x',
    salt: new Uint8Array(16),
    memory: 128 * 1024,
    passes: 3,
    lanes: 4,
    wrapped: new Uint8Array(72),
  } as const;
  const offered = (...slots: RootBody['slots']) => root(roots.slots(slots));
  const nextVersion = Buffer.from(roots.current);
  nextVersion[7] = (nextVersion[7] ?? 0) + 1;
  const oldVersion = Buffer.from(roots.current);
  oldVersion[7] = (oldVersion[7] ?? 0) - 1;
  const bit = (share: number) => {
    const changed = Buffer.from(roots.current);
    const place = Math.min(Math.floor(share * changed.length), changed.length - 1);
    changed[place] = (changed[place] ?? 0) ^ 1;
    return changed;
  };
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
      object(smallest),
      ['store-damaged', 'honest'],
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
      ['protocol'],
    ],
    [
      'object-flood',
      'serves 16 MiB objects without end',
      [at(OBJECT, { do: 'zeros', type: OBJECT, size: MAX_OBJECT, times: 16 })],
      ['protocol', 'store-damaged'],
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
      'no-root',
      'says that there is no root',
      [at(ROOT, { do: 'frame', type: NO_ROOT, payload: base64(encodeCbor({})) })],
      'store-missing',
    ],
    [
      'no-root-late',
      'says that there is no root when asked for an object',
      [at(OBJECT, { do: 'frame', type: NO_ROOT, payload: base64(encodeCbor({})) })],
      'protocol',
    ],
    ['root-old', 'offers an older root', root(roots.old), 'store-rolled-back'],
    [
      'root-forked',
      'offers another root of the pinned number',
      root(roots.forkedSame),
      ['store-forked', 'store-rolled-back'],
    ],
    [
      'root-forked-higher',
      'offers a newer root that does not follow the pinned one',
      root(roots.forkedHigher),
      'store-forked',
    ],
    ['root-other', 'offers the root of another repository', root(roots.other), 'store-replaced'],
    [
      'root-other-clean',
      'offers the root of another repository to a clean machine',
      root(roots.other),
      'wrong-secret',
      clean,
    ],
    ['root-empty', 'offers a root of no byte', root(Buffer.alloc(0)), 'store-damaged'],
    ['root-half', 'offers half a root', root(roots.current.subarray(0, 100)), 'store-damaged'],
    [
      'root-longer',
      'offers a root with a byte more',
      root(Buffer.concat([roots.current, Buffer.of(0)])),
      'store-damaged',
    ],
    ['root-cap', 'offers 64 KiB of zeros as a root', root(Buffer.alloc(MAX_ROOT)), 'store-damaged'],
    [
      'root-over-cap',
      'offers a root larger than may be',
      [at(ROOT, { do: 'frame', length: MAX_ROOT + 1 })],
      'protocol',
    ],
    ['root-body', 'changes a bit within the signed part of the root', root(bit(0.5)), 'store-damaged'],
    ['root-signature', 'changes a bit of the root’s signature', root(bit(1)), 'store-damaged'],
    [
      'root-length',
      'changes the length field of the root',
      root(bit(9 / roots.current.length)),
      'store-damaged',
    ],
    ['root-newer', 'offers a root of a newer format', root(nextVersion), 'store-version'],
    ['root-older', 'offers a root of an older format', root(oldVersion), 'store-version'],
    [
      'root-zero-signature',
      'offers a root with a signature of zeros',
      root(Buffer.concat([roots.current.subarray(0, -64), Buffer.alloc(64)])),
      'store-damaged',
    ],
    [
      'kdf-weak',
      'offers a clean machine a passphrase slot of 8 MiB',
      offered({ ...slot, memory: 8 * 1024 }),
      'store-damaged',
      clean,
    ],
    [
      'kdf-floor',
      'offers one just below the floor',
      offered({ ...slot, memory: 64 * 1024 - 1 }),
      'store-damaged',
      clean,
    ],
    ['kdf-passes', 'offers one of two passes', offered({ ...slot, passes: 2 }), 'store-damaged', clean],
    [
      'kdf-huge',
      'offers one of 1 GiB and 1 KiB',
      offered({ ...slot, memory: 1024 * 1024 + 1 }),
      'store-damaged',
      clean,
    ],
    ['kdf-huge-passes', 'offers one of 17 passes', offered({ ...slot, passes: 17 }), 'store-damaged', clean],
    ['kdf-huge-lanes', 'offers one of 9 lanes', offered({ ...slot, lanes: 9 }), 'store-damaged', clean],
    [
      'kdf-absurd',
      'offers one of 2^53 passes',
      offered({ ...slot, passes: Number.MAX_SAFE_INTEGER }),
      'store-damaged',
      clean,
    ],
    [
      'kdf-last',
      'offers 15 good slots and a weak one',
      offered(...Array.from({ length: MAX_SLOTS - 1 }, () => slot), { ...slot, memory: 8 * 1024 }),
      'store-damaged',
      clean,
    ],
    [
      'kdf-label',
      'offers a slot with terminal escapes for a label',
      [
        at(
          ROOT,
          ofBytes(
            Buffer.concat([
              roots.current.subarray(0, 40),
              Buffer.from('\u001b[2J'),
              roots.current.subarray(44),
            ]),
          ),
        ),
      ],
      'store-damaged',
      clean,
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

function listCases(): Case[] {
  const PAGE = LIST.frame;
  const row = (id: number, size: number) =>
    Buffer.concat([Buffer.alloc(32, id), Buffer.of(0, 0, size >> 8, size & 255)]);
  const page = (...all: Buffer[]) => insert(frameBytes(PAGE, Buffer.concat(all)));
  return rows(LIST, [
    ['half-row', 'sends half a row', [at(PAGE, { do: 'shrink', bytes: 1, at: 0 })], 'protocol'],
    [
      'left-out',
      'leaves an object out',
      [at(PAGE, { do: 'shrink', bytes: LIST_ROW, at: 0 })],
      ['store-damaged', 'claimed'], // The first one may be of no snapshot.
    ],
    ['left-out-all', 'lists nothing', [at(PAGE, { do: 'frame', payload: '' })], 'store-damaged'],
    ['size-0', 'lists an object of no byte', [at(PAGE, { do: 'sizes', size: 0 })], 'store-damaged'],
    ['size-max', 'lists objects of 4 GiB', [at(PAGE, { do: 'sizes', size: 2 ** 32 - 1 })], 'store-damaged'],
    ['unsorted', 'lists out of order', [at(PAGE, page(row(255, 5000)))], 'protocol'],
    ['twice', 'lists an object twice', [at(PAGE, page(row(0, 5000), row(0, 5000)))], 'protocol'],
    ['more', 'lists an object that nobody stored', [at(PAGE, page(row(0, 5000)))], ['honest', 'claimed']],
    [
      'page-over-cap',
      'sends a page larger than may be',
      [at(PAGE, { do: 'frame', length: MiB + 1 })],
      'protocol',
    ],
    [
      'ungranted',
      'lists more than it was granted',
      [at(PAGE, { do: 'zeros', type: PAGE, size: ROWS * LIST_ROW, times: 64 })],
      'protocol',
    ],
    [
      'endless',
      'lists 4,000,000 objects that nobody stored',
      [at(PAGE, { do: 'list-many', rows: 4_000_000 })],
      'store-damaged',
    ],
  ]);
}

function setRootCases(): Case[] {
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
      ['store-conflict', 'store-forked'],
    ],
    ['conflict-short', 'names another root by 31 bytes', conflict(new Uint8Array(31)), 'protocol'],
    [
      'both',
      'says done and conflict',
      [at(DONE, insert(frameBytes(CONFLICT, encodeCbor({ current: new Uint8Array(32) }))))],
      ['protocol'],
    ],
    [
      'discards',
      'says done and publishes nothing',
      [at(CONFLICT, { do: 'frame', type: DONE, payload: base64(encodeCbor({})) })],
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

export function storageCases(bench: Bench): Case[] {
  return [...putCases(), ...getCases(bench), ...listCases(), ...setRootCases()];
}
