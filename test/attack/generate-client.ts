/**
 * Generated sessions of a hostile client with the services of a storage VM: honest frames in any order, some of them
 * altered, decided by a seed and a number.
 */

import * as fc from 'fast-check';
import { MAX_ROOT } from '../../shared/limits.ts';
import { MIN_OBJECT, get, list, put, setRoot } from '../../shared/protocol/storage.ts';
import { MAGIC } from '../../shared/wire/frame.ts';
import { TestRepository } from '../storagevm/fixtures.ts';
import { controlFrame, credit, end, error, frame, ping } from '../support/peers.ts';
import { alteredFrame, alterations } from './generate-frame.ts';
import type { Store } from './list/client.ts';

export interface GeneratedClient {
  readonly id: string;
  readonly service: string;
  /** After which it hangs up: a service need not wait for what may never come. */
  readonly bytes: readonly Uint8Array[];
}

export const CLIENT_PREFIX = 'client-generated-';

/** The `number`-th session of `seed`. */
export function generateClient(store: Store, seed: number, number: number): GeneratedClient {
  const [drawn] = fc.sample(sessions(store), { numRuns: 1, seed: Math.imul(seed, 1_000_003) + number });
  if (drawn === undefined) throw new Error('nothing was generated');
  return { id: `${CLIENT_PREFIX}${number}`, ...drawn };
}

/** Objects of sizes around the limits, and those that are there. */
function objectsOf({ objects }: Store): fc.Arbitrary<Uint8Array> {
  const sizes = fc.oneof(
    fc.integer({ min: MIN_OBJECT - 2, max: MIN_OBJECT + 2 }),
    fc.constantFrom(0, 1, 100_000, 1_000_000),
    fc.integer({ min: MIN_OBJECT, max: 50_000 }),
  );
  const made = fc
    .record({ size: sizes, fill: fc.nat(255) })
    .map(({ size, fill }) => Buffer.alloc(size, fill));
  return fc.oneof(made, fc.constantFrom(...objects.map(({ bytes }) => bytes)));
}

/** Names of objects, known or not; sometimes more than a request may hold. */
function idsOf({ objects }: Store): fc.Arbitrary<Uint8Array[]> {
  const known = fc.constantFrom(...objects.map(({ id }) => Buffer.from(id, 'hex')));
  const one = fc.oneof(known, fc.uint8Array({ minLength: 32, maxLength: 32 }));
  return fc.array(one, { minLength: 1, maxLength: 300 });
}

/** Roots that may follow, and roots that may not. */
function rootsOf({ repository, roots: [first, second, last] }: Store): fc.Arbitrary<Uint8Array> {
  const other = new TestRepository();
  const right = [
    repository.root(last),
    repository.root(last, { counter: 5 }),
    repository.replaceKey(last).root,
  ];
  const wrong = [
    repository.root(last, { counter: 2 ** 40 }),
    repository.root(last, { counter: 3 }),
    repository.root(second),
    repository.root(first),
    other.root(last),
    other.root(),
    last,
    second,
  ];
  return fc.oneof(
    fc.constantFrom(...right.map(({ bytes }) => bytes)),
    fc.constantFrom(...wrong.map(({ bytes }) => bytes), Buffer.alloc(MAX_ROOT)),
  );
}

/** What a client may ask for at a time, of each service: the frames of one request. */
function requestsOf(store: Store): Readonly<Record<Service, fc.Arbitrary<Buffer[]>>> {
  const [, second, last] = store.roots;
  const hashes = fc.oneof(
    { weight: 3, arbitrary: fc.constant<string>(last.hash) },
    { weight: 1, arbitrary: fc.constantFrom<string>(second.hash, '0'.repeat(64), 'f'.repeat(64)) },
  );
  const want = idsOf(store).map((ids) => [controlFrame(0x10, { ids })]);
  return {
    [put.service]: objectsOf(store).map((bytes) => [frame(0x80, bytes)]),
    [get.service]: fc.oneof(want, want, fc.constant<Buffer[]>([controlFrame(0x11, {})])),
    [list.service]: fc.constant([controlFrame(0x10, {})]),
    [setRoot.service]: fc
      .record({ hash: hashes, root: rootsOf(store) })
      .map(({ hash, root }) => [
        controlFrame(0x10, { current: Buffer.from(hash, 'hex') }),
        frame(0x80, root),
      ]),
  };
}

const SERVICES = [put.service, get.service, list.service, setRoot.service] as const;
type Service = (typeof SERVICES)[number];

/** What every session has, and errors. */
const common = fc.oneof(
  fc.constantFrom(ping(), error('internal', 'x')),
  fc.constantFrom(1, 5000, 2 ** 20, 2 ** 25, 2 ** 32).map((bytes) => credit(bytes)),
);

/** All that a client of `service` says, in order. */
function spoken(store: Store, service: Service): fc.Arbitrary<Buffer[]> {
  const requests = requestsOf(store);
  const own = requests[service];
  const foreign = fc.oneof(...SERVICES.map((one) => requests[one]));
  const any = fc.oneof(
    { weight: 12, arbitrary: own },
    { weight: 2, arbitrary: common.map((one) => [one]) },
    { weight: 1, arbitrary: foreign },
  );
  const many = fc.array(any, { maxLength: 12, size: 'medium' }).map((some) => some.flat());
  // Two of them take one request, and refuse all else before they look at it.
  const single = ([list.service, setRoot.service] as Service[]).includes(service);
  const granted = fc.boolean().map((yes) => (yes ? [credit(2 ** 25)] : []));
  return fc
    .tuple(granted, single ? fc.oneof(own, own, own, many) : many)
    .map(([first, rest]) => [...first, ...rest]);
}

function sessions(store: Store): fc.Arbitrary<Omit<GeneratedClient, 'id'>> {
  const magic = fc.oneof(
    { weight: 30, arbitrary: fc.constant<Uint8Array>(MAGIC) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 16 }) },
  );
  return fc.constantFrom(...SERVICES).chain((service) =>
    fc
      .record({
        frames: spoken(store, service),
        changes: alterations(),
        magic,
        ending: fc.constantFrom('end', 'end', 'end', 'lie', 'crash'),
      })
      .map(({ frames, changes, magic: first, ending }) => {
        const said = frames.flatMap((one, at) => {
          const found = changes.find(({ nth }) => nth === at);
          return found === undefined ? [one] : alteredFrame(one, found.how);
        });
        const length = said.reduce((sum, { length: bytes }) => sum + bytes, 0);
        const final = end(said.length + (ending === 'lie' ? 1 : 0), length);
        return { service, bytes: [first, ...said, ...(ending === 'crash' ? [] : [final])] };
      }),
  );
}
