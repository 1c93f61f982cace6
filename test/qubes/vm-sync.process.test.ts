/** R24: a VM is asked to write out what it holds, and its backup never depends on the answer. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { syncVm } from '../../dom0/domains/qubes/vm-sync.ts';
import { parseVmName } from '../../shared/ids.ts';
import { Callable } from './calls-kit.ts';
import { machine } from './qubes-kit.ts';

const work = parseVmName('work');

async function synced(script: string | undefined, options: { running?: boolean; policy?: string } = {}) {
  const { running = true, policy = 'exit 0' } = options;
  const system = await machine();
  if (running) await system.qubesd.call('admin.vm.Start', 'work');
  const callable = new Callable();
  callable.evaluator(policy);
  callable.vm('work', script === undefined ? {} : { 'qubes.BackupSync': script });
  const note = await syncVm(system.admin, callable.calls, work, 2_000);
  return { note, called: existsSync(join(callable.folder, 'calls')) };
}

test('a VM that runs is asked, and says nothing', async () => {
  expect(await synced('exit 0')).toEqual({ note: undefined, called: true });
  expect(await synced('head -c 10000000 /dev/zero')).toEqual({ note: undefined, called: true });
});

test('one that does not run, or has no such service, is left alone', async () => {
  expect(await synced('exit 0', { running: false })).toEqual({ note: undefined, called: false });
  expect(await synced(undefined)).toEqual({ note: undefined, called: true });
});

test.each([
  ['fails', 'echo disk >&2; exit 5', 'exit 0', /ended with 5 \(disk\)/],
  ['never ends', 'sleep 1000', 'exit 0', /took more than 2 s/],
  ['is denied', 'exit 0', 'exit 1', /the policy denies/],
])('what %s is a note', async (_what, script, policy, text) => {
  expect((await synced(script, { policy })).note).toMatch(text);
});
