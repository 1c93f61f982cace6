/**
 * Properties of VMs as qubesd 4.4 has them: types, defaults, what a setter refuses. In the order of the
 * answers: by the stage at which qubesd loads them, then by name. Source: qubes/vm/*.py.
 */

import { QubesException, Unhandled, propertyValueError, valueError } from './qubesd-exception.ts';
import { globalPropertyNames, globalPropertyType, globalValue } from './qubesd-global-properties.ts';
import {
  checkNetvm,
  checkNoDisposables,
  checkTemplate,
  disposableTemplate,
} from './qubesd-property-checks.ts';
import { checkExists, sanitized } from './qubesd-property-values.ts';
import type { PropertyType } from './qubesd-property-values.ts';
import type { Klass, Store, VmState } from './qubesd-state.ts';

/** `undefined` has no default; `null` is none. */
type Default = (store: Store, vm: VmState) => string | null | undefined;

interface Definition {
  readonly type: PropertyType;
  readonly value: Default;
  /** The classes that have it, if not all but dom0. */
  readonly of?: readonly Klass[];
  /** Only from 4.3. */
  readonly new?: boolean;
  /** `fixed`: computed, or set once. */
  readonly set?: 'fixed' | ((store: Store, vm: VmState, value: string) => string);
}

const VMS: readonly Klass[] = ['TemplateVM', 'AppVM', 'StandaloneVM', 'DispVM'];
const ALL: readonly Klass[] = ['AdminVM', ...VMS];
const constant =
  (value: string | null): Default =>
  () =>
    value;
const system =
  (name: string): Default =>
  (store) =>
    globalValue(store, name);

/** The template's value where there is a template. */
const withTemplate =
  (name: string, otherwise: Default): Default =>
  (store, vm) => {
    const template = vmValue(store, vm, 'template');
    return template === null || template === undefined
      ? otherwise(store, vm)
      : vmValue(store, store.vm(template), name);
  };

const positive = (name: string) => (_store: Store, _vm: VmState, value: string) => {
  if (Number(value) <= 0) throw propertyValueError(`${name} must be positive`);
  return value;
};

const str = (value: Default, more: Partial<Definition> = {}): Definition => ({ type: 'str', value, ...more });
const int = (value: Default, more: Partial<Definition> = {}): Definition => ({ type: 'int', value, ...more });
const bool = (value: Default, more: Partial<Definition> = {}): Definition => ({
  type: 'bool',
  value,
  ...more,
});
const aVm = (value: Default, more: Partial<Definition> = {}): Definition => ({ type: 'vm', value, ...more });
const fixed = { set: 'fixed' } as const;

const address = (vm: VmState): string => `10.137.0.${vm.qid}`;
const networked =
  (value: (vm: VmState, netvm: VmState) => string): Default =>
  (store, vm) => {
    const netvm = netvmOf(store, vm);
    return netvm === undefined ? null : value(vm, netvm);
  };

const ICONS: Readonly<Record<Klass, string>> = {
  AdminVM: 'adminvm',
  TemplateVM: 'templatevm',
  AppVM: 'appvm',
  StandaloneVM: 'standalonevm',
  DispVM: 'dispvm',
};

const VM_PROPERTIES: Readonly<Record<string, Definition>> = {
  auto_cleanup: bool(constant('False'), { of: ['DispVM'] }),
  autostart: bool(constant('False')),
  backup_timestamp: int(constant(null)),
  debug: bool(constant('False')),
  default_user: str(withTemplate('default_user', constant('user'))),
  devices_denied: str(constant(''), { of: ALL, new: true }),
  dispid: int((_store, vm) => vm.name.replace(/\D/g, ''), { of: ['DispVM'], ...fixed }),
  dns: str(
    networked(() => '10.139.1.1 10.139.1.2'),
    fixed,
  ),
  gateway: str((store, vm) => (isTrue(store, vm, 'provides_network') ? address(vm) : null), fixed),
  gateway6: str(constant(''), fixed),
  icon: str(
    (store, vm) =>
      `${vm.klass === 'AppVM' && isTrue(store, vm, 'template_for_dispvms') ? 'templatevm' : ICONS[vm.klass]}-${vmValue(store, vm, 'label') ?? ''}`,
    { of: ALL, ...fixed },
  ),
  include_in_backups: bool((store, vm) => (isTrue(store, vm, 'auto_cleanup') ? 'False' : 'True'), {
    of: ALL,
  }),
  installed_by_rpm: bool(constant('False')),
  ip: str(networked(address)),
  ip6: str(constant('')),
  is_preload: bool((store, vm) => (isPreloaded(store, vm) ? 'True' : 'False'), {
    of: ['DispVM'],
    new: true,
    ...fixed,
  }),
  kernel: str(withTemplate('kernel', system('default_kernel'))),
  keyboard_layout: str(constant('us++'), { of: ALL }),
  klass: str((_store, vm) => vm.klass, { of: ALL, ...fixed }),
  label: {
    type: 'label',
    value: constant('red'),
    of: ALL,
    set: (store, _vm, value) => {
      if (!store.state.labels.includes(value))
        throw new QubesException('QubesLabelNotFoundError', `Label does not exist: ${value}`);
      return value;
    },
  },
  mac: str(constant('00:16:3e:5e:6c:00'), {
    set: (_store, _vm, value) => {
      if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value)) throw new Unhandled('Invalid MAC address value');
      return value.toLowerCase();
    },
  }),
  maxmem: int((_store, vm) => (vm.klass === 'AdminVM' ? '4096' : '4000'), {
    of: ALL,
    set: (_store, _vm, value) => {
      if (Number(value) < 0) throw propertyValueError('maxmem must be positive or zero');
      return value;
    },
  }),
  memory: int(withTemplate('memory', constant('400')), { set: positive('memory') }),
  name: str((_store, vm) => vm.name, { of: ALL, ...fixed }),
  provides_network: bool(constant('False'), {
    set: (store, vm, value) => {
      if (value === 'False' && store.vms().some((other) => vmValue(store, other, 'netvm') === vm.name))
        throw valueError("The qube is still used by other qubes, change theirs 'netvm' first");
      return value;
    },
  }),
  qid: int((_store, vm) => String(vm.qid), { of: ALL, ...fixed }),
  qrexec_timeout: int(withTemplate('qrexec_timeout', system('default_qrexec_timeout')), {
    set: positive('qrexec_timeout'),
  }),
  shutdown_timeout: int(withTemplate('shutdown_timeout', system('default_shutdown_timeout')), {
    set: positive('shutdown_timeout'),
  }),
  start_time: str((_store, vm) => (vm.power === 'Halted' ? '' : '1700000000.0'), fixed),
  stubdom_mem: int(constant(null), { set: positive('stubdom_mem') }),
  stubdom_uuid: str(constant(''), fixed),
  stubdom_xid: int(constant('-1'), fixed),
  template_for_dispvms: bool(constant('False'), {
    of: ['AppVM', 'StandaloneVM'],
    set: (store, vm, value) => {
      if (value === 'False') checkNoDisposables(store, vm);
      return value;
    },
  }),
  updateable: bool((_store, vm) => (['AppVM', 'DispVM'].includes(vm.klass) ? 'False' : 'True'), {
    of: ALL,
    ...fixed,
  }),
  uuid: str((_store, vm) => vm.uuid, { of: ALL, ...fixed }),
  vcpus: int(withTemplate('vcpus', constant('2')), { set: positive('vcpus') }),
  virt_mode: str(withTemplate('virt_mode', constant('pvh')), {
    set: (_store, vm, value) => {
      if (!['hvm', 'pv', 'pvh'].includes(value.toLowerCase()))
        throw propertyValueError('Invalid virtualization mode, supported values: hvm, pv, pvh');
      if (value.toLowerCase() === 'pvh' && (vm.devices['pci'] ?? []).length > 0)
        throw propertyValueError('pvh mode cannot be set if pci devices are attached');
      return value.toLowerCase();
    },
  }),
  visible_gateway: str(
    networked((_vm, netvm) => address(netvm)),
    fixed,
  ),
  visible_gateway6: str(constant(''), fixed),
  visible_ip: str(networked(address), fixed),
  visible_ip6: str(constant(''), fixed),
  visible_netmask: str(
    networked(() => '255.255.255.255'),
    fixed,
  ),
  xid: int((_store, vm) => String(vm.power === 'Halted' ? -1 : vm.xid), fixed),
  // What refers to other VMs is loaded later, and so is what depends on that.
  appvm_default_bootmode: str(constant('default'), { of: ['TemplateVM'], new: true }),
  audiovm: aVm(system('default_audiovm')),
  bootmode: str(constant('default'), { new: true }),
  default_dispvm: aVm(system('default_dispvm'), { of: ALL, set: disposableTemplate('default_dispvm') }),
  guivm: aVm(system('default_guivm')),
  kernelopts: str(withTemplate('kernelopts', constant('swiotlb=2048')), {
    set: (_store, _vm, value) => {
      if (value.length > 512) throw propertyValueError('Kernelopts value too long (512 chars max)');
      return value;
    },
  }),
  management_dispvm: aVm(system('management_dispvm'), { set: disposableTemplate('management_dispvm') }),
  netvm: aVm(
    (store, vm) => {
      if (vm.klass === 'TemplateVM' || isTrue(store, vm, 'provides_network')) return null;
      return vm.klass === 'DispVM'
        ? vmValue(store, store.vm(vm.properties['template'] ?? ''), 'netvm')
        : globalValue(store, 'default_netvm');
    },
    { set: checkNetvm },
  ),
  template: aVm(constant(null), { of: ['AppVM', 'DispVM'], set: checkTemplate }),
};

/** Always set: what a VM was created with. */
const SET_AT_CREATION = ['name', 'qid', 'uuid', 'label'];

export function vmPropertyNames(vm: VmState, release: Release): readonly string[] {
  return Object.entries(VM_PROPERTIES)
    .filter(([, { of = VMS, new: isNew }]) => of.includes(vm.klass) && (release !== '4.2' || isNew !== true))
    .map(([name]) => name);
}

export type Release = '4.2' | '4.3';

export const vmPropertyType = (name: string): PropertyType => definition(name).type;
/** What a property is: null for none. */
export function vmValue(store: Store, vm: VmState, name: string): string | null | undefined {
  const { type, of = VMS } = definition(name);
  if (!of.includes(vm.klass)) return undefined;
  const set = Object.hasOwn(vm.properties, name) ? vm.properties[name] : undefined;
  if (set === undefined) return vmDefault(store, vm, name);
  return type === 'vm' && set === '' ? null : set;
}

export function vmDefault(store: Store, vm: VmState, name: string): string | null | undefined {
  return name === 'label' || name === 'template' ? undefined : definition(name).value(store, vm);
}

export function isDefault(vm: VmState, name: string): boolean {
  if (vm.klass === 'AdminVM') return name !== 'label';
  return !SET_AT_CREATION.includes(name) && !Object.hasOwn(vm.properties, name);
}

/** Sets a property of a VM. Throws as the real one. */
export function setVmProperty(store: Store, vm: VmState, name: string, payload: string): void {
  const { type, set } = definition(name);
  const value = sanitized(type, payload);
  if (['name', 'uuid', 'qid', 'dispid'].includes(name))
    throw new Unhandled(`property '${name}' is write-once`);
  if (set === 'fixed') throw propertyValueError(`property '${name}' on ${vm.klass} instance cannot be set`);
  if (type === 'vm') checkExists(store, name, value);
  vm.properties[name] = set === undefined ? value : set(store, vm, value);
}

export function resetVmProperty(store: Store, vm: VmState, name: string): void {
  if (name === 'template') {
    const template = globalValue(store, 'default_template');
    const instead = template === null ? '' : `. You can set it to the current default (${template}) instead`;
    throw valueError(`Cannot unset template${instead}`);
  }
  const { set } = definition(name);
  if (SET_AT_CREATION.includes(name) || set === 'fixed') throw new Unhandled(`${name} has no default`);
  if (typeof set === 'function') set(store, vm, vmDefault(store, vm, name) ?? '');
  Reflect.deleteProperty(vm.properties, name);
}

/** Where a VM is referred to: properties of the system, then properties that were set on other VMs. */
export function dependents(store: Store, name: string): readonly (readonly [string, string])[] {
  const found: (readonly [string, string])[] = globalPropertyNames()
    .filter((property) => globalPropertyType(property) === 'vm' && globalValue(store, property) === name)
    .map((property) => ['@GLOBAL', property] as const);
  for (const vm of store.vms()) {
    for (const [property, { type }] of Object.entries(VM_PROPERTIES)) {
      if (type === 'vm' && vm.name !== name && vm.properties[property] === name)
        found.push([vm.name, property]);
    }
  }
  return found;
}

/** A disposable that Qubes made ahead: its template has a note of it (4.3). */
function isPreloaded(store: Store, vm: VmState): boolean {
  const notes = store.find(vm.properties['template'] ?? '')?.features['preload-dispvm'] ?? '';
  return vm.klass === 'DispVM' && notes.split(' ').includes(vm.name);
}

function definition(name: string): Definition {
  const found = Object.hasOwn(VM_PROPERTIES, name) ? VM_PROPERTIES[name] : undefined;
  if (found === undefined) throw new RangeError(`no property ${name}`);
  return found;
}

/** Undefined of a VM without a network. */
export function netvmOf(store: Store, vm: VmState): VmState | undefined {
  const name = vmValue(store, vm, 'netvm');
  return name === null || name === undefined ? undefined : store.vm(name);
}

export function isTrue(store: Store, vm: VmState, name: string): boolean {
  return vmValue(store, vm, name) === 'True';
}
