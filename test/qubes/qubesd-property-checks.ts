/** What setters of properties refuse that refer to other VMs. Source: qubes/vm/mix/net.py, qubes/vm/appvm.py, dvmtemplate.py. */

import { notHalted, notStarted, propertyValueError, valueError, vmInUse } from './qubesd-exception.ts';
import { dependents, isTrue, netvmOf } from './qubesd-properties.ts';
import { checkClass } from './qubesd-property-values.ts';
import type { Store, VmState } from './qubesd-state.ts';

export function checkTemplate(store: Store, vm: VmState, value: string): string {
  if (value === '') throw propertyValueError("Invalid value '' for property 'template'");
  const template = store.vm(value);
  if (vm.klass === 'DispVM') {
    if (!isTrue(store, template, 'template_for_dispvms'))
      throw propertyValueError('not a disposable template');
  } else checkClass(template, 'TemplateVM');
  if (vm.power !== 'Halted') throw notHalted(vm.name, 'Cannot change template while qube is running');
  return value;
}

export function checkNetvm(store: Store, vm: VmState, value: string): string {
  if (value === '') return value;
  const netvm = store.vm(value);
  if (!isTrue(store, netvm, 'provides_network'))
    throw valueError(`The ${value} qube does not provide network`);
  for (let next: VmState | undefined = netvm; next !== undefined; next = netvmOf(store, next)) {
    if (next.name === vm.name) throw valueError('Loops in network are unsupported');
  }
  if (vm.power === 'Running' && netvm.power !== 'Running')
    throw notStarted(value, `Cannot dynamically attach to stopped qube ${value}`);
  return value;
}

export function disposableTemplate(property: string) {
  return (store: Store, vm: VmState, value: string): string => {
    if (value !== '' && !isTrue(store, store.vm(value), 'template_for_dispvms')) {
      throw propertyValueError(
        `Cannot set invalid property to qube '${vm.name}', ${property} '${value}' has template_for_dispvms set to False`,
      );
    }
    return value;
  };
}

export function checkNoDisposables(store: Store, vm: VmState): void {
  const uses = dependents(store, vm.name).filter(([, property]) =>
    ['default_dispvm', 'management_dispvm', 'template'].includes(property),
  );
  const message = 'Cannot change template_for_dispvms to False while it is';
  if (uses.some(([owner]) => owner === '@GLOBAL'))
    throw vmInUse(
      `${message} in use by the system by any of these properties: default_dispvm, management_dispvm`,
    );
  if (uses.length > 0)
    throw vmInUse(
      `${message} the default_dispvm, management_dispvm or template of ${uses.map(([owner]) => owner).join(', ')}`,
    );
}
