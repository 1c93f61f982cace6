/** A small Qubes OS in which much refers to `default-dvm`, and what there is to be compared of one. */

import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import type { Options } from './fake-qubesd.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';

const GiB = 2 ** 30;

/** `default-dvm` with everything that can refer to a VM, and `sys-net`, which has all others' network. */
export async function referredMachine(options: Options = {}): Promise<Machine> {
  const qubes = await machine(options);
  const { admin, qubesd } = qubes;
  await admin.create({ klass: 'DispVM', name: 'named-disp', label: 'red', template: 'default-dvm' });
  await admin.setGlobal('management_dispvm', 'default-dvm');
  await admin.setProperty('work', 'default_dispvm', 'default-dvm');
  await admin.setProperty('work', 'netvm', 'sys-net');
  await admin.setProperty('default-dvm', 'default_dispvm', 'default-dvm');
  await admin.setProperty('default-dvm', 'memory', '500');
  await admin.setFirewall('default-dvm', ['action=accept proto=udp dstports=53', 'action=drop']);
  await admin.setTag('default-dvm', 'mine');
  await admin.setNotes('default-dvm', 'ü');
  await admin.setFeature('default-dvm', 'gui', '1');
  await admin.growVolume('default-dvm', 'private', 3 * GiB);
  qubesd.calls.length = 0;
  return qubes;
}

/** Every VM with its configuration, and the system's properties. */
export async function snapshotOf({ admin }: Pick<Machine, 'admin'>) {
  const facts = await readSystemFacts(admin);
  const names = (await admin.list()).map(({ name }) => name);
  const configs = await Promise.all(names.map((name) => captureVmConfig(admin, name, facts)));
  return { configs, globals: [...(await admin.globals())] };
}
