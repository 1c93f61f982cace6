/** The typed calls against the stand-in for qubesd, on both releases. */

import { describe, expect, test } from 'vitest';
import { ADMIN_CALLS_AT_ONCE } from '../../shared/limits.ts';
import { METHODS } from '../../dom0/domains/qubes/admin/methods.ts';
import { rejection } from '../support/failure.ts';
import { machine } from './qubes-kit.ts';

const GiB = 2 ** 30;

describe.each(['4.2', '4.3'] as const)('Qubes OS %s', (release) => {
  test('lists VMs, with UUIDs where the release has them', async () => {
    const { admin } = await machine({ release });
    const list = await admin.list();
    expect(list.map(({ name }) => name)).toEqual(['dom0', 'debian-12', 'default-dvm', 'sys-net', 'work']);
    expect(list.every(({ uuid }) => (uuid === undefined) === (release === '4.2'))).toBe(true);
    expect((await admin.property('work', 'uuid')).value).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('sets and reads what a VM is', async () => {
    const { admin } = await machine({ release });
    await admin.setProperty('work', 'memory', '600');
    await admin.setProperty('work', 'kernelopts', 'a\\b\nc');
    const properties = await admin.properties('work');
    expect(properties.get('memory')).toEqual({ isDefault: false, type: 'int', value: '600' });
    expect(properties.get('kernelopts')?.value).toBe('a\\b\nc');
    expect(properties.get('netvm')).toEqual({ isDefault: true, type: 'vm', value: 'sys-net' });
    expect(await admin.propertyDefault('work', 'netvm')).toBe('sys-net');
    expect(await admin.propertyDefault('work', 'label')).toBeUndefined();
    await admin.resetProperty('work', 'memory');
    expect(await admin.property('work', 'memory')).toMatchObject({ isDefault: true, value: '400' });

    await admin.setFeature('work', 'gui', '1');
    await admin.setFeature('work', 'service.off', '');
    await admin.setFeature('work', 'gone', 'x');
    await admin.removeFeature('work', 'gone');
    expect([...(await admin.features('work'))]).toEqual([
      ['gui', '1'],
      ['service.off', ''],
    ]);
    await admin.setTag('work', 'mine');
    await admin.setTag('work', 'gone');
    await admin.removeTag('work', 'gone');
    expect(await admin.tags('work')).toEqual(['audiovm-dom0', 'created-by-dom0', 'guivm-dom0', 'mine']);

    await admin.setFirewall('work', ['action=accept proto=udp dstports=53', 'action=drop']);
    expect(await admin.firewall('work')).toEqual(['action=accept proto=udp dstports=53-53', 'action=drop']);
    await admin.setFirewall('work', []);
    expect(await admin.firewall('work')).toEqual(['action=drop']);
  });

  test('has notes where the release has them', async () => {
    const { admin } = await machine({ release });
    expect(await admin.notes('dom0')).toBeUndefined();
    if (release === '4.2') {
      expect(await admin.notes('work')).toBeUndefined();
      expect(await rejection(admin.setNotes('work', 'x'))).toMatchObject({ code: 'protocol' });
    } else {
      await admin.setNotes('work', 'line\nü');
      await admin.setNotes('work', '');
      expect(await admin.notes('work')).toBe('line\nü');
    }
  });

  test('lists devices that a VM gets when it starts', async () => {
    const { admin, qubesd } = await machine({ release });
    const devices = qubesd.store.vm('work').devices;
    devices['pci'] =
      release === '4.2'
        ? ['dom0+00_1f.2 persistent=yes', 'dom0+00_1f.3 persistent=no']
        : ["dom0+00_1f.2:0x8086 device_id='0x8086' mode='required'"];
    const found = await admin.devices('work', await admin.deviceClasses());
    expect(found.map(({ deviceClass, device }) => [deviceClass, device.split(':')[0]])).toEqual([
      ['pci', 'dom0+00_1f.2'],
    ]);
  });

  test('grows a volume and never makes one smaller', async () => {
    const { admin, qubesd } = await machine({ release });
    expect((await admin.volume('work', 'private')).size).toBe(2 * GiB);
    await admin.growVolume('work', 'private', 3 * GiB);
    await admin.growVolume('work', 'private', 3 * GiB);
    for (const size of [3 * GiB - 1, 0, -1, NaN, 3 * GiB + 0.5, 2 ** 60]) {
      expect(await rejection(admin.growVolume('work', 'private', size))).toMatchObject({ code: 'refused' });
    }
    expect((await admin.volume('work', 'private')).size).toBe(3 * GiB);
    const resizes = qubesd.calls.filter(({ call }) => call.startsWith('admin.vm.volume.Resize'));
    expect(resizes.map(({ payload }) => payload)).toEqual([String(3 * GiB)]);
  });

  test('creates, starts, clones, kills and removes', async () => {
    const { admin } = await machine({ release });
    await admin.create({ klass: 'AppVM', name: 'new', label: 'green', template: 'debian-12' });
    await admin.create({ klass: 'StandaloneVM', name: 'alone', label: 'red' });
    await admin.growVolume('work', 'private', 3 * GiB);
    await admin.cloneVolume('work', 'new', 'private');
    expect((await admin.volume('new', 'private')).size).toBe(3 * GiB);
    expect(await admin.volumeSnapshots('new', 'private')).toEqual(['1']);
    expect(await admin.volumes('new')).toEqual(['root', 'private', 'volatile', 'kernel']);
    expect(await admin.state('new')).toBe('Halted');
    await admin.kill('new');
    await admin.start('new');
    expect([await admin.state('new'), await admin.state('sys-net')]).toEqual(['Running', 'Running']);
    expect(await rejection(admin.remove('new'))).toMatchObject({ type: 'QubesVMNotHaltedError' });
    await admin.kill('new');
    await admin.remove('new');
    expect(await rejection(admin.remove('new'))).toMatchObject({ code: 'unknown-vm' });
    await admin.shutdown('sys-net');
    expect(await rejection(admin.remove('sys-net'))).toMatchObject({ type: 'QubesVMInUseError' });
  });

  test('makes a disposable, which is gone when it is killed', async () => {
    const { admin } = await machine({ release });
    const name = await admin.createDisposable('default-dvm');
    expect((await admin.property(name, 'template')).value).toBe('default-dvm');
    expect(await admin.state(name)).toBe('Halted');
    await admin.setProperty(name, 'netvm', '');
    await admin.start(name);
    await admin.kill(name);
    expect(await rejection(admin.state(name))).toMatchObject({ code: 'unknown-vm' });
    expect(await rejection(admin.createDisposable('work'))).toMatchObject({ type: 'QubesException' });
  });

  test('changes the defaults of the system', async () => {
    const { admin } = await machine({ release });
    expect((await admin.globals()).get('default_netvm')).toEqual({
      isDefault: false,
      type: 'vm',
      value: 'sys-net',
    });
    await admin.setGlobal('default_netvm', '');
    await admin.resetGlobal('default_dispvm');
    const globals = await admin.globals();
    expect([globals.get('default_netvm')?.value, globals.get('default_dispvm')?.value]).toEqual(['', '']);
    expect(await admin.labels()).toContain('purple');
    expect(await admin.pools()).toEqual(['varlibqubes', 'linux-kernel']);
    expect(await admin.pool('varlibqubes')).toMatchObject({ driver: 'file-reflink' });
  });
});

test('a VM is created in the pool of another', async () => {
  const { admin, qubesd } = await machine();
  await qubesd.call(
    'admin.pool.Add+lvm_thin',
    'dom0',
    'name=vg\nvolume_group=qubes_dom0\nthin_pool=vm-pool\n',
  );
  await admin.create({
    klass: 'AppVM',
    name: 'thin',
    label: 'red',
    template: 'debian-12',
    pools: { private: 'vg' },
  });
  expect(await admin.volume('thin', 'private')).toMatchObject({
    pool: 'vg',
    vid: 'qubes_dom0/vm-thin-private',
  });
  expect((await admin.volume('thin', 'root')).pool).toBe('varlibqubes');
});

test('a name that would be another option of creation is not sent', async () => {
  const { admin, qubesd } = await machine();
  const create = (more: object) =>
    rejection(
      Promise.resolve().then(() => admin.create({ klass: 'AppVM', name: 'x', label: 'red', ...more })),
    );
  expect(await create({ label: 'red pool=vms' })).toMatchObject({ code: 'usage' });
  expect(await create({ name: 'x label=blue' })).toMatchObject({ code: 'usage' });
  expect(await create({ pools: { private: 'a b' } })).toMatchObject({ code: 'usage' });
  expect(qubesd.calls).toEqual([]);
});

test('a preloaded disposable is one that runs already', async () => {
  const { admin } = await machine();
  await admin.setFeature('default-dvm', 'preload-dispvm-max', '1');
  expect(await admin.state(await admin.createDisposable('default-dvm'))).toBe('Running');
});

test('no more calls are under way than the bound, and those that wait get their turn', async () => {
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  let arrived = 0;
  const { admin, qubesd } = await machine({
    before: async (call) => {
      if (!call.startsWith('admin.vm.CurrentState')) return;
      if (++arrived === ADMIN_CALLS_AT_ONCE) release();
      await gate;
    },
  });
  const states = await Promise.all(Array.from({ length: 50 }, () => admin.state('work')));
  expect(states).toHaveLength(50);
  expect(qubesd.mostAtOnce).toBe(ADMIN_CALLS_AT_ONCE);
});

test('a refusal does not keep its slot', async () => {
  const { admin } = await machine();
  const refused = Array.from({ length: 3 * ADMIN_CALLS_AT_ONCE }, () => rejection(admin.state('nosuch')));
  expect((await Promise.all(refused)).every(({ code }) => code === 'unknown-vm')).toBe(true);
  expect(await admin.state('work')).toBe('Halted');
});

test('every method of the table says what for and what then', () => {
  const rows = Object.values(METHODS);
  expect(new Set(rows.map(({ method }) => method)).size).toBe(rows.length);
  expect(
    rows.every(({ use, failure }) => (use.length > 10 && failure.length > 10) || failure === 'a warning'),
  ).toBe(true);
});
