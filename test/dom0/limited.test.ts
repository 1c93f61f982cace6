/** R45: bandwidth limits, on a clock of the test's own. R07: the order of uploads. */

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { KIND, seal } from '../../dom0/seal/object.ts';
import { Limiter } from '../../dom0/storage/limited.ts';
import { ObjectWriter } from '../../dom0/storage/object-writer.ts';
import { Storage } from '../../dom0/storage/storage.ts';
import { TokenBucket } from '../../dom0/storage/token-bucket.ts';
import { newRepositoryId, objectIdOf } from '../../shared/ids.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { ANSWER_TIMEOUT } from '../../shared/limits.ts';
import { put } from '../../shared/protocol/storage.ts';
import { service } from '../attack/peer/storage-services.ts';
import { callHere, callStorageHere } from '../support/here.ts';
import { storeFolder } from '../support/repository-bench.ts';

const KiB = 1024;

/** A clock that stands still but for whoever sleeps. */
class VirtualClock {
  time = 0;

  now(): number {
    return this.time;
  }

  sleep(milliseconds: number): Promise<void> {
    this.time += milliseconds;
    return Promise.resolve();
  }
}

const object = (size = 10) =>
  seal(
    randomBytes(32),
    { kind: KIND.content, repository: newRepositoryId(), vm: undefined, number: 0, epoch: 1 },
    randomBytes(size),
  );

describe('R45: a token bucket', () => {
  it('lets no more through than its rate and one piece, whoever takes how much when', async () => {
    const request = fc.record({
      bytes: fc.integer({ min: 1, max: 6_400 }),
      pause: fc.integer({ min: 0, max: 500 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1 }), async (requests) => {
        const clock = new VirtualClock();
        const bucket = new TokenBucket(64 * KiB, clock);
        let passed = 0;
        for (const { bytes, pause } of requests) {
          clock.time += pause;
          await bucket.take(bytes);
          passed += bytes;
          expect(passed - bytes).toBeLessThanOrEqual((clock.time / 1000) * bucket.rate + 1e-6);
        }
      }),
    );
  });

  it('loses no time: what always waits gets the rate', async () => {
    const clock = new VirtualClock();
    const bucket = new TokenBucket(10 * KiB, clock);
    expect(bucket.piece).toBe(KiB);
    for (let taken = 0; taken < 100; taken++) await bucket.take(KiB);
    expect(clock.time).toBeCloseTo(9_900, 3);
  });
});

describe('R45: the calls of a store', () => {
  const limitedStorage = (
    upload: number | undefined,
    download: number | undefined,
    folder = storeFolder(),
  ) => {
    const clock = new VirtualClock();
    const limiter = new Limiter({ upload, download }, clock);
    const timeouts: (number | undefined)[] = [];
    const callStorage = (_name: string, name: string) => {
      const call = limiter.limit(callStorageHere(name, folder));
      timeouts.push(call.answerTimeout);
      return Promise.resolve(call);
    };
    return { clock, timeouts, folder, storage: new Storage({ callStorage }, 'vault') };
  };

  it('take as long as their bytes take, each way for itself', async () => {
    const upload = limitedStorage(100 * KiB, undefined);
    const stored = Array.from({ length: 5 }, () => object(100 * KiB));
    await Promise.all(stored.map((each) => upload.storage.put(each)));
    await upload.storage.close();
    expect(upload.clock.time).toBeGreaterThan(5_000);
    expect(upload.clock.time).toBeLessThan(7_000); // Size classes and frames.

    const download = limitedStorage(undefined, 200 * KiB, upload.folder);
    for (const { id } of stored) expect(objectIdOf((await download.storage.get(id))!)).toBe(id);
    for await (const page of download.storage.listPages()) expect(page.length).toBe(5 * 36);
    await download.storage.close();
    expect(download.clock.time).toBeGreaterThan(2_500);
    expect(download.clock.time).toBeLessThan(3_500);
  });

  it('may answer later, by what may be on its way; without limits they are as they were', () => {
    const call = callStorageHere(put.service, storeFolder());
    const slow = new Limiter({ upload: 32 * KiB, download: undefined }).limit(call);
    expect(slow.answerTimeout).toBe(ANSWER_TIMEOUT + 1_024_000);
    expect(new Limiter({ upload: undefined, download: undefined }).limit(call)).toBe(call);
    call.kill();
  });
});

describe('R07: objects that wait', () => {
  /** A storage VM that notes the order in which objects come. */
  function noting(): { call: ServiceCall; order: ObjectId[] } {
    const order: ObjectId[] = [];
    const [, serve] = service(put, async (session) => {
      for (let message = await session.receive(); message !== undefined; message = await session.receive()) {
        const id = objectIdOf(message.value);
        order.push(id);
        await session.send('ack', { objects: [{ id, stored: true }] });
      }
    });
    return { call: callHere(put.service, serve), order };
  }

  it('are sent in any order, and each is acknowledged to who put it', async () => {
    const all = Array.from({ length: 30 }, () => object());
    const orders = [];
    for (let round = 0; round < 2; round++) {
      const { call, order } = noting();
      const writer = new ObjectWriter(call);
      const acknowledged: ObjectId[] = [];
      await Promise.all(all.map((each) => writer.put(each).then(() => acknowledged.push(each.id))));
      await writer.finish();
      expect([...order].sort()).toEqual(all.map(({ id }) => id).sort());
      expect(acknowledged).toEqual(order);
      orders.push(order);
    }
    expect(orders[0]).not.toEqual(orders[1]); // By chance once in 30! runs.
  });

  it('are chosen from all that wait at that moment', async () => {
    const counts: number[] = [];
    const { call, order } = noting();
    const writer = new ObjectWriter(call, (count) => {
      counts.push(count);
      return count - 1;
    });
    const all = [object(), object(), object()];
    await Promise.all(all.map((each) => writer.put(each)));
    await writer.put(all[0]!); // The same again is the same as another.
    await writer.finish();
    expect(counts).toEqual([3, 2, 1, 1]);
    expect(order).toEqual([2, 1, 0, 0].map((index) => all[index]!.id));
  });
});
