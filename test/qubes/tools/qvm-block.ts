/**
 * qvm-block: `list dom0`, `attach`, `detach`. Sources: core-admin-client qubesadmin/tools/qvm_device.py, core-admin
 * qubes/ext/block.py, linux-utils udev/udev-block-add-change, core-admin-linux system-config/00-qubes-ignore-devices.rules.
 */

import { parse } from './options.ts';
import { Refusal } from './state.ts';
import type { Attachment, World } from './state.ts';

interface Offered {
  readonly port: string;
  readonly description: string;
  readonly readOnly: boolean;
}

export function qvmBlock(world: World, args: readonly string[]): string {
  const [command, ...rest] = args;
  switch (command) {
    case 'list':
      return list(world, rest);
    case 'attach':
      return attach(world, rest);
    case 'detach':
      return detach(world, rest);
    default:
      throw new Refusal(2, `usage: qvm-block [-h] ... invalid choice: '${command ?? ''}'`);
  }
}

function list(world: World, args: readonly string[]): string {
  if (args.length !== 1 || args[0] !== 'dom0')
    throw new Refusal(2, 'this stand-in lists the devices of dom0');
  const rows = offered(world).map(({ port, description }) => [
    `dom0:${port}`,
    description,
    world.state.attachments
      .filter((attachment) => attachment.port === port)
      .map((attachment) => frontend(world, attachment))
      .join(', '),
  ]);
  // As column(1) sets them.
  const widths = [0, 1].map((i) => Math.max(0, ...rows.map((row) => (row[i] ?? '').length)));
  return rows
    .map((row) => `${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}\n`)
    .sort()
    .join('');
}

function frontend(world: World, { vm, readOnly, frontend: device }: Attachment): string {
  const options = `frontend-dev=${device}, read-only=${readOnly ? 'yes' : 'no'}`;
  return world.state.release === '4.2' ? `${vm} (${options})` : `${vm} (attached: ${options})`;
}

function attach(world: World, args: readonly string[]): string {
  const parsed = parse('qvm-block', args, { flags: ['--ro'] });
  const [vm, port] = target(world, parsed.rest);
  const device = offered(world).find((candidate) => candidate.port === port);
  if (device === undefined) throw new Refusal(2, `backend vm dom0 doesn't expose block device '${port}'`);
  const readOnly = parsed.flags.has('--ro');
  if (device.readOnly && !readOnly) throw new Refusal(1, 'This device can be attached only read-only');
  if (world.power(vm) !== 'Running') throw new Refusal(1, `Domain is not running: ${vm}`);
  const holder = world.state.attachments.find((attachment) => attachment.port === port);
  if (holder !== undefined) throw new Refusal(1, `Device dom0:${port}:: already attached to ${holder.vm}`);
  if (!readOnly && isOriginal(device.description))
    world.breach(`a VM may write to ${device.description}, the volume of a VM that is not temporary`);
  if (isOriginal(device.description)) world.breach(`a VM is given ${device.description} itself`);
  const taken = world.state.attachments.filter((attachment) => attachment.vm === vm).map((a) => a.frontend);
  const free = 'ijklmnopqrstuvwxyz'.split('').find((letter) => !taken.includes(`xvd${letter}`)) ?? 'zz';
  world.state.attachments.push({ vm, port, readOnly, frontend: `xvd${free}` });
  return '';
}

function detach(world: World, args: readonly string[]): string {
  const [vm, port] = target(world, parse('qvm-block', args, {}).rest);
  const found = world.state.attachments.find(
    (attachment) => attachment.vm === vm && attachment.port === port,
  );
  if (found === undefined) throw new Refusal(1, `dom0:${port} is not attached.`);
  world.state.attachments.splice(world.state.attachments.indexOf(found), 1);
  world.settle();
  return '';
}

function target(world: World, rest: readonly string[]): [vm: string, port: string] {
  const [vm = '', device = '', ...more] = rest;
  if (device === '' || more.length > 0)
    throw new Refusal(2, 'usage: qvm-block attach VMNAME BACKEND:DEVICE_ID');
  if (world.power(vm) === undefined) throw new Refusal(2, `no such domain: '${vm}'`);
  const [backend, port = ''] = device.split(':');
  if (backend !== 'dom0') throw new Refusal(2, 'no such backend vm!');
  return [vm, port];
}

/** What udev tells qubesd of. */
function offered(world: World): readonly Offered[] {
  const attached = (port: string) => world.state.attachments.some((attachment) => attachment.port === port);
  const loops = Object.entries(world.state.loops).map(([number, { file, readOnly }]) => ({
    port: `loop${number}`,
    description: world.place(file),
    readOnly,
    offered: !isHidden(world.place(file)),
  }));
  const mapped = Object.entries(world.state.logical).map(([path, { dm }]) => ({
    port: `dm-${dm}`,
    description: path.replaceAll('-', '--').replace('/', '-'),
    readOnly: false,
    // One that something has open is withdrawn, unless it is a VM.
    offered:
      !path.includes('/vm-') &&
      !Object.values(world.state.loops).some(({ file }) => file === world.at(`dev/dm-${dm}`)),
  }));
  return [...loops, ...mapped].filter((device) => device.offered || attached(device.port));
}

/** Loop devices over the images of Qubes' own pools are not for VMs. */
function isHidden(file: string): boolean {
  return file.startsWith('/var/lib/qubes/') || /\/(?:appvms|vm-templates)\/.*\/.*\.img/.test(file);
}

/** Of no VM but a temporary one may the volume itself be given to a VM. */
function isOriginal(description: string): boolean {
  return /^\/dev\/(?:[^/]+\/vm-(?!restore-|qib-)|zvol\/(?:[^/]+\/)+(?!restore-)(?!qib-)[^/]+\/(?:private|root)$)/.test(
    description,
  );
}
