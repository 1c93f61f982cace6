/** The stand-in for qubesd itself where the recording says nothing: its disk, LVM, and what it refuses. */

import { closeSync, existsSync, openSync, readSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { rejection } from '../support/failure.ts';
import { FakeQubesd } from './fake-qubesd.ts';
import { machine } from './qubes-kit.ts';

test('opens what a run left that was killed', async () => {
  const { admin, qubesd, folder } = await machine();
  await admin.setTag('work', 'kept');
  await admin.start('work');
  await qubesd.close();
  const again = await FakeQubesd.open(folder);
  onTestFinished(() => again.close());
  const reopened = new Admin(again.socketPath);
  expect(await reopened.tags('work')).toContain('kept');
  expect(await reopened.state('work')).toBe('Running');
  await reopened.kill('work');
  expect(await reopened.volumeSnapshots('work', 'private')).toEqual(['1']);
});

test('a running VM writes to a copy, which becomes the volume when it ends', async () => {
  const { admin, folder } = await machine();
  const images = join(folder, 'var/lib/qubes/appvms/work');
  await admin.start('work');
  const { path } = await admin.volume('work', 'private');
  expect(path).toBe(join(images, 'private-dirty.img'));
  writeFileSync(path, 'written', { flag: 'r+' });
  expect(beginning(join(images, 'private.img'))).toBe('\0\0\0\0\0\0\0');
  await admin.kill('work');
  expect(beginning(join(images, 'private.img'))).toBe('written');
  expect(
    readdirSync(images).filter((name) => /^private\.img\.1@\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(name)),
  ).toHaveLength(1);
  expect(existsSync(join(images, 'root-dirty.img'))).toBe(false);
  await admin.remove('work');
  expect(readdirSync(images)).toEqual([]);
});

test('logical volumes have the names that Qubes gives them', async () => {
  const { admin, qubesd, folder } = await machine();
  await qubesd.call(
    'admin.pool.Add+lvm_thin',
    'dom0',
    'name=vg\nvolume_group=qubes_dom0\nthin_pool=vm-pool\n',
  );
  await admin.create({
    klass: 'AppVM',
    name: 'a-b',
    label: 'red',
    template: 'debian-12',
    pools: { private: 'vg' },
  });
  const device = (name: string) => join(folder, 'dev/qubes_dom0', name);
  expect((await admin.volume('a-b', 'private')).path).toBe(
    join(folder, 'dev/mapper/qubes_dom0-vm--a--b--private'),
  );
  await admin.start('a-b');
  expect(readdirSync(device('')).sort()).toEqual(['vm-a-b-private', 'vm-a-b-private-snap']);
  await admin.kill('a-b');
  const [revision] = await admin.volumeSnapshots('a-b', 'private');
  expect(revision).toMatch(/^[0-9]+-back$/);
  expect(readdirSync(device('')).sort()).toEqual(['vm-a-b-private', `vm-a-b-private-${revision ?? ''}`]);
});

test('without revisions a running VM has the volume itself', async () => {
  const { admin, qubesd, folder } = await machine();
  await qubesd.call('admin.vm.volume.Set.revisions_to_keep+private', 'work', '-1');
  await admin.start('work');
  const images = join(folder, 'var/lib/qubes/appvms/work');
  expect(readdirSync(images).filter((name) => name.startsWith('private'))).toEqual(['private-dirty.img']);
  expect(await rejection(admin.cloneVolume('work', 'default-dvm', 'private'))).toMatchObject({
    type: 'StoragePoolException',
  });
  await admin.kill('work');
  expect(readdirSync(images)).toContain('private.img');
});

test.each<[string, string, string, string]>([
  ['admin.vm.property.Set+netvm', 'sys-net', 'sys-net', 'QubesValueError'],
  ['admin.vm.property.Set+template', 'work', '', 'QubesPropertyValueError'],
  ['admin.vm.property.Set+qid', 'work', '7', 'EmptyAnswer'],
  ['admin.vm.property.Set+icon', 'work', 'x', 'QubesPropertyValueError'],
  ['admin.vm.property.Set+virt_mode', 'work', 'fast', 'QubesPropertyValueError'],
  ['admin.vm.property.Reset+label', 'work', '', 'EmptyAnswer'],
  ['admin.vm.tag.Set+a.b', 'work', '', 'QubesInvalidTagError'],
  ['admin.vm.firewall.Set', 'work', '\n', 'EmptyAnswer'],
  ['admin.vm.firewall.Set', 'work', 'action=accept dstports=1', 'EmptyAnswer'],
  ['admin.vm.volume.Resize+kernel', 'work', '1', 'StoragePoolException'],
  ['admin.vm.volume.Revert+private', 'work', '1', 'ProtocolError'],
  ['admin.property.Set+default_netvm', 'dom0', 'work', 'QubesValueError'],
  ['admin.property.Set+default_template', 'dom0', 'work', 'QubesPropertyValueError'],
  ['admin.property.Set+maxmem', 'dom0', '1', 'QubesPropertyValueError'],
])('%s of %s to %j is %s', async (call, dest, payload, type) => {
  const { qubesd } = await machine();
  const refused = await qubesd.call(call, dest, payload).then(
    () => 'none',
    (error: unknown) => (error instanceof Error && 'type' in error ? error.type : 'EmptyAnswer'),
  );
  expect(refused).toBe(type);
});

test('a running VM keeps its template, and is not given a network VM that is off', async () => {
  const { admin } = await machine();
  await admin.setProperty('work', 'netvm', '');
  await admin.start('work');
  expect(await rejection(admin.setProperty('work', 'template', 'debian-12'))).toMatchObject({
    type: 'QubesVMNotHaltedError',
  });
  expect(await rejection(admin.setProperty('work', 'netvm', 'sys-net'))).toMatchObject({
    type: 'QubesVMNotStartedError',
  });
});

test('a VM whose devices others are to get stays', async () => {
  const { admin, qubesd } = await machine();
  qubesd.store.vm('sys-net').devices['block'] = ["work+sda device_id='x'"];
  expect(await rejection(admin.remove('work'))).toMatchObject({ type: 'QubesVMInUseError' });
});

/** The first seven bytes of an image, which is as large as a volume. */
function beginning(path: string): string {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(7);
  readSync(file, bytes);
  closeSync(file);
  return bytes.toString('latin1');
}
