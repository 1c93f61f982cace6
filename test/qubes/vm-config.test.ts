/** The configuration of a VM: what is captured, how it is written, and that both drivers read both. */

import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { encodeVmConfig, parseVmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import type { VmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import { parseDescription } from '../../dom0/domains/local/vms.ts';
import { utf8 } from '../../shared/bytes.ts';
import { isBackupError } from '../../shared/errors.ts';
import { ADMIN_CALLS_AT_ONCE, MAX_VM_CONFIG } from '../../shared/limits.ts';
import { parseVmName } from '../../shared/ids.ts';
import { failure, rejection } from '../support/failure.ts';
import { Callable } from './calls-kit.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';
import { playedTools } from './tools/tools-kit.ts';

const GiB = 2 ** 30;

async function capture({ admin }: Machine, vm: string): Promise<VmConfig> {
  return captureVmConfig(admin, vm, await readSystemFacts(admin));
}

/** `work` with one of everything. */
async function furnish({ admin, qubesd }: Machine): Promise<void> {
  await admin.setProperty('work', 'memory', '600');
  await admin.setProperty('work', 'kernelopts', 'a\\b\nc');
  await admin.setProperty('work', 'netvm', '');
  await admin.setProperty('work', 'include_in_backups', 'False');
  await admin.setFeature('work', 'service.cups', '1');
  await admin.setFeature('work', 'service.off', '');
  await admin.setTag('work', 'mine');
  await admin.setFirewall('work', [
    'action=accept proto=tcp dst4=10.0.0.0/8 dstports=80',
    'action=drop comment=a b',
  ]);
  if ((await admin.notes('work')) !== undefined) await admin.setNotes('work', 'line\nü');
  await admin.growVolume('work', 'private', 3 * GiB);
  qubesd.store.vm('work').devices['pci'] = ["dom0+00_1f.2:x device_id='x' mode='required' persistent=yes"];
  qubesd.store.vm('work').features['preload-dispvm'] = 'disp1';
}

describe.each(['4.2', '4.3'] as const)('on Qubes OS %s', (release) => {
  test('all that was set is captured, and nothing that Qubes computes', async () => {
    const qubes = await machine({ release });
    await furnish(qubes);
    const { uuid, ...config } = await capture(qubes, 'work');
    expect(uuid).toBe(qubes.qubesd.store.vm('work').uuid);
    expect(config).toEqual({
      ...{ qubes_config: 1, name: 'work', klass: 'AppVM', label: 'blue', template: 'debian-12', netvm: null },
      include_in_backups: false,
      tags: ['audiovm-dom0', 'created-by-dom0', 'guivm-dom0', 'mine'],
      features: { 'service.cups': '1', 'service.off': '' },
      properties: {
        include_in_backups: { type: 'bool', value: 'False' },
        kernelopts: { type: 'str', value: 'a\\b\nc' },
        memory: { type: 'int', value: '600' },
        netvm: { type: 'vm', value: '' },
      },
      firewall: ['action=accept dst4=10.0.0.0/8 proto=tcp dstports=80-80', 'action=drop comment=a b'],
      notes: release === '4.2' ? null : 'line\nü',
      volumes: { private: { kind: 'image', size: 3 * GiB, pool: 'varlibqubes', driver: 'file-reflink' } },
      volatile_size: 10 * GiB,
      devices: [
        {
          ...{ deviceClass: 'pci', device: 'dom0+00_1f.2:x' },
          options: "device_id='x' mode='required' persistent=yes",
        },
      ],
    });
  });

  test('of templates, standalone VMs and dom0 as well', async () => {
    const qubes = await machine({ release });
    await qubes.admin.create({ klass: 'StandaloneVM', name: 'alone', label: 'red' });
    expect(await capture(qubes, 'debian-12')).toMatchObject({
      klass: 'TemplateVM',
      template: null,
      netvm: null,
    });
    expect(Object.keys((await capture(qubes, 'alone')).volumes)).toEqual(['private', 'root']);
    expect(await capture(qubes, 'default-dvm')).toMatchObject({
      netvm: 'sys-net',
      properties: { template_for_dispvms: { type: 'bool', value: 'True' } },
    });
    expect(await capture(qubes, 'dom0')).toMatchObject({ klass: 'AdminVM', firewall: null, volumes: {} });
    expect(await rejection(capture(qubes, 'nosuch'))).toMatchObject({ code: 'unknown-vm' });
  });
});

test('the same configuration is the same bytes, and comes back from them', async () => {
  const qubes = await machine();
  await furnish(qubes);
  const first = encodeVmConfig(await capture(qubes, 'work'));
  expect(encodeVmConfig(await capture(qubes, 'work'))).toEqual(first);
  expect(encodeVmConfig(parseVmConfig('work', first))).toEqual(first);
  await qubes.admin.setTag('work', 'another');
  expect(encodeVmConfig(await capture(qubes, 'work'))).not.toEqual(first);
});

test('60 VMs are captured with a bounded number of calls, a few at a time', async () => {
  let open: () => void = () => undefined;
  const full = new Promise<void>((resolve) => (open = resolve));
  let held = 0;
  let counting = false;
  const { admin, qubesd, folder } = await machine({
    // Nothing is answered before as many calls are under way as there may be.
    before: async (_call, dest) => {
      if (!counting || dest === 'dom0') return;
      if (++held === ADMIN_CALLS_AT_ONCE) open();
      await full;
    },
  });
  const names = Array.from({ length: 60 }, (_, i) => `vm-${i}`);
  for (const name of names) {
    await qubesd.call('admin.vm.Create.AppVM+debian-12', 'dom0', `name=${name} label=red`);
    for (const feature of ['gui', 'service.cups', 'menu-items'])
      await qubesd.call(`admin.vm.feature.Set+${feature}`, name, '1');
  }
  qubesd.calls.length = 0;
  counting = true;
  const domains = new QubesDomains({
    ...{ admin, tools: playedTools(folder), calls: new Callable().calls },
    journal: new Journal(join(folder, 'journal')),
    stateFolder: join(folder, 'state'),
    warn: (text) => expect.unreachable(text),
  });
  const configs = await Promise.all(names.map((name) => domains.readConfig(parseVmName(name))));
  expect(configs).toHaveLength(60);
  // GetAll, three lists, three features, firewall, notes, three volumes and two classes of devices for each; 5 of the system.
  expect(qubesd.calls.length).toBeLessThanOrEqual(60 * 14 + 5);
  expect(qubesd.mostAtOnce).toBe(ADMIN_CALLS_AT_ONCE);
});

test('one that is gone is refused', async () => {
  const system = await machine();
  expect((await rejection(capture(system, 'nosuch'))).code).toBe('unknown-vm');
});

test('one that is too large is refused when it is written', async () => {
  const config = await capture(await machine(), 'work');
  const rules = Array.from({ length: 50_000 }, (_, i) => `action=accept dst4=10.0.0.0/8 comment=${i}`);
  expect(failure(() => encodeVmConfig({ ...config, firewall: rules })).code).toBe('limit');
});

describe('between the drivers', () => {
  test('what Qubes captured is read by the local driver', async () => {
    const qubes = await machine();
    await furnish(qubes);
    const { config, volumes } = parseDescription(encodeVmConfig(await capture(qubes, 'work')));
    expect(config).toMatchObject({ klass: 'AppVM', label: 'blue', template: 'debian-12', netvm: null });
    expect(config.tags).toContain('mine');
    expect(volumes.private).toMatchObject({ kind: 'image', size: 3 * GiB });
  });

  test('what the local driver wrote becomes a VM of Qubes', () => {
    const local = {
      ...{
        klass: 'StandaloneVM',
        label: 'green',
        netvm: 'sys-net',
        tags: ['a'],
        note: 'a field of a person',
      },
      features: { gui: true, off: false, n: 7, text: 'x', list: [1] },
      properties: { memory: 600, autostart: true, none: null, odd: { a: 1 } },
      volumes: {
        private: { kind: 'folder', size: 0 },
        root: { kind: 'image', size: 4096, fileSystem: 'xfs' },
      },
    };
    expect(parseVmConfig('mine', utf8(JSON.stringify(local)))).toMatchObject({
      ...{ name: 'mine', klass: 'StandaloneVM', label: 'green', netvm: 'sys-net', tags: ['a'] },
      features: { gui: '1', off: '', n: '7', text: 'x' },
      properties: {
        memory: { value: '600' },
        autostart: { value: 'True' },
        none: { value: '' },
        netvm: { type: 'vm', value: 'sys-net' },
      },
      ...{ firewall: null, notes: null },
      volumes: { private: { size: 0 }, root: { size: 4096 } },
    });
    expect(parseVmConfig('mine', utf8('{"volumes":{}}')).properties['netvm']).toEqual({
      type: 'vm',
      value: '',
    });
  });

  test.each<[string, string, string]>([
    ['no JSON', '{', 'store-damaged'],
    ['no object', '[]', 'store-damaged'],
    ['a later version', '{"qubes_config":2}', 'store-version'],
    ['no version', '{"qubes_config":"1"}', 'store-damaged'],
    ['fields missing', '{"qubes_config":1}', 'store-damaged'],
    ['a label with a space', '{"label":"red pool=x","volumes":{}}', 'store-damaged'],
  ])('%s is refused', (_title, text, code) => {
    expect(failure(() => parseVmConfig('work', utf8(text))).code).toBe(code);
  });

  test('a field more, or one of another kind, is refused', async () => {
    const config = await capture(await machine(), 'work');
    for (const wrong of [
      { more: 1 },
      { tags: ['a b'] },
      { label: 'x\n' },
      { volatile_size: -1 },
      { firewall: 'x' },
    ]) {
      const bytes = utf8(JSON.stringify({ ...config, ...wrong }));
      expect(failure(() => parseVmConfig('work', bytes)).code).toBe('store-damaged');
    }
  });

  test('any JSON is a configuration or an error of ours', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const bytes = utf8(JSON.stringify(value));
        fc.pre(bytes.length < MAX_VM_CONFIG);
        try {
          parseVmConfig('work', bytes);
        } catch (error) {
          expect(isBackupError(error)).toBe(true);
        }
      }),
    );
  });
});
