/** `qubesd.ts FOLDER VMS`: the stand-in for qubesd as a process of its own, with so many VMs; says `ready`, and runs until it is killed. */

import { writeSync } from 'node:fs';
import { FakeQubesd } from '../../test/qubes/fake-qubesd.ts';

const [folder = '', vms = ''] = process.argv.slice(2);
const qubesd = await FakeQubesd.open(folder);
const { calls } = qubesd;
const set = (call: string, dest: string, payload: string) => qubesd.call(call, dest, payload);

await set('admin.property.Set+default_kernel', 'dom0', '6.6.1-1');
await set('admin.vm.Create.TemplateVM', 'dom0', 'name=debian-12 label=black');
await set('admin.property.Set+default_template', 'dom0', 'debian-12');
await set('admin.vm.Create.AppVM+debian-12', 'dom0', 'name=sys-net label=red');
await set('admin.vm.property.Set+provides_network', 'sys-net', 'True');
for (let i = 0; i < Number(vms); i++) {
  const name = `vm-${i}`;
  await set('admin.vm.Create.AppVM+debian-12', 'dom0', `name=${name} label=red`);
  await set('admin.vm.property.Set+memory', name, String(400 + i));
  await set('admin.vm.property.Set+netvm', name, 'sys-net');
  for (const feature of ['gui', 'service.cups', 'menu-items'])
    await set(`admin.vm.feature.Set+${feature}`, name, '1');
  await set('admin.vm.tag.Set+mine', name, '');
  await set('admin.vm.firewall.Set', name, 'action=accept dsthost=192.0.2.1\naction=drop\n');
}
calls.length = 0;
process.on('SIGUSR2', () => {
  writeSync(1, `${calls.length}\n`);
  calls.length = 0;
});
writeSync(1, 'ready\n');
