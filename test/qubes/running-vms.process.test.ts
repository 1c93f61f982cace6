/** Calls of VMs that may have to be started first. */

import { expect, test } from 'vitest';
import { RunningVms } from '../../dom0/domains/qubes/running-vms.ts';
import { BackupError } from '../../shared/errors.ts';
import { rejection } from '../support/failure.ts';
import { Callable } from './calls-kit.ts';
import { machine } from './qubes-kit.ts';

const MISSING = new BackupError('store-missing', 'there is no storage VM vault');

test('a VM is started for the first call, and asked about once', async () => {
  const system = await machine();
  await system.qubesd.call('admin.vm.property.Set+qrexec_timeout', 'work', '90');
  await system.qubesd.call('admin.vm.tag.Set+qubes-backup-storage', 'work');
  const callable = new Callable();
  callable.vm('work', { 'test.Echo': 'exit 0' });
  callable.evaluator('exit 2'); // So our own evaluator looks at the tag.
  callable.policy('test.Echo * @adminvm @tag:qubes-backup-storage allow');
  const vms = new RunningVms(system.admin, callable.calls);
  const calls = await Promise.all([1, 2, 3].map(() => vms.call('work', 'test.Echo', '', MISSING)));
  for (const call of calls) {
    call.hangUp();
    expect((await call.exited).code).toBe(0);
  }
  expect(await system.admin.state('work')).toBe('Running');
  expect(system.qubesd.calls.filter(({ call }) => call.startsWith('admin.vm.Start'))).toHaveLength(1);
  expect(new Set(callable.seen)).toEqual(new Set(['-d work -w 90 -T -- DEFAULT:QUBESRPC test.Echo+ dom0']));
});

test('a VM that is not there is said as its caller says it, and looked for again', async () => {
  const system = await machine();
  const callable = new Callable();
  callable.vm('vault', { 'test.Echo': 'exit 0' });
  const vms = new RunningVms(system.admin, callable.calls);
  expect(await rejection(vms.call('vault', 'test.Echo', '', MISSING))).toBe(MISSING);
  await system.qubesd.call('admin.vm.Create.AppVM+debian-12', 'dom0', 'name=vault label=red');
  const call = await vms.call('vault', 'test.Echo', '', MISSING);
  call.hangUp();
  expect((await call.exited).code).toBe(0);
});
