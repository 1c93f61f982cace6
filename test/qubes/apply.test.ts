/** A captured configuration on another system: what a VM gets, what it never gets, and that the rest is reported. */

import { describe, expect, test } from 'vitest';
import { applyVmConfig, finishVmConfig } from '../../dom0/domains/qubes/vm-config/apply.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { nearestTemplate } from '../../dom0/domains/qubes/vm-config/nearest-template.ts';
import { planVm } from '../../dom0/domains/qubes/vm-config/plan.ts';
import { describeNotApplied } from '../../dom0/domains/not-applied.ts';
import type { NotApplied } from '../../dom0/domains/not-applied.ts';
import type { VmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import { rejection } from '../support/failure.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';

const GiB = 2 ** 30;

/** The configuration of an AppVM `work`, with what a test says instead. */
function configOf(more: Partial<VmConfig> = {}): VmConfig {
  return {
    ...{ qubes_config: 1, name: 'work', klass: 'AppVM', uuid: '68286d4f-030c-48e9-b66f-f967041c6e68' },
    ...{ label: 'blue', template: 'debian-12', netvm: 'sys-net', include_in_backups: true, tags: [] },
    ...{ features: {}, properties: {}, firewall: ['action=accept'], notes: null, volatile_size: null },
    ...{ volumes: {}, devices: [] },
    ...more,
  };
}

/** A halted VM `new` as a restore has it. */
async function fresh(release: '4.2' | '4.3' = '4.3'): Promise<Machine> {
  const qubes = await machine({ release });
  await qubes.admin.create({ klass: 'AppVM', name: 'new', label: 'red', template: 'debian-12' });
  await qubes.admin.setProperty('new', 'netvm', '');
  await qubes.admin.setProperty('new', 'include_in_backups', 'False');
  return qubes;
}

const vmProperty = (value: string) => ({ type: 'vm', value }) as const;
const brief = (report: readonly NotApplied[]) =>
  report.map(({ part, name, wanted, used }) => [part, name, wanted, used]);

test('everything comes back where nothing is missing', async () => {
  const { admin, qubesd } = await fresh();
  await admin.setProperty('work', 'memory', '600');
  await admin.setProperty('work', 'kernelopts', 'a\\b\nc');
  await admin.setProperty('work', 'autostart', 'True');
  await admin.setProperty('work', 'netvm', 'sys-net');
  await admin.setFeature('work', 'service.off', '');
  await admin.setTag('work', 'mine');
  await admin.setFirewall('work', ['action=accept proto=udp dstports=53 comment=dns of a', 'action=drop']);
  await admin.setNotes('work', 'line\nü');
  await qubesd.call('admin.vm.volume.Resize+volatile', 'work', String(11 * GiB));
  const facts = await readSystemFacts(admin);
  const config = await captureVmConfig(admin, 'work', facts);
  expect(await applyVmConfig(admin, 'new', config)).toEqual([]);
  expect(await finishVmConfig(admin, 'new', config, 'captured')).toEqual([]);
  const { name, uuid, label, volumes, ...restored } = await captureVmConfig(admin, 'new', facts);
  expect({ ...config, ...restored }).toEqual(config);
  expect([name, label]).toEqual(['new', 'red']);
  expect(uuid).not.toBe(config.uuid);
  expect(volumes).toEqual(config.volumes);
});

test('until it is finished a VM has no network, is in no backup, starts by nobody and preloads nothing', async () => {
  const { admin } = await fresh();
  const config = configOf({
    properties: { autostart: { type: 'bool', value: 'True' }, netvm: vmProperty('sys-net') },
    features: { 'preload-dispvm-max': '2' },
  });
  await applyVmConfig(admin, 'new', config);
  const properties = await admin.properties('new');
  const value = (name: string) => properties.get(name)?.value;
  expect([value('netvm'), value('include_in_backups'), value('autostart')]).toEqual(['', 'False', 'False']);
  expect([...(await admin.features('new'))]).toEqual([]);
  await finishVmConfig(admin, 'new', config, 'captured');
  const finished = await admin.properties('new');
  expect(['netvm', 'include_in_backups', 'autostart'].map((name) => finished.get(name)?.value)).toEqual([
    'sys-net',
    'True',
    'True',
  ]);
  expect([...(await admin.features('new'))]).toEqual([['preload-dispvm-max', '2']]);
});

test('to apply twice is to apply once', async () => {
  const { admin } = await fresh();
  const config = configOf({
    tags: ['a'],
    features: { x: '1' },
    properties: { memory: { type: 'int', value: '1' } },
  });
  for (let i = 0; i < 2; i++) {
    expect(await applyVmConfig(admin, 'new', config)).toEqual([]);
    expect(await finishVmConfig(admin, 'new', config, 'captured')).toEqual([]);
  }
});

describe('what is missing', () => {
  test('a property of another release, and a value that is refused, are reported and nothing else is lost', async () => {
    const { admin } = await fresh('4.2');
    const report = await applyVmConfig(
      admin,
      'new',
      configOf({
        properties: {
          bootmode: { type: 'str', value: 'x' },
          virt_mode: { type: 'str', value: 'fast' },
          vcpus: { type: 'int', value: '4' },
        },
        features: { 'deferred-netvm-original': 'x', gui: '1' },
        notes: 'private words',
      }),
    );
    expect(brief(report)).toEqual([
      ['property', 'bootmode', 'x', null],
      ['property', 'virt_mode', 'fast', null],
      ['feature', 'deferred-netvm-original', 'x', null],
      ['notes', '', '13 characters', null],
    ]);
    expect(report.map(describeNotApplied).join()).not.toContain('private words');
    expect((await admin.property('new', 'vcpus')).value).toBe('4');
    expect((await admin.features('new')).get('gui')).toBe('1');
  });

  test('a VM for disposables or the GUI', async () => {
    const { admin } = await fresh();
    const report = await applyVmConfig(
      admin,
      'new',
      configOf({ properties: { default_dispvm: vmProperty('whonix-dvm'), guivm: vmProperty('sys-gui') } }),
    );
    expect(brief(report)).toEqual([
      ['property', 'default_dispvm', 'whonix-dvm', ''],
      ['property', 'guivm', 'sys-gui', null],
    ]);
    // No other disposable takes the place of one that may have had no network; a GUI there must be.
    expect(await admin.property('new', 'default_dispvm')).toMatchObject({ isDefault: false, value: '' });
    expect(await admin.property('new', 'guivm')).toMatchObject({ isDefault: true, value: 'dom0' });
  });

  test('a VM that referred to itself does so again', async () => {
    const { admin } = await fresh();
    const config = configOf({
      // In the order of the file.
      properties: {
        default_dispvm: vmProperty('work'),
        template_for_dispvms: { type: 'bool', value: 'True' },
      },
    });
    expect(await applyVmConfig(admin, 'new', config)).toEqual([]);
    expect((await admin.property('new', 'default_dispvm')).value).toBe('new');
  });

  test('tags that give rights come back only for a VM that is there; those that Qubes keeps are left to it', async () => {
    const { admin } = await fresh();
    const tags = ['created-by-sys-net', 'created-by-gone', 'guivm-sys-gui', 'qubes-backup-temporary', 'mine'];
    const report = await applyVmConfig(admin, 'new', configOf({ tags }));
    expect(brief(report)).toEqual([['tag', 'created-by-gone', 'set', null]]);
    expect(await admin.tags('new')).toEqual([
      'audiovm-dom0',
      'created-by-dom0',
      'created-by-sys-net',
      'guivm-dom0',
      'mine',
    ]);
  });

  test('devices are listed and stay unassigned', async () => {
    const { admin, qubesd } = await fresh();
    const device = { deviceClass: 'pci', device: 'dom0+00_1f.2', options: "mode='required'" };
    expect(brief(await applyVmConfig(admin, 'new', configOf({ devices: [device] })))).toEqual([
      ['device', 'dom0+00_1f.2', 'pci', null],
    ]);
    expect(await admin.devices('new', ['pci', 'block'])).toEqual([]);
    expect(qubesd.calls.some(({ call }) => /device\.\w+\.(Assign|Attach)\+/.test(call))).toBe(false);
  });

  test('qubesd itself, or the VM, is no report', async () => {
    const { admin, qubesd } = await fresh();
    const config = configOf({ tags: ['a'], firewall: null });
    expect(await rejection(applyVmConfig(admin, 'gone', config))).toMatchObject({ code: 'unknown-vm' });
    await qubesd.close();
    expect(await rejection(applyVmConfig(admin, 'new', config))).toMatchObject({ code: 'io' });
  });
});

describe('the firewall', () => {
  test('is compared in its normal form', async () => {
    const { admin } = await fresh();
    const firewall = [
      'dstports=53-53 action=accept proto=udp dst4=192.168.1.1/32 comment=b a',
      'action=drop',
    ];
    expect(await applyVmConfig(admin, 'new', configOf({ firewall }))).toEqual([]);
  });

  test('of which all rules have expired drops everything', async () => {
    const { admin } = await fresh();
    expect(await applyVmConfig(admin, 'new', configOf({ firewall: ['action=accept expire=1000'] }))).toEqual(
      [],
    );
    expect(await admin.firewall('new')).toEqual(['action=drop']);
    await applyVmConfig(admin, 'new', configOf({ firewall: [] }));
    expect(await admin.firewall('new')).toEqual(['action=drop']);
  });

  test.each([['action=accept later=1'], ['action=allow'], ['action=accept', 'dst4=x']])(
    'that Qubes does not take (%s) lets nothing through, rather than everything',
    async (...firewall) => {
      const { admin } = await fresh();
      const report = await applyVmConfig(admin, 'new', configOf({ firewall }));
      expect(report.map(({ part }) => part)).toEqual(['firewall']);
      expect(await admin.firewall('new')).toEqual(['action=drop']);
    },
  );

  test('that becomes another one lets nothing through', async () => {
    const { admin, qubesd } = await fresh();
    const firewall = ['action=accept dst4=10.0.0.1/32', 'action=drop'];
    const call = admin.setFirewall.bind(admin);
    admin.setFirewall = async (vm, rules) => {
      await call(vm, rules);
      if (rules.length > 0) qubesd.store.vm(vm).firewall = ['action=accept'];
    };
    expect(brief(await applyVmConfig(admin, 'new', configOf({ firewall })))).toEqual([
      ['firewall', '', '2 rules', 'a firewall that drops everything'],
    ]);
    expect(await admin.firewall('new')).toEqual(['action=drop']);
  });
});

describe('the network', () => {
  const netvmOf = async ({ admin }: Machine) => admin.property('new', 'netvm');

  test('is the default again if that is the VM it was', async () => {
    const qubes = await fresh();
    expect(await finishVmConfig(qubes.admin, 'new', configOf(), 'captured')).toEqual([]);
    expect(await netvmOf(qubes)).toEqual({ isDefault: true, type: 'vm', value: 'sys-net' });
  });

  test('is never a way out that the VM did not have', async () => {
    const qubes = await fresh();
    await finishVmConfig(qubes.admin, 'new', configOf({ netvm: null }), 'captured');
    expect(await netvmOf(qubes)).toMatchObject({ isDefault: false, value: '' });
    expect(
      brief(await finishVmConfig(qubes.admin, 'new', configOf({ netvm: 'sys-whonix' }), 'captured')),
    ).toEqual([['netvm', '', 'sys-whonix', '']]);
    expect(await netvmOf(qubes)).toMatchObject({ isDefault: false, value: '' });
    await qubes.admin.setProperty('new', 'netvm', 'sys-net');
    expect(brief(await finishVmConfig(qubes.admin, 'new', configOf({ netvm: 'work' }), 'captured'))).toEqual([
      ['netvm', '', 'work', ''],
    ]);
    expect(await netvmOf(qubes)).toMatchObject({ isDefault: false, value: '' });
  });

  test('is the one that was set, or none by choice', async () => {
    const qubes = await fresh();
    const config = configOf({ properties: { netvm: vmProperty('sys-net') } });
    await finishVmConfig(qubes.admin, 'new', config, 'captured');
    expect(await netvmOf(qubes)).toMatchObject({ isDefault: false, value: 'sys-net' });
    await finishVmConfig(qubes.admin, 'new', config, 'none');
    expect(await netvmOf(qubes)).toMatchObject({ isDefault: false, value: '' });
  });

  test('comes after everything else', async () => {
    const { admin, qubesd } = await fresh();
    qubesd.calls.length = 0;
    const properties = { autostart: { type: 'bool', value: 'True' }, netvm: vmProperty('sys-net') } as const;
    await finishVmConfig(admin, 'new', configOf({ properties }), 'captured');
    expect(qubesd.calls.at(-1)).toMatchObject({ call: 'admin.vm.property.Set+netvm', payload: 'sys-net' });
  });
});

describe('what a VM is created with', () => {
  test('is what it had, in the pool where it was', async () => {
    const { admin } = await machine();
    const volumes = {
      private: { kind: 'image', size: 1, pool: 'varlibqubes', driver: 'file-reflink' },
    } as const;
    expect(await planVm(admin, configOf({ volumes }), 'new', 'refuse')).toEqual({
      create: {
        ...{ klass: 'AppVM', name: 'new', label: 'blue', template: 'debian-12' },
        pools: { private: 'varlibqubes' },
      },
      report: [],
    });
  });

  test('is reported where it is not there', async () => {
    const { admin } = await machine();
    await admin.create({ klass: 'TemplateVM', name: 'debian-13', label: 'black' });
    const volumes = { private: { kind: 'image', size: 1, pool: 'gone', driver: 'zfs' } } as const;
    const config = configOf({ label: 'teal', template: 'debian-14', volumes });
    const { create, report } = await planVm(admin, config, 'new', 'nearest');
    expect(create).toMatchObject({ label: 'red', template: 'debian-13', pools: {} });
    const otherDriver = { private: { ...volumes.private, pool: 'varlibqubes' } };
    expect((await planVm(admin, configOf({ volumes: otherDriver }), 'new', 'refuse')).create.pools).toEqual(
      {},
    );
    expect(brief(report)).toEqual([
      ['label', '', 'teal', 'red'],
      ['template', '', 'debian-14', 'debian-13'],
      ['volume', 'private', 'in pool gone', 'the default pool'],
    ]);
    await admin.create(create);
  });

  test('is refused, or what the caller says, where a template is missing', async () => {
    const { admin } = await machine();
    const config = configOf({ template: 'fedora-41' });
    const refused = await rejection(planVm(admin, config, 'new', 'refuse'));
    expect(refused.code).toBe('unknown-vm');
    expect(refused.message).toContain('no template fedora-41');
    expect(refused.message).toContain('debian-12');
    expect((await planVm(admin, config, 'new', { use: 'debian-12' })).create.template).toBe('debian-12');
    for (const wrong of ['work', 'gone'])
      expect(await rejection(planVm(admin, config, 'new', { use: wrong }))).toMatchObject({
        code: 'unknown-vm',
      });
    // No family member is there: the default template, and that is said.
    expect((await planVm(admin, config, 'new', 'nearest')).create.template).toBe('debian-12');
    await admin.setGlobal('default_template', '');
    expect(await rejection(planVm(admin, config, 'new', 'nearest'))).toMatchObject({ code: 'unknown-vm' });
  });

  test('is a template for disposables where the VM is one', async () => {
    const { admin } = await machine();
    const disposable = configOf({ klass: 'DispVM', template: 'gone-dvm' });
    expect((await planVm(admin, disposable, 'new', 'nearest')).create.template).toBe('default-dvm');
    expect(
      (await planVm(admin, configOf({ klass: 'StandaloneVM' }), 'new', 'refuse')).create.template,
    ).toBeUndefined();
    expect(await rejection(planVm(admin, configOf({ klass: 'AdminVM' }), 'new', 'refuse'))).toMatchObject({
      code: 'refused',
    });
  });
});

test.each<[string, string[], string | undefined]>([
  ['debian-12', ['debian-11', 'debian-13', 'fedora-12'], 'debian-13'],
  ['debian-12', ['debian-11', 'debian-14'], 'debian-11'],
  ['debian-12-minimal', ['debian-12', 'debian-14-minimal'], 'debian-14-minimal'],
  ['debian-12-minimal', ['debian-11-xfce', 'debian-12'], 'debian-12'],
  ['whonix-workstation-17', ['whonix-gateway-17', 'whonix-workstation-18'], 'whonix-workstation-18'],
  ['whonix-workstation-17', ['whonix-gateway-17', 'debian-17'], undefined],
  ['fedora-41', [], undefined],
  ['fedora', ['fedora-40', 'fedora-41'], 'fedora-41'],
  ['fedora-41', ['fedora', 'fedora-9'], 'fedora-9'],
  ['my-template', ['my-templates', 'my'], undefined],
  ['debian-12.1', ['debian-12', 'debian-13'], 'debian-12'],
  ['debian-12-b', ['debian-12-d', 'debian-12-c'], 'debian-12-c'],
])('in the place of %s, of %j comes %s', (wanted, templates, expected) => {
  expect(nearestTemplate(wanted, templates)).toBe(expected);
  expect(nearestTemplate(wanted, [...templates].reverse())).toBe(expected);
});

test('a report is printable, whatever was captured', () => {
  const item = {
    part: 'property',
    name: 'kernelopts',
    wanted: 'a\x1b[31m\nü',
    used: null,
    why: 'x',
  } as const;
  expect(describeNotApplied(item)).toBe(String.raw`property kernelopts: was a\x1b[31m\x0a\xc3\xbc (x)`);
  expect(describeNotApplied({ ...item, part: 'netvm', name: '', wanted: '', used: '' })).toBe(
    'netvm: was none, has none (x)',
  );
});
