/** The memory of sealed objects is used again, for ciphertexts alone and only once they are stored; that of opened ones, for plaintexts. */

import { expect, it } from 'vitest';
import { KIND } from '../../dom0/seal/object.ts';
import { Machine, historyFor, storeFolder } from '../support/repository-bench.ts';
import { dying } from '../support/stores-bench.ts';

/** Bytes: memory of so much is kept. */
const LARGE = 2 * 2 ** 20;

async function opened() {
  const machine = new Machine(storeFolder());
  const broken = { isSo: false };
  machine.wrap = (call) => dying(call, () => broken.isSo);
  const { store } = await machine.create();
  const history = await historyFor(await machine.open());
  const put = (number: number, fill: number) => {
    const payload = new Uint8Array(LARGE).fill(fill);
    const sealer = history.sealer(KIND.content, number, 1);
    return { ...store.put(sealer, payload), payload, sealer };
  };
  return { store, put, broken };
}

const memoryOf = ({ object }: { object: { pieces: readonly Uint8Array[] } }) => object.pieces[1]?.buffer;

it('is used again once an object is stored, and what is there stays right', async () => {
  const { store, put } = await opened();
  const first = put(1, 0x11);
  await first.durable;
  const second = put(2, 0x22);
  await second.durable;
  expect(memoryOf(second)).toBe(memoryOf(first));
  for (const { object, payload, sealer } of [first, second])
    expect(Buffer.compare(await store.getFromStorage(sealer, object.id, 'blob'), payload)).toBe(0);
  expect(
    first.payload.every((byte) => byte === 0x11),
    'a plaintext is none of its memory',
  ).toBe(true);
});

it('is not used for another object before the store has it', async () => {
  const { put } = await opened();
  const objects = [put(1, 1), put(2, 2), put(3, 3)];
  expect(new Set(objects.map(memoryOf)).size).toBe(3);
  await Promise.all(objects.map(({ durable }) => durable));
});

it('is not used again after a failure: it may still be on its way', async () => {
  const { put, broken } = await opened();
  broken.isSo = true;
  const first = put(1, 1);
  await expect(first.durable).rejects.toMatchObject({ code: 'service-died' });
  const second = put(2, 2);
  expect(memoryOf(second)).not.toBe(memoryOf(first));
  await expect(second.durable).rejects.toThrow();
});

it('that of a blob is used again once it was given back, for what is opened and nothing else', async () => {
  const { store, put } = await opened();
  const [first, second] = [put(1, 0x11), put(2, 0x22)];
  await Promise.all([first.durable, second.durable]);
  const get = ({ object, sealer }: typeof first) => store.getFromStorage(sealer, object.id, 'blob');
  const one = await get(first);
  const other = await get(second);
  expect(other.buffer).not.toBe(one.buffer);
  store.giveBack(one);
  const sealed = put(3, 0x33);
  expect(memoryOf(sealed)).not.toBe(one.buffer);
  await sealed.durable;
  const again = await get(second);
  expect(again.buffer).toBe(one.buffer);
  for (const blob of [other, again]) expect(Buffer.compare(blob, second.payload)).toBe(0);
});
