/** The VMs of a Qubes OS as the rest of dom0 sees them. */

import { expect, test } from 'vitest';
import { listVms } from '../../dom0/domains/qubes/inventory.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';

async function list({ admin }: Machine) {
  const ignored: string[] = [];
  const vms = await listVms(admin, ({ name }) => void ignored.push(name));
  return { vms, ignored };
}

test.each(['4.2', '4.3'] as const)(
  'of release %s are listed with what they have of their own',
  async (release) => {
    const system = await machine({ release });
    await system.qubesd.call('admin.vm.Create.StandaloneVM', 'dom0', 'name=my.old_VM label=blue');
    await system.qubesd.call('admin.vm.property.Set+include_in_backups', 'work', 'False');
    const { vms, ignored } = await list(system);
    expect(ignored).toEqual([]);
    expect(vms.map(({ name }) => name)).toEqual([
      ...['debian-12', 'default-dvm', 'dom0', 'my.old_VM', 'sys-net', 'work'],
    ]);
    const vm = (wanted: string) => vms.find(({ name }) => name === wanted);
    expect(vm('work')).toMatchObject({
      klass: 'AppVM',
      template: 'debian-12',
      includeInBackups: false,
      volumes: ['private'],
    });
    const own = { template: null, volumes: ['private', 'root'], asBlocks: ['root'] };
    expect(vm('my.old_VM')).toMatchObject(own);
    expect(vm('debian-12')).toMatchObject(own);
    expect(vm('work')?.asBlocks).toEqual([]);
    for (const { uuid } of vms) expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  },
);

test('one that goes meanwhile is not listed, and one call is made for each', async () => {
  const system = await machine();
  for (let i = 0; i < 60; i++)
    await system.qubesd.call('admin.vm.Create.AppVM+debian-12', 'dom0', `name=vm-${i} label=red`);
  system.qubesd.calls.length = 0;
  const listing = list(system);
  await system.qubesd.call('admin.vm.Remove', 'vm-59');
  const { vms } = await listing;
  expect(vms.length).toBeGreaterThanOrEqual(64);
  expect(system.qubesd.calls.length).toBeLessThanOrEqual(1 + 66);
});

test.each(['4.2', '4.3'] as const)(
  'R22: of release %s, what boots a system of its own that is not Linux is read as blocks',
  async (release) => {
    const system = await machine({ release });
    const { admin, qubesd } = system;
    const create = async (
      klass: 'AppVM' | 'StandaloneVM' | 'TemplateVM',
      name: string,
      template?: string,
    ) => {
      await admin.create({ klass, name, label: 'red', ...(template === undefined ? {} : { template }) });
      await admin.setProperty(name, 'virt_mode', 'hvm');
      await admin.setProperty(name, 'kernel', '');
    };
    await create('TemplateVM', 'windows-10');
    await admin.setFeature('windows-10', 'os', 'Windows');
    await create('AppVM', 'office', 'windows-10');
    await create('StandaloneVM', 'unknown');
    await create('StandaloneVM', 'own-kernel');
    await admin.setFeature('own-kernel', 'os', 'Linux');
    await admin.setProperty('sys-net', 'virt_mode', 'hvm'); // For its devices; its kernel is dom0's.
    qubesd.calls.length = 0;
    const { vms } = await list(system);
    const asBlocks = Object.fromEntries(vms.map((vm) => [vm.name, vm.asBlocks]));
    expect(asBlocks).toMatchObject({
      'windows-10': ['private', 'root'],
      office: ['private'],
      unknown: ['private', 'root'],
      'own-kernel': ['root'],
      'sys-net': [],
      work: [],
    });
    expect(qubesd.calls.filter(({ call }) => call.includes('feature'))).toHaveLength(4);
  },
);
