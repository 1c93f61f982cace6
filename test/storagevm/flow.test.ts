/** Order, bounds and failures of put and get, on a store whose every step the test decides. */

import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { BackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { FRAME_COST, MAX_OBJECT, MAX_REQUEST, SERVICE_WINDOW } from '../../shared/limits.ts';
import { MIN_OBJECT, get, list, put } from '../../shared/protocol/storage.ts';
import type { FrameTable, Protocol } from '../../shared/wire/frame.ts';
import { Session } from '../../shared/wire/session.ts';
import { serveGet } from '../../storagevm/get.ts';
import { serveList } from '../../storagevm/list.ts';
import { servePut } from '../../storagevm/put.ts';
import { rejection } from '../support/failure.ts';
import { connectedPair } from '../support/peers.ts';
import { objects } from './fixtures.ts';

/** A call of the store that waits for the test's word. */
interface Step<T> {
  readonly ids: readonly ObjectId[];
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

function step<T>(steps: Step<T>[], ids: readonly ObjectId[]): Promise<T> {
  return new Promise<T>((resolve, reject) => steps.push({ ids, resolve, reject }));
}

/** A store whose every step the test decides, as far as put, get and list see one. */
class SteppedStore {
  readonly writes: Step<boolean>[] = [];
  readonly syncs: Step<void>[] = [];
  readonly reads: Step<Uint8Array | undefined>[] = [];
  readonly rows: { id: ObjectId; size: number }[] = [];
  closed = 0;

  openPuts() {
    return {
      write: (id: ObjectId) => step(this.writes, [id]),
      sync: (ids: readonly ObjectId[]) => step(this.syncs, ids),
      close: async () => {
        this.closed += 1;
        await Promise.resolve();
      },
    };
  }

  read(id: ObjectId): Promise<Uint8Array | undefined> {
    return step(this.reads, [id]);
  }

  async *list() {
    yield await Promise.resolve(this.rows);
  }

  currentRoot(): Promise<Uint8Array | undefined> {
    throw new Error('not expected');
  }
}

/** Runs `serve` on one end of a pair; answers the other end. */
function call<ToService extends FrameTable, ToCaller extends FrameTable>(
  protocol: Protocol<ToService, ToCaller>,
  serve: (session: Session<ToService, ToCaller>) => Promise<void>,
  window = 0,
) {
  const [here, there] = connectedPair();
  const service = new Session(
    there,
    { incoming: protocol.toService, outgoing: protocol.toCaller },
    { peer: 'dom0:', window: SERVICE_WINDOW },
  );
  const caller = new Session(
    here,
    { incoming: protocol.toCaller, outgoing: protocol.toService },
    { peer: 'vault:', window, autoGrant: false },
  );
  onTestFinished(() => {
    service.fail(new BackupError('internal', 'the test is over'));
    caller.fail(new BackupError('internal', 'the test is over'));
  });
  const served = serve(service).then(() => service.finish());
  served.catch(() => undefined); // Tests that expect a failure await it.
  return { caller, served };
}

/** Lets everything happen that can happen by itself. */
async function settle(): Promise<void> {
  for (let i = 0; i < 200; i++) await turn();
}

describe('qubes.BackupPut', () => {
  test('R40: acknowledges nothing before it is durable, and a group by one sync', async () => {
    const store = new SteppedStore();
    const { caller } = call(put, (session) => servePut(session, store));
    const [a, b, c] = objects(3);
    for (const { bytes } of [a!, b!, c!]) await caller.send('object', bytes);
    await settle();
    expect(store.writes).toHaveLength(3); // All at once.
    store.writes[1]!.resolve(true);
    store.writes[2]!.resolve(false);
    await settle();
    expect(store.syncs).toHaveLength(0); // The first to come is the first to be acknowledged.
    store.writes[0]!.resolve(true);
    await settle();
    expect(store.syncs.map(({ ids }) => ids)).toEqual([[a!.id, b!.id, c!.id]]);
    expect(caller.pending).toBe(false);
    store.syncs[0]!.resolve();
    expect(await caller.receive()).toEqual({
      name: 'ack',
      value: {
        objects: [
          { id: a!.id, stored: true },
          { id: b!.id, stored: true },
          { id: c!.id, stored: false },
        ],
      },
    });
  });

  test('writes on while a group is made durable', async () => {
    const store = new SteppedStore();
    const { caller, served } = call(put, (session) => servePut(session, store));
    const [a, b, c] = objects(3);
    await caller.send('object', a!.bytes);
    await settle();
    store.writes[0]!.resolve(true);
    await caller.send('object', b!.bytes);
    await caller.send('object', c!.bytes);
    await caller.finish();
    await settle();
    store.writes[1]!.resolve(true);
    store.writes[2]!.resolve(true);
    await settle();
    expect(store.syncs).toHaveLength(1);
    store.syncs[0]!.resolve();
    await settle();
    expect(store.syncs.map(({ ids }) => ids)).toEqual([[a!.id], [b!.id, c!.id]]);
    store.syncs[1]!.resolve();
    await served;
  });

  test('acknowledges what came before a failure, nothing after it, and starts no more', async () => {
    const store = new SteppedStore();
    const { caller, served } = call(put, (session) => servePut(session, store));
    const [a, b, c, d] = objects(4);
    for (const { bytes } of [a!, b!, c!]) await caller.send('object', bytes);
    await settle();
    store.writes[0]!.resolve(true);
    store.writes[1]!.reject(new BackupError('store-full', 'no room'));
    store.writes[2]!.resolve(true);
    await settle();
    expect(store.syncs.map(({ ids }) => ids)).toEqual([[a!.id]]);
    store.syncs[0]!.resolve();
    expect((await caller.receive())?.value).toEqual({ objects: [{ id: a!.id, stored: true }] });
    expect((await rejection(served)).code).toBe('store-full');
    await caller.send('object', d!.bytes);
    await settle();
    expect(store.writes).toHaveLength(3);
    expect(caller.pending).toBe(false);
  });

  test('a failure to make durable acknowledges nothing', async () => {
    const store = new SteppedStore();
    const { caller, served } = call(put, (session) => servePut(session, store));
    await caller.send('object', objects(1)[0]!.bytes);
    await settle();
    store.writes[0]!.resolve(true);
    await settle();
    store.syncs[0]!.reject(new BackupError('io', 'the disk is gone'));
    expect((await rejection(served)).code).toBe('io');
    expect(caller.pending).toBe(false);
  });

  test('holds no more bytes than its window, and no more objects than one acknowledgement names', async () => {
    for (const [size, most] of [
      [8 << 20, SERVICE_WINDOW / (8 << 20)],
      [MIN_OBJECT, MAX_REQUEST],
    ] as const) {
      const store = new SteppedStore();
      const { caller } = call(put, (session) => servePut(session, store));
      const one = objects(1, size)[0]!;
      for (let i = 0; i < most + 3; i++) void caller.send('object', one.bytes).catch(() => undefined);
      await expect.poll(() => store.writes.length).toBe(most);
      await settle();
      expect(store.writes).toHaveLength(most);
      store.writes[0]!.resolve(true);
      await settle();
      store.syncs[0]!.resolve();
      await expect.poll(() => store.writes.length).toBe(most + 1);
    }
  });
});

describe('qubes.BackupGet', () => {
  test('reads a few ahead of a caller that takes nothing, and answers in order', async () => {
    const store = new SteppedStore();
    const { caller } = call(get, (session) => serveGet(session, store));
    const some = objects(20);
    await caller.send('want', { ids: some.map(({ id }) => id) });
    await settle();
    const ahead = store.reads.length;
    expect(ahead).toBeGreaterThan(1);
    expect(ahead).toBeLessThanOrEqual(8);
    store.reads[1]!.resolve(some[1]!.bytes);
    store.reads[0]!.resolve(some[0]!.bytes);
    await settle();
    expect(store.reads).toHaveLength(ahead); // Nothing is on its way without credit.
    caller.grant(2 * (MIN_OBJECT + FRAME_COST));
    expect((await caller.receive())?.value).toEqual(some[0]!.bytes);
    expect((await caller.receive())?.value).toEqual(some[1]!.bytes);
    await settle();
    expect(store.reads).toHaveLength(ahead + 2);
  });

  test('an unreadable object is missing; any other failure ends the session', async () => {
    const store = new SteppedStore();
    const { caller, served } = call(get, (session) => serveGet(session, store), MAX_OBJECT);
    const [a, b] = objects(2);
    await caller.send('want', { ids: [a!.id, b!.id] });
    await settle();
    store.reads[1]!.reject(new BackupError('store-version', 'too new'));
    store.reads[0]!.reject(new BackupError('io', 'EIO: the disk has a bad block'));
    expect(await caller.receive()).toEqual({ name: 'missing', value: { id: a!.id } });
    expect((await rejection(served)).code).toBe('store-version');
  });
});

test('qubes.BackupList caps a size that no row can hold', async () => {
  const store = new SteppedStore();
  const [a] = objects(1);
  store.rows.push({ id: a!.id, size: 2 ** 40 });
  const { caller, served } = call(list, (session) => serveList(session, store), 1 << 20);
  await caller.send('start', {});
  const page = await caller.receive();
  expect(Buffer.from(page!.value).toString('hex')).toBe(`${a!.id}ffffffff`);
  await served;
});
