/** R50: Ctrl-C is dom0's alone, from the first instant of a child on; what cannot be started is named. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startService } from '../../dom0/domains/service-process.ts';
import { rejection } from '../support/failure.ts';
import { PROJECT, run } from '../support/processes.ts';

test('a child that Ctrl-C meets before its program begins is started again', async () => {
  const parent = join(PROJECT, 'test/domains/interrupted-parent.ts');
  const { code, stdout, stderr } = await run(process.execPath, [parent], { detached: true });
  expect([code, stderr]).toEqual([0, '']);
  const { signals, ends } = JSON.parse(stdout.toString()) as { signals: number; ends: unknown[] };
  expect(signals).toBeGreaterThan(10);
  expect(ends).toEqual(Array.from({ length: 100 }, () => 0));
});

/** Longer than the kernel takes one: `spawn` throws instead of telling by an event. */
const TOO_LONG = 'x'.repeat(2 ** 18);

test.each([[['/absent/program']], [['/bin/true', TOO_LONG]]] as const)(
  'a service that cannot be started is named',
  async (command) => {
    const started = startService('vault: qubes.BackupPut', command, { environment: {}, directory: '/' });
    const { code, message } = await rejection(started);
    expect(code).toBe('sandbox');
    expect(message).toMatch(/^vault: qubes\.BackupPut: cannot start \/\S+: spawn /);
  },
);
