/** R30 R50: VMs that a restore makes, until they have their final name, whatever happens meanwhile. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { listVms } from '../../dom0/domains/qubes/inventory.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions } from '../../dom0/domains/qubes/journal.ts';
import { describeNotApplied } from '../../dom0/domains/not-applied.ts';
import { Promotions } from '../../dom0/domains/promotions.ts';
import { Renaming } from '../../dom0/domains/qubes/rename.ts';
import { TemporaryVms } from '../../dom0/domains/qubes/temporary.ts';
import { applyAgain } from '../../dom0/domains/qubes/vm-config/apply.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { encodeVmConfig, parseVmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import type { VmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Instants } from './instants.ts';
import { NO_MENUS, machine } from './qubes-kit.ts';
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
  const promotions = new Promotions(join(system.folder, 'promoted'));
  const vms = new TemporaryVms(admin, journal, new Renaming(admin, journal, NO_MENUS), promotions);
  return { journal, vms, promotions };
}

async function namesOf({ admin }: Machine): Promise<string[]> {
  return (await admin.list()).map(({ name }) => name).sort();
}

describe('a temporary VM', () => {
  test('has no network, is left out of backups, and is as large as the volume that comes', async () => {
    const system = await furnished();
    const { vms } = run(system);
    const name = await vms.create(LONGEST, system.config, PRIVATE);
    expect(name).toMatch(/^restore-vm\.x+-[0-9a-f]{6}$/);
    expect(name.length).toBeLessThanOrEqual(31);
    const properties = await system.admin.properties(name);
    const valueOf = (property: string) => properties.get(property)?.value;
    expect(['netvm', 'include_in_backups', 'memory'].map(valueOf)).toEqual(['', 'False', '700']);
    expect(await system.admin.tags(name)).toEqual(expect.arrayContaining(['qubes-backup-temporary', 'mine']));
    expect((await system.admin.volume(name, 'private')).size).toBe(5 * GiB);
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
    expect(await vms.promote(name, copy)).toEqual([]);
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

  test('has what was chosen instead of what it had, and that is no warning', async () => {
    const system = await furnished();
    const { admin } = system;
    const { vms } = run(system);
    await admin.create({ klass: 'TemplateVM', name: 'debian-13', label: 'black' });
    const valueOf = async (vm: string, property: string) => (await admin.property(vm, property)).value;
    const template = parseVmName('debian-13');
    await vms.promote(await vms.create(copy, system.config, PRIVATE, { template, netvm: null }), copy);
    expect([await valueOf('copy', 'template'), await valueOf('copy', 'netvm')]).toEqual(['debian-13', '']);
    const net = parseVmName('sys-net');
    const other = parseVmName('other');
    const connected = await vms.create(other, system.config, PRIVATE, { netvm: net });
    expect(await vms.promote(connected, other)).toEqual([]);
    expect([await valueOf('other', 'template'), await valueOf('other', 'netvm')]).toEqual([
      ...['debian-12', 'sys-net'],
    ]);
    const before = await namesOf(system);
    for (const wrong of [{ template: parseVmName('none') }, { netvm: parseVmName('none') }])
      expect((await rejection(vms.create(copy, system.config, PRIVATE, wrong))).code).toBe('unknown-vm');
    expect(await namesOf(system)).toEqual(before);
  });

  test('of what is not there has the nearest template and no network, which is known before and told after', async () => {
    const system = await furnished();
    const { admin } = system;
    const { vms } = run(system);
    expect(await vms.missing(copy, system.config)).toEqual({ template: null, netvm: null });
    const gone = { template: 'debian-11', netvm: 'sys-vpn' };
    const properties = {
      netvm: { type: 'vm', value: 'sys-vpn' },
      default_dispvm: { type: 'vm', value: 'dvm' },
    };
    const tags = ['created-by-maker'];
    const captured = parseVmConfig('work', system.config);
    const config = encodeVmConfig({ ...captured, ...gone, tags, properties } as VmConfig);
    expect(await vms.missing(copy, config)).toEqual({
      template: { wanted: 'debian-11', nearest: 'debian-12' },
      netvm: { wanted: 'sys-vpn' },
    });
    const report = await vms.promote(await vms.create(copy, config, PRIVATE), copy);
    expect(report.map(({ part, wanted, used }) => [part, wanted, used])).toEqual([
      ['template', 'debian-11', 'debian-12'],
      ['property', 'dvm', ''],
      ['tag', 'set', null],
      ['netvm', 'sys-vpn', ''],
    ]);
    // What was missing is there now, all but the template, which no restored VM changes.
    for (const name of ['sys-vpn', 'dvm', 'maker', 'debian-11'])
      await admin.create({ klass: 'AppVM', name, label: 'red', template: 'debian-12' });
    await admin.setProperty('dvm', 'template_for_dispvms', 'True');
    const left = await applyAgain(admin, copy, report);
    expect(left.map(({ part, why }) => [part, why])).toEqual([
      ['template', expect.anything()],
      ['netvm', expect.stringContaining('provide')],
    ]);
    await admin.setProperty('sys-vpn', 'provides_network', 'True');
    await admin.setProperty('copy', 'netvm', 'sys-net'); // Somebody connected it meanwhile: that stays.
    expect((await applyAgain(admin, copy, left)).map(({ part }) => part)).toEqual(['template']);
    expect((await admin.property('copy', 'netvm')).value).toBe('sys-net');
    await admin.setProperty('copy', 'netvm', '');
    expect((await applyAgain(admin, copy, left)).map(({ part }) => part)).toEqual(['template']);
    expect((await admin.property('copy', 'netvm')).value).toBe('sys-vpn');
    expect((await admin.property('copy', 'default_dispvm')).value).toBe('dvm');
    expect(await admin.tags('copy')).toContain('created-by-maker');
  });

  test('for a device that is smaller than a new one keeps the size of that, and says so', async () => {
    const system = await furnished();
    const { vms } = run(system);
    const name = await vms.create(copy, system.config, [{ name: 'private', mode: 'blocks', size: 4096 }]);
    const { size } = await system.admin.volume(name, 'private');
    expect(size).toBeGreaterThan(4096);
    const resized = system.qubesd.calls.filter(({ call }) => call.startsWith('admin.vm.volume.Resize'));
    expect(resized.filter(({ dest }) => dest === name)).toEqual([]);
    const report = await vms.promote(name, copy);
    expect(report.map(describeNotApplied)).toEqual([
      `volume private: was 4096 bytes, has ${size} bytes (Qubes OS makes none smaller: after what it had there are zeros)`,
    ]);
  });

  test('of a template whose root volume was left out of its backup says that it is empty', async () => {
    const system = await furnished();
    const { admin } = system;
    const facts = await readSystemFacts(admin);
    const config = encodeVmConfig(await captureVmConfig(admin, 'debian-12', facts));
    const { size } = await admin.volume('debian-12', 'root');
    const { vms } = run(system);
    const report = await vms.promote(await vms.create(copy, config, PRIVATE), copy);
    expect(report.map(describeNotApplied)).toEqual([
      `volume root: was ${size} bytes, has an empty one (the configuration left it out of its backup)`,
    ]);
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
      const job = vms
        .create(copy, system.config, PRIVATE)
        .then((name) => vms.promote(name, copy, undefined, 'note'));
      const ended = await Promise.race([job.then(() => true), instants.died.then(() => false)]);
      const next = run(system);
      await next.journal.cleanUp();
      const names = await namesOf(system);
      const there = (await listVms(system.admin, () => undefined)).map(({ name, uuid }) => ({ name, uuid }));
      const told = next.promotions.among(there);
      expect(next.promotions.isEmpty, `at instant ${last}`).toBe(told.length === 0);
      if (names.includes('copy')) {
        finished += 1;
        const { uuid } = there.find(({ name }) => name === 'copy') ?? {};
        expect(told, `at instant ${last}`).toMatchObject([
          { name: 'copy', uuid, note: 'note', notApplied: [] },
        ]);
        expect(names).toEqual([...before, 'copy'].sort());
        const facts = await readSystemFacts(system.admin);
        const made = await captureVmConfig(system.admin, 'copy', facts);
        const captured = await captureVmConfig(system.admin, 'work', facts);
        expect(made, `at instant ${last}`).toEqual({ ...captured, name: 'copy', uuid: made.uuid });
      } else expect([names, told], `at instant ${last}`).toEqual([before, []]);
      if (ended) break;
    }
    expect(last).toBeGreaterThan(30);
    expect(finished).toBeGreaterThan(3);
  });
});
