/** Properties of the system as qubesd 4.4 has them. Source: qubes/app.py. */

import { propertyValueError, valueError } from './qubesd-exception.ts';
import { isTrue } from './qubesd-properties.ts';
import { checkClass, checkExists, sanitized } from './qubesd-property-values.ts';
import type { PropertyType } from './qubesd-property-values.ts';
import type { Store } from './qubesd-state.ts';

const GLOBAL_PROPERTIES: Readonly<Record<string, readonly [PropertyType, string | null]>> = {
  check_updates_vm: ['bool', 'True'],
  clockvm: ['vm', null],
  default_audiovm: ['vm', 'dom0'],
  default_dispvm: ['vm', null],
  default_guivm: ['vm', 'dom0'],
  default_kernel: ['str', null],
  default_netvm: ['vm', null],
  default_pool: ['str', 'varlibqubes'],
  default_pool_kernel: ['str', 'linux-kernel'],
  default_pool_private: ['str', 'varlibqubes'],
  default_pool_root: ['str', 'varlibqubes'],
  default_pool_volatile: ['str', 'varlibqubes'],
  default_qrexec_timeout: ['int', '60'],
  default_shutdown_timeout: ['int', '60'],
  default_template: ['vm', null],
  management_dispvm: ['vm', null],
  maxmem: ['int', '16384'],
  no_cpus: ['int', '16'],
  stats_interval: ['int', '3'],
  updatevm: ['vm', null],
};

export const globalPropertyNames = (): readonly string[] => Object.keys(GLOBAL_PROPERTIES);
export const globalPropertyType = (name: string): PropertyType => GLOBAL_PROPERTIES[name]?.[0] ?? 'str';

export function globalValue(store: Store, name: string): string | null {
  const set = Object.hasOwn(store.state.globals, name) ? store.state.globals[name] : undefined;
  if (set === undefined) return GLOBAL_PROPERTIES[name]?.[1] ?? null;
  return set === '' ? null : set;
}

export const globalDefault = (name: string): string | null => GLOBAL_PROPERTIES[name]?.[1] ?? null;

export function setGlobalProperty(store: Store, name: string, payload: string): void {
  const type = globalPropertyType(name);
  const value = sanitized(type, payload);
  if (name === 'maxmem' || name === 'no_cpus')
    throw propertyValueError(`property '${name}' on Qubes instance cannot be set`);
  if (type === 'vm') checkGlobalVm(store, name, value);
  if (name.startsWith('default_pool') && store.pool(value) === undefined)
    throw propertyValueError('No such storage pool');
  store.state.globals[name] = value;
}

function checkGlobalVm(store: Store, property: string, value: string): void {
  checkExists(store, property, value);
  if (value === '') return;
  const vm = store.vm(value);
  if (property === 'default_template') checkClass(vm, 'TemplateVM');
  if (property === 'default_netvm' && !isTrue(store, vm, 'provides_network'))
    throw valueError(`The ${value} qube does not provide network`);
  if (
    ['default_dispvm', 'management_dispvm'].includes(property) &&
    !isTrue(store, vm, 'template_for_dispvms')
  )
    throw propertyValueError(
      `Cannot set invalid property, ${property} '${value}' has template_for_dispvms set to False`,
    );
}
