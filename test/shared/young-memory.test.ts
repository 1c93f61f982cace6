/** The young generation is collected once in a while of what is said to be used, and only it. */

import { afterEach, expect, it, vi } from 'vitest';
import { DOM0_NODE_OPTIONS, NODE_OPTIONS } from '../../shared/node-options.ts';
import { usedBuffers } from '../../shared/young-memory.ts';

const MiB = 1024 * 1024;

afterEach(() => vi.unstubAllGlobals());

it('is collected after each 24 MiB of buffers, not for fewer, and never the whole heap', () => {
  const calls: unknown[] = [];
  vi.stubGlobal('gc', (options: unknown) => calls.push(options));
  usedBuffers(24 * MiB); // Whatever was counted before, it begins anew.
  calls.length = 0;
  for (let i = 0; i < 72; i++) usedBuffers(MiB);
  expect(calls).toEqual([{ type: 'minor' }, { type: 'minor' }, { type: 'minor' }]);
  usedBuffers(24 * MiB - 1);
  expect(calls).toHaveLength(3);
  usedBuffers(1);
  expect(calls).toHaveLength(4);
});

it('is left alone where Node.js does not offer it', () => {
  vi.stubGlobal('gc', undefined);
  expect(() => usedBuffers(48 * MiB)).not.toThrow();
});

it('may be collected in every part that moves much data', () => {
  for (const options of [DOM0_NODE_OPTIONS, NODE_OPTIONS.dvm, NODE_OPTIONS.storagevm])
    expect(options).toContain('--expose-gc');
});
