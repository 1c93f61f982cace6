/** A small Qubes OS for tests: the stand-in for qubesd with a template, a network VM, a DVM template and an AppVM. */

import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { tempFolder } from '../support/temp.ts';
import { FakeQubesd } from './fake-qubesd.ts';
import type { Options } from './fake-qubesd.ts';

export interface Machine {
  readonly folder: string;
  readonly qubesd: FakeQubesd;
  readonly admin: Admin;
}

/** Calls that make `debian-12`, `sys-net`, `default-dvm` and `work`. */
const SETUP: readonly (readonly [call: string, dest: string, payload: string])[] = [
  ['admin.property.Set+default_kernel', 'dom0', '6.6.1-1'],
  ['admin.vm.Create.TemplateVM', 'dom0', 'name=debian-12 label=black'],
  ['admin.property.Set+default_template', 'dom0', 'debian-12'],
  ['admin.vm.Create.AppVM+debian-12', 'dom0', 'name=sys-net label=red'],
  ['admin.vm.property.Set+provides_network', 'sys-net', 'True'],
  ['admin.vm.property.Set+netvm', 'sys-net', ''],
  ['admin.property.Set+default_netvm', 'dom0', 'sys-net'],
  ['admin.vm.Create.AppVM+debian-12', 'dom0', 'name=default-dvm label=red'],
  ['admin.vm.property.Set+template_for_dispvms', 'default-dvm', 'True'],
  ['admin.property.Set+default_dispvm', 'dom0', 'default-dvm'],
  ['admin.vm.Create.AppVM+debian-12', 'dom0', 'name=work label=blue'],
];

/** Where nobody has menus of applications. */
export const NO_MENUS = { copy: () => Promise.resolve() };

/** Starts the stand-in; it ends with the running test. */
export async function machine(options: Options = {}): Promise<Machine> {
  const folder = tempFolder();
  const qubesd = await FakeQubesd.open(folder, options);
  onTestFinished(() => qubesd.close());
  for (const [call, dest, payload] of SETUP) await qubesd.call(call, dest, payload);
  qubesd.calls.length = 0;
  return { folder, qubesd, admin: new Admin(qubesd.socketPath) };
}

/** A socket on which `answer` does with each connection what it likes; ends with the running test. */
export async function listen(answer: (socket: Socket) => void): Promise<string> {
  const path = join(tempFolder(), 'qubesd.sock');
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()); // The client hung up: the test looks at what it says.
    answer(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return path;
}

/** Answers each request with the same bytes once it is complete. */
export function answering(bytes: string): Promise<string> {
  return listen((socket) => {
    socket.resume();
    socket.on('end', () => socket.end(Buffer.from(bytes, 'latin1')));
  });
}
