/** Values of properties as qubesd takes them, before any setter sees them. Source: qubes/__init__.py, qubes/vm/__init__.py. */

import { propertyValueError, valueError } from './qubesd-exception.ts';
import { checkName } from './qubesd-names.ts';
import type { Klass, Store, VmState } from './qubesd-state.ts';

export type PropertyType = 'str' | 'int' | 'bool' | 'vm' | 'label';

/** The coarse check before a setter, on the bytes as latin1. */
export function sanitized(type: PropertyType, payload: string): string {
  if (!/^[\x00-\x7f]*$/.test(payload)) throw valueError('Non-ASCII bytes in property value');
  switch (type) {
    case 'bool':
      if (/^(1|yes|true|on)$/i.test(payload)) return 'True';
      if (/^(0|no|false|off)$/i.test(payload)) return 'False';
      throw valueError(`Invalid literal for boolean property: '${payload}'`);
    case 'int':
      if (!/^\s*[+-]?[0-9]+\s*$/.test(payload)) throw valueError('Failed to parse property value as int');
      return String(Number(payload));
    case 'vm':
      if (payload !== '') checkName(payload);
      return payload;
    case 'str':
    case 'label':
      if (!/^[\x20-\x7e\t-\r]*$/.test(payload)) throw valueError('Invalid characters in property value');
      return payload;
  }
}

export function checkExists(store: Store, property: string, value: string): void {
  if (value !== '' && store.find(value) === undefined)
    throw propertyValueError(`Can't set ${property} to non-existing qube ${value}`);
}

export function checkClass(vm: VmState, klass: Klass): void {
  if (vm.klass !== klass)
    throw propertyValueError(`wrong VM class: domains['${vm.name}'] is of type ${vm.klass} and not ${klass}`);
}
