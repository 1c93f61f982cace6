/** Memory of large payloads is used again, and there is never much of it. */

import { describe, expect, it } from 'vitest';
import { PayloadMemory } from '../../../shared/wire/payload-memory.ts';

const MiB = 1024 * 1024;

describe('memory of payloads', () => {
  it('is used again for what fits and does not leave most of it idle, and has no other bytes beside', () => {
    const memory = new PayloadMemory();
    const first = memory.take(8 * MiB);
    memory.giveBack(first);
    const small = memory.take(3 * MiB);
    expect(small.buffer).not.toBe(first.buffer);
    const second = memory.take(5 * MiB);
    expect(second.buffer).toBe(first.buffer);
    expect(second.length).toBe(5 * MiB);
    expect(memory.take(5 * MiB).buffer).not.toBe(first.buffer); // It is taken.
    memory.giveBack(second);
    expect(memory.take(8 * MiB).buffer).toBe(first.buffer); // All of it is there again.
  });

  it('of small ones is not kept, nor more than 32 MiB', () => {
    const memory = new PayloadMemory();
    const small = memory.take(MiB - 1);
    memory.giveBack(small);
    expect(memory.take(MiB - 1).buffer).not.toBe(small.buffer);
    const large = Array.from({ length: 6 }, () => memory.take(8 * MiB));
    for (const one of large) memory.giveBack(one);
    const again = Array.from({ length: 6 }, () => memory.take(8 * MiB).buffer);
    expect(again.filter((buffer) => large.some((one) => one.buffer === buffer))).toHaveLength(4);
  });
});
