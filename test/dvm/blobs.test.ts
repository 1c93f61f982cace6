import { beforeEach, describe, expect, test } from 'vitest';
import { concat, u64 } from '../../shared/bytes.ts';
import { BackupError } from '../../shared/errors.ts';
import { MAX_REQUEST } from '../../shared/limits.ts';
import { SessionBlobs } from '../../dvm/blobs.ts';
import { failure, rejection } from '../support/failure.ts';

let asked: number[][] = [];
let blobs: SessionBlobs;

beforeEach(() => {
  asked = [];
  blobs = new SessionBlobs({
    send: (_name, { numbers }) => {
      asked.push(numbers);
      return Promise.resolve();
    },
  });
});

const message = (number: number) => new Uint8Array(concat([u64(number), Uint8Array.of(number)]));
/** Lets what was asked within one turn go out. */
const turn = () => Promise.resolve();

describe('blobs of a session', () => {
  test('come to who asked, many to a request', async () => {
    const wanted = [3, 1, 2].map((number) => blobs.get(number));
    await turn();
    expect(asked).toEqual([[3, 1, 2]]);
    for (const number of [3, 1, 2]) blobs.deliver(message(number));
    expect(await Promise.all(wanted)).toEqual([3, 1, 2].map((number) => Uint8Array.of(number)));
  });

  test('a request holds no more numbers than the protocol allows', async () => {
    for (let i = 0; i < MAX_REQUEST + 1; i++) void blobs.get(i);
    await turn();
    expect(asked.map(({ length }) => length)).toEqual([MAX_REQUEST, 1]);
  });

  test('the same number is asked once at a time', async () => {
    const wanted = [blobs.get(1), blobs.get(1)];
    await turn();
    blobs.deliver(message(1));
    expect(await Promise.all(wanted)).toEqual([Uint8Array.of(1), Uint8Array.of(1)]);
    expect(asked).toEqual([[1]]);
  });

  test('what is announced is asked ahead within a bound, and further as it is taken', async () => {
    blobs.prefetch(Array.from({ length: 100 }, (_, i) => i));
    await turn();
    const first = asked.flat().length;
    expect(first).toBeGreaterThan(1);
    expect(first).toBeLessThan(20);
    for (let i = 0; i < first; i++) blobs.deliver(message(i));
    await turn();
    expect(asked.flat().length).toBe(first); // Arrived, but not taken.
    expect(await blobs.get(0)).toEqual(Uint8Array.of(0));
    await turn();
    expect(asked.flat()).toEqual(Array.from({ length: first + 1 }, (_, i) => i));
  });

  test('what is needed now does not wait behind what was announced', async () => {
    blobs.prefetch(Array.from({ length: 100 }, (_, i) => i));
    void blobs.get(99);
    await turn();
    expect(asked.flat().at(-1)).toBe(99);
  });

  test('a blob out of turn, unasked or without a number breaks the protocol', async () => {
    expect(failure(() => blobs.deliver(message(1))).code).toBe('protocol');
    void blobs.get(1);
    void blobs.get(2);
    await turn();
    expect(failure(() => blobs.deliver(message(2))).code).toBe('protocol');
    expect(failure(() => blobs.deliver(new Uint8Array(7))).code).toBe('protocol');
  });

  test('a failure reaches who waits and who asks later', async () => {
    const early = rejection(blobs.get(1));
    await turn();
    blobs.fail(new BackupError('timeout', 'silence'));
    expect((await early).code).toBe('timeout');
    expect((await rejection(blobs.get(2))).code).toBe('timeout');
  });

  test('a request that cannot be sent fails who waits', async () => {
    const broken = new SessionBlobs({ send: () => Promise.reject(new BackupError('service-died', 'gone')) });
    expect((await rejection(broken.get(1))).code).toBe('service-died');
  });
});
