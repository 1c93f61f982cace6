/** R03 R50: disposables of the Qubes driver, on the stand-in for qubesd. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { Disposables } from '../../dom0/domains/qubes/disposable.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions } from '../../dom0/domains/qubes/journal.ts';
import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Callable } from './calls-kit.ts';
import type { Options } from './fake-qubesd.ts';
import { Instants } from './instants.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';

const work = parseVmName('work');
const SETTINGS = { template: 'default-dvm', memory: 800, vcpus: 3 };
const nothing = () => Promise.resolve(undefined);

/** A run of the driver on `system`. */
function run(system: Machine, options: { admin?: Admin; journal?: JournalOptions } = {}) {
  const journal = new Journal(join(system.folder, 'journal'), options.journal);
  const callable = new Callable();
  const disposables = new Disposables(options.admin ?? system.admin, callable.calls, journal);
  return { journal, callable, disposables };
}

async function disposablesOf({ admin }: Machine): Promise<string[]> {
  return (await admin.list()).filter((vm) => vm.class === 'DispVM').map(({ name }) => name);
}

describe('a disposable', () => {
  test('has no network, is known to the policy, and is gone after its use', async () => {
    const system = await machine();
    const { disposables, callable, journal } = run(system);
    const states: string[] = [];
    const disposable = await disposables.start(work, SETTINGS, async (name) => {
      states.push(await system.admin.state(name));
      return { kind: 'disk', path: '/dev/xvdi' };
    });
    const { name } = disposable;
    expect(name).toMatch(/^qib-disp-[0-9a-f]{8}$/);
    expect(disposable.attached).toEqual({ kind: 'disk', path: '/dev/xvdi' });
    expect(states).toEqual(['Running']); // It is attached to what runs.
    const properties = await system.admin.properties(name);
    const valueOf = (property: string) => properties.get(property)?.value;
    expect(['netvm', 'default_dispvm', 'memory', 'vcpus', 'template'].map(valueOf)).toEqual([
      ...['', '', '800', '3', 'default-dvm'],
    ]);
    expect(await system.admin.tags(name)).toContain('qubes-backup-disposable');
    callable.vm(name, { 'test.Echo': 'echo here' });
    const call = await disposable.call('test.Echo');
    expect(call.peer).toBe(`${name}: test.Echo`);
    call.hangUp();
    expect((await call.exited).code).toBe(0);
    expect(callable.seen).toEqual([`-d ${name} -w 60 -T -- DEFAULT:QUBESRPC test.Echo+ dom0`]);

    await Promise.all([disposable.destroy(), disposable.destroy()]);
    expect(await disposablesOf(system)).toEqual([]);
    expect((await rejection(disposable.call('test.Echo'))).code).toBe('internal');
    expect(await journal.cleanUp()).toEqual([]);
  });

  test.each([
    ['runs already', 'admin.vm.CurrentState+', 'admin.vm.Start+', 'is Running and not halted'],
    [
      'has a network',
      'admin.vm.property.Get+netvm',
      'admin.vm.property.Reset+netvm',
      'the network of sys-net',
    ],
  ])('that %s is refused before anything is attached', async (_what, seen, change, message) => {
    const found: { system?: Machine } = {};
    const before: Options['before'] = async (call, dest) => {
      const asked = call.includes('+') ? call : `${call}+`;
      if (asked === seen && dest.startsWith('qib-disp-')) await found.system?.qubesd.call(change, dest);
    };
    const system = (found.system = await machine({ before }));
    let attached = false;
    const starting = run(system).disposables.start(work, SETTINGS, () => {
      attached = true;
      return nothing();
    });
    const error = await rejection(starting);
    expect([error.code, error.message]).toEqual(['refused', expect.stringContaining(message)]);
    expect(attached).toBe(false);
    expect(await disposablesOf(system)).toEqual([]);
  });

  test('that cannot be attached to is removed, and the error is what failed', async () => {
    const system = await machine();
    const starting = run(system).disposables.start(work, SETTINGS, () =>
      Promise.reject(new BackupError('timeout', 'no such device')),
    );
    expect(await rejection(starting)).toMatchObject({ code: 'timeout', message: 'no such device' });
    expect(await disposablesOf(system)).toEqual([]);
  });

  test('of a template that is none is an error, and nothing is left', async () => {
    const system = await machine();
    const starting = run(system).disposables.start(work, { template: 'work' }, nothing);
    await expect(starting).rejects.toBeInstanceOf(BackupError);
    expect(await run(system).journal.cleanUp()).toEqual([]);
  });

  test('of a run that is killed at any instant is removed by the next, and no other', async () => {
    const system = await machine();
    await system.qubesd.call('admin.vm.CreateDisposable+', 'default-dvm');
    const [other] = await disposablesOf(system);
    const changes = ['create', 'setTag', 'setFeature', 'setProperty', 'start', 'kill', 'remove'];
    let last = 1;
    for (; ; last++) {
      const instants = new Instants(last);
      const admin = instants.around(system.admin, (method) => changes.includes(method));
      const { disposables } = run(system, { admin, journal: { after: instants.pass } });
      const job = disposables.start(work, SETTINGS, nothing).then((disposable) => disposable.destroy());
      const ended = await Promise.race([job.then(() => true), instants.died.then(() => false)]);
      const lines = await run(system).journal.cleanUp();
      expect(await disposablesOf(system)).toEqual([other]);
      expect(lines.length, `at instant ${last}`).toBeLessThanOrEqual(1);
      if (ended) break;
    }
    expect(last).toBeGreaterThan(12);
  });
});
