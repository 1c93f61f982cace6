/**
 * In which order VMs are restored, so that what a VM refers to is there before it: templates and standalone VMs, VMs that give
 * network, the rest; and before each, whatever the group, what it refers to itself.
 */

import type { Captured } from '../domains/captured.ts';

export interface Ordered<T> {
  readonly order: readonly T[];
  /** Names of VMs that refer to each other in a circle: the last of each is there only after the others. */
  readonly circles: readonly (readonly string[])[];
}

export function restoreOrder<T extends { readonly name: string; readonly captured: Captured }>(
  vms: readonly T[],
): Ordered<T> {
  const byName = new Map(vms.map((vm) => [vm.name, vm]));
  const order = new Set<T>();
  const circles: string[][] = [];
  const path: string[] = [];
  const visit = (vm: T): void => {
    const { template, netvm, others } = vm.captured;
    if (order.has(vm)) return;
    path.push(vm.name);
    for (const name of new Set([template, netvm, ...others])) {
      const other = name === vm.name ? undefined : byName.get(name ?? '');
      if (other === undefined) continue;
      const at = path.indexOf(other.name);
      if (at === -1) visit(other);
      else circles.push(path.slice(at));
    }
    path.pop();
    order.add(vm);
  };
  const sorted = [...vms].sort((a, b) => rank(a.captured) - rank(b.captured) || (a.name < b.name ? -1 : 1));
  for (const vm of sorted) visit(vm);
  return { order: [...order], circles };
}

function rank({ klass, providesNetwork }: Captured): number {
  if (klass === 'TemplateVM' || (klass === 'StandaloneVM' && !providesNetwork)) return 0;
  return providesNetwork ? 1 : 2;
}
