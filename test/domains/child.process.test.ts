/** R50: Ctrl-C is dom0's alone, from the first instant of a child on. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT, run } from '../support/processes.ts';

test('a child that Ctrl-C meets before its program begins is started again', async () => {
  const parent = join(PROJECT, 'test/domains/interrupted-parent.ts');
  const { code, stdout, stderr } = await run(process.execPath, [parent], { detached: true });
  expect([code, stderr]).toEqual([0, '']);
  const { signals, ends } = JSON.parse(stdout.toString()) as { signals: number; ends: unknown[] };
  expect(signals).toBeGreaterThan(10);
  expect(ends).toEqual(Array.from({ length: 100 }, () => 0));
});
