/** R30 R50: VMs that a restore makes, until they have their final name, whatever happens meanwhile. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions } from '../../dom0/domains/qubes/journal.ts';
import { Renaming } from '../../dom0/domains/qubes/rename.ts';
import { TemporaryVms } from '../../dom0/domains/qubes/temporary.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { encodeVmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Instants } from './instants.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';

const GiB = 2 ** 30;
const copy = parseVmName('copy');
const LONGEST = parseVmName(`vm.${'x'.repeat(28)}`);
const PRIVATE = [{ name: 'private', mode: 'files', size: 5 * GiB }] as const;

/** The stand-in with `work` as a VM that has something of everything. */
async function furnished(): Promise<Machine & { readonly config: Uint8Array }> {
  const system = await machine();
  const { admin } = system;
  await admin.setProperty('work', 'netvm', 'sys-net');
  await admin.setProperty('work', 'memory', '700');
  await admin.setTag('work', 'mine');
  await admin.setFeature('work', 'service.cups', '1');
  await admin.growVolume('work', 'private', 5 * GiB);
  const config = encodeVmConfig(await captureVmConfig(admin, 'work', await readSystemFacts(admin)));
  return { ...system, config };
}

function run(system: Machine, options: { admin?: Admin; journal?: JournalOptions } = {}) {
  const journal = new Journal(join(system.folder, 'journal'), options.journal);
  const admin = options.admin ?? system.admin;
  const warnings: string[] = [];
  const vms = new TemporaryVms(
    admin,
    journal,
    new Renaming(admin, journal),
    (text) => void warnings.push(text),
  );
  return { journal, vms, warnings };
}

async function namesOf({ admin }: Machine): Promise<string[]> {
  return (await admin.list()).map(({ name }) => name).sort();
}

describe('a temporary VM', () => {
  test('has no network, is left out of backups, and is as large as the volume that comes', async () => {
    const system = await furnished();
    const { vms, warnings } = run(system);
    const name = await vms.create(LONGEST, system.config, PRIVATE);
    expect(name).toMatch(/^restore-vm\.x+-[0-9a-f]{6}$/);
    expect(name.length).toBeLessThanOrEqual(31);
    const properties = await system.admin.properties(name);
    const valueOf = (property: string) => properties.get(property)?.value;
    expect(['netvm', 'include_in_backups', 'memory'].map(valueOf)).toEqual(['', 'False', '700']);
    expect(await system.admin.tags(name)).toEqual(expect.arrayContaining(['qubes-backup-temporary', 'mine']));
    expect((await system.admin.volume(name, 'private')).size).toBe(5 * GiB);
    expect(warnings).toEqual([]);
    vms.check(name);
    await vms.remove(name);
    expect(await namesOf(system)).not.toContain(name);
    expect((await rejection(vms.remove(name))).code).toBe('refused');
  });

  test('becomes the VM that it was captured from, with its network last', async () => {
    const system = await furnished();
    const { vms, journal } = run(system);
    const name = await vms.create(copy, system.config, PRIVATE);
    system.qubesd.calls.length = 0;
    await vms.promote(name, copy);
    const names = await namesOf(system);
    expect([names.includes('copy'), names.includes(name)]).toEqual([true, false]);
    const facts = await readSystemFacts(system.admin);
    const [made, captured] = [
      await captureVmConfig(system.admin, 'copy', facts),
      await captureVmConfig(system.admin, 'work', facts),
    ];
    expect(made).toEqual({ ...captured, name: 'copy', uuid: made.uuid });
    const connected = system.qubesd.calls.findLastIndex(
      ({ call, payload }) => call === 'admin.vm.property.Set+netvm' && payload !== '',
    );
    const renamed = system.qubesd.calls.findIndex(({ call }) => call.startsWith('admin.vm.Remove'));
    const reset = system.qubesd.calls.findLastIndex(
      ({ call, dest }) => call === 'admin.vm.property.Reset+netvm' && dest === 'copy',
    );
    expect(Math.max(connected, reset)).toBeGreaterThan(renamed);
    expect(await journal.cleanUp()).toEqual([]);
  });

  test('takes no name that is taken, and touches nobody', async () => {
    const system = await furnished();
    const { vms } = run(system);
    const work = parseVmName('work');
    const name = await vms.create(work, system.config, PRIVATE);
    expect((await rejection(vms.promote(name, work))).code).toBe('vm-exists');
    await vms.remove(name);
    expect(() => vms.check(work)).toThrow('left alone');
    expect(await namesOf(system)).toContain('work');
  });

  test('for a device that is smaller than a new one is refused, and nothing is left', async () => {
    const system = await furnished();
    const before = await namesOf(system);
    const creating = run(system).vms.create(copy, system.config, [
      { name: 'private', mode: 'blocks', size: 4096 },
    ]);
    expect((await rejection(creating)).message).toContain('must not be made smaller');
    expect(await namesOf(system)).toEqual(before);
  });

  test('of a run that is killed at any instant is removed by the next, or is the whole VM', async () => {
    const changes = /^(?:create|set|reset|remove|kill|clone|grow)/;
    let [last, finished] = [1, 0];
    for (; ; last++) {
      const system = await furnished();
      const before = await namesOf(system);
      const instants = new Instants(last);
      const admin = instants.around(system.admin, (method) => changes.test(method));
      const { vms } = run(system, { admin, journal: { after: instants.pass } });
      const job = vms.create(copy, system.config, PRIVATE).then((name) => vms.promote(name, copy));
      const ended = await Promise.race([job.then(() => true), instants.died.then(() => false)]);
      await run(system).journal.cleanUp();
      const names = await namesOf(system);
      if (names.includes('copy')) {
        finished += 1;
        expect(names).toEqual([...before, 'copy'].sort());
        const facts = await readSystemFacts(system.admin);
        const made = await captureVmConfig(system.admin, 'copy', facts);
        const captured = await captureVmConfig(system.admin, 'work', facts);
        expect(made, `at instant ${last}`).toEqual({ ...captured, name: 'copy', uuid: made.uuid });
      } else expect(names, `at instant ${last}`).toEqual(before);
      if (ended) break;
    }
    expect(last).toBeGreaterThan(30);
    expect(finished).toBeGreaterThan(3);
  });
});
