/**
 * The Admin API of Qubes OS 4.2 and 4.3 as typed calls. Each throws AdminError where qubesd refuses, and BackupError with
 * `timeout`, `protocol`, `limit` or `io` where it does not answer as it should; messages name the VM and the call.
 */

import { utf8 } from '../../../../shared/bytes.ts';
import { BackupError } from '../../../../shared/errors.ts';
import { ADMIN_CALLS_AT_ONCE } from '../../../../shared/limits.ts';
import { isAdminError } from './admin-error.ts';
import * as answers from './answers.ts';
import type { AssignedDevice, ListedVm, PoolInfo, Property, VmState, VolumeInfo } from './answers.ts';
import { QUBESD_SOCKET, callQubesd, describeCall } from './connection.ts';
import { followEvents } from './events.ts';
import type { AdminEvent } from './events.ts';
import { METHODS } from './methods.ts';
import type { MethodName } from './methods.ts';
import { Slots } from './slots.ts';

/** A VM to create. */
export interface NewVm {
  readonly klass: 'AppVM' | 'StandaloneVM' | 'TemplateVM' | 'DispVM';
  readonly name: string;
  readonly label: string;
  /** Only an AppVM or DispVM has one; without it Qubes takes the default template. */
  readonly template?: string | undefined;
  /** The pool of each volume that is not to be in the default one. */
  readonly pools?: Readonly<Record<string, string>> | undefined;
}

/** A device that is assigned to a VM. */
export interface ListedDevice extends AssignedDevice {
  /** `pci`, `block`, `usb`, `mic`, … */
  readonly deviceClass: string;
}

interface CallTarget {
  readonly destination?: string;
  readonly argument?: string;
  readonly payload?: string;
  /** What stands for CLASS in the method's name. */
  readonly endpoint?: string;
}

export class Admin {
  readonly #socket: string;
  readonly #slots = new Slots(ADMIN_CALLS_AT_ONCE);

  constructor(socket = QUBESD_SOCKET) {
    this.#socket = socket;
  }

  // ---- The system ------------------------------------------------------------------------------------------

  /** All VMs, dom0 among them, sorted by name. */
  list(): Promise<readonly ListedVm[]> {
    return this.#call('list', {}, answers.vmList);
  }

  /** Properties of the system, `default_netvm` for example. */
  globals(): Promise<ReadonlyMap<string, Property>> {
    return this.#call('globals', {}, answers.allProperties);
  }

  setGlobal(name: string, value: string): Promise<void> {
    return this.#call('setGlobal', { argument: name, payload: value }, answers.nothing);
  }

  resetGlobal(name: string): Promise<void> {
    return this.#call('resetGlobal', { argument: name }, answers.nothing);
  }

  labels(): Promise<readonly string[]> {
    return this.#call('labels', {}, answers.names);
  }

  pools(): Promise<readonly string[]> {
    return this.#call('pools', {}, answers.names);
  }

  pool(name: string): Promise<PoolInfo> {
    return this.#call('pool', { argument: name }, answers.onePool);
  }

  deviceClasses(): Promise<readonly string[]> {
    return this.#call('deviceClasses', {}, answers.names);
  }

  /** What happens to all VMs until `signal` is aborted. */
  events(signal: AbortSignal): AsyncGenerator<AdminEvent, void> {
    return followEvents(this.#socket, METHODS.events.destination, signal);
  }

  // ---- A VM's configuration --------------------------------------------------------------------------------

  property(vm: string, name: string): Promise<Property> {
    return this.#call('property', { destination: vm, argument: name }, answers.oneProperty);
  }

  properties(vm: string): Promise<ReadonlyMap<string, Property>> {
    return this.#call('properties', { destination: vm }, answers.allProperties);
  }

  /** Undefined where a property has no default. */
  propertyDefault(vm: string, name: string): Promise<string | undefined> {
    return this.#call('propertyDefault', { destination: vm, argument: name }, answers.defaultValue);
  }

  /** `value` as text; empty for no VM. */
  setProperty(vm: string, name: string, value: string): Promise<void> {
    return this.#call('setProperty', { destination: vm, argument: name, payload: value }, answers.nothing);
  }

  resetProperty(vm: string, name: string): Promise<void> {
    return this.#call('resetProperty', { destination: vm, argument: name }, answers.nothing);
  }

  /** All features and their values; a service is the feature `service.NAME`. */
  async features(vm: string): Promise<ReadonlyMap<string, string>> {
    const names = await this.#call('features', { destination: vm }, answers.names);
    const values = await Promise.all(
      names.map((name) => this.#call('feature', { destination: vm, argument: name }, answers.text)),
    );
    return new Map(names.map((name, i) => [name, values[i] ?? '']));
  }

  /** A feature of the VM or, where that has not got it, of what it is based on. Undefined where nothing has it. */
  async featureWithTemplate(vm: string, name: string): Promise<string | undefined> {
    try {
      return await this.#call('featureWithTemplate', { destination: vm, argument: name }, answers.text);
    } catch (error) {
      if (isAdminError(error, 'QubesFeatureNotFoundError')) return undefined;
      throw error;
    }
  }

  setFeature(vm: string, name: string, value: string): Promise<void> {
    return this.#call('setFeature', { destination: vm, argument: name, payload: value }, answers.nothing);
  }

  removeFeature(vm: string, name: string): Promise<void> {
    return this.#call('removeFeature', { destination: vm, argument: name }, answers.nothing);
  }

  tags(vm: string): Promise<readonly string[]> {
    return this.#call('tags', { destination: vm }, answers.names);
  }

  setTag(vm: string, tag: string): Promise<void> {
    return this.#call('setTag', { destination: vm, argument: tag }, answers.nothing);
  }

  removeTag(vm: string, tag: string): Promise<void> {
    return this.#call('removeTag', { destination: vm, argument: tag }, answers.nothing);
  }

  firewall(vm: string): Promise<readonly string[]> {
    return this.#call('firewall', { destination: vm }, answers.firewallRules);
  }

  /** Replaces all rules. Qubes takes no empty list: without a rule everything is dropped, so that is said. */
  setFirewall(vm: string, rules: readonly string[]): Promise<void> {
    const payload = (rules.length === 0 ? ['action=drop'] : rules).map((rule) => `${rule}\n`).join('');
    return this.#call('setFirewall', { destination: vm, payload }, answers.nothing);
  }

  /** Undefined where there are no notes: before 4.3, and of dom0. */
  async notes(vm: string): Promise<string | undefined> {
    try {
      return await this.#call('notes', { destination: vm }, answers.text);
    } catch (error) {
      if (isAdminError(error, 'ProtocolError')) return undefined; // No such method: the call itself has no fault.
      throw error;
    }
  }

  /** Qubes takes no empty notes: a new VM has none. */
  async setNotes(vm: string, notes: string): Promise<void> {
    if (notes !== '') await this.#call('setNotes', { destination: vm, payload: notes }, answers.nothing);
  }

  /** Devices of all `classes` that the VM gets when it starts. They are listed, never attached. */
  async devices(vm: string, classes: readonly string[]): Promise<readonly ListedDevice[]> {
    const found = await Promise.all(
      classes.map(async (deviceClass) =>
        (await this.#devicesOf(vm, deviceClass)).map((device) => ({ deviceClass, ...device })),
      ),
    );
    return found.flat();
  }

  // ---- Volumes ---------------------------------------------------------------------------------------------

  volumes(vm: string): Promise<readonly string[]> {
    return this.#call('volumes', { destination: vm }, answers.names);
  }

  volume(vm: string, volume: string): Promise<VolumeInfo> {
    return this.#call('volume', { destination: vm, argument: volume }, answers.oneVolume);
  }

  /** Names of the revisions that Qubes keeps, oldest first. */
  volumeSnapshots(vm: string, volume: string): Promise<readonly string[]> {
    return this.#call('volumeSnapshots', { destination: vm, argument: volume }, answers.names);
  }

  /** Makes a volume `size` bytes large. Throws `refused` below its present size: qubesd would cut it off. */
  async growVolume(vm: string, volume: string, size: number): Promise<void> {
    const { size: present } = await this.volume(vm, volume);
    if (!Number.isSafeInteger(size) || size < present) {
      throw new BackupError(
        'refused',
        `VM ${vm}: its ${volume} volume has ${present} bytes and is not made smaller (${size})`,
      );
    }
    if (size === present) return;
    const target = { destination: vm, argument: volume, payload: String(size) };
    await this.#call('resizeVolume', target, answers.nothing);
  }

  /** Gives `to` the content and size of the volume of `from`; its own becomes a revision. */
  async cloneVolume(from: string, to: string, volume: string): Promise<void> {
    const token = await this.#call('cloneFrom', { destination: from, argument: volume }, answers.cloneToken);
    await this.#call('cloneTo', { destination: to, argument: volume, payload: token }, answers.nothing);
  }

  // ---- A VM's life -----------------------------------------------------------------------------------------

  create({ klass, name, label, template = '', pools = {} }: NewVm): Promise<void> {
    const inPools = Object.entries(pools).map(([volume, pool]) => [`pool:${volume}`, pool] as const);
    const options = [['name', name], ['label', label], ...inPools].map(([key = '', value = '']) => {
      // qubesd takes words: a space would begin another option.
      if (!/^[A-Za-z0-9_.:+-]+$/.test(value))
        throw new BackupError('usage', `VM ${name}: no ${key} of Qubes OS has such a name`);
      return `${key}=${value}`;
    });
    const target = { endpoint: klass, argument: template, payload: options.join(' ') };
    return this.#call(inPools.length === 0 ? 'create' : 'createInPool', target, answers.nothing);
  }

  /** A disposable of this DVM template; Qubes chooses its name. From 4.3 it may be one that runs already. */
  createDisposable(dvmTemplate: string): Promise<string> {
    return this.#call('createDisposable', { destination: dvmTemplate }, answers.newName);
  }

  /** Returns when the VM runs. A VM that runs already is left alone. */
  start(vm: string): Promise<void> {
    return this.#call('start', { destination: vm }, answers.nothing);
  }

  /** Asks the VM to shut down, and returns at once. */
  shutdown(vm: string): Promise<void> {
    return this.#call('shutdown', { destination: vm }, answers.nothing);
  }

  /** Ends the VM at once. One that does not run is as good as killed. */
  async kill(vm: string): Promise<void> {
    try {
      await this.#call('kill', { destination: vm }, answers.nothing);
    } catch (error) {
      if (!isAdminError(error, 'QubesVMNotStartedError', 'QubesVMNotRunningError')) throw error;
    }
  }

  /** Removes a halted VM with its volumes. Qubes refuses one that others refer to. */
  remove(vm: string): Promise<void> {
    return this.#call('remove', { destination: vm }, answers.nothing);
  }

  state(vm: string): Promise<VmState> {
    return this.#call('state', { destination: vm }, answers.powerState);
  }

  // ----------------------------------------------------------------------------------------------------------

  /** 4.3 calls it Assigned; 4.2 knows no such method, and lists what is attached only for now as well. */
  async #devicesOf(vm: string, deviceClass: string): Promise<readonly AssignedDevice[]> {
    const target = { destination: vm, endpoint: deviceClass };
    try {
      return await this.#call('assignedDevices', target, answers.assignedDevices);
    } catch (error) {
      if (!isAdminError(error, 'ProtocolError')) throw error;
      const all = await this.#call('listedDevices', target, answers.assignedDevices);
      return all.filter(({ options }) => options.split(' ').includes('persistent=yes'));
    }
  }

  /** One call of a method of the table. */
  #call<T>(
    name: MethodName,
    { destination = 'dom0', argument = '', payload = '', endpoint }: CallTarget,
    read: (what: string, answer: Uint8Array) => T,
  ): Promise<T> {
    const { method: pattern, timeout } = METHODS[name];
    const method = endpoint === undefined ? pattern : pattern.replace('CLASS', endpoint);
    const request = { method, argument, destination, payload: utf8(payload) };
    return this.#slots.run(async () =>
      read(describeCall(request), await callQubesd(this.#socket, request, timeout)),
    );
  }
}
