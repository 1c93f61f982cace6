/** R35: each VM is restored after what it refers to, whatever refers to what. */

import { assert, constantFrom, option, property, record, uniqueArray, boolean, subarray } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { restoreOrder } from '../../dom0/commands/restore-order.ts';
import { readCaptured } from '../../dom0/domains/captured.ts';
import type { Captured } from '../../dom0/domains/captured.ts';

function vm(name: string, klass: string, given: Partial<Captured> = {}) {
  const captured = { klass, template: null, netvm: null, providesNetwork: false, others: [], ...given };
  return { name, captured };
}

function orderOf(...vms: readonly ReturnType<typeof vm>[]): string[] {
  return restoreOrder(vms).order.map(({ name }) => name);
}

describe('the order', () => {
  test('is templates and standalone VMs, VMs that give network, the others', () => {
    const net = { template: 'debian-12', providesNetwork: true } as const;
    expect(
      orderOf(
        vm('a-disp', 'DispVM', { template: 'dvm', netvm: 'sys-firewall' }),
        vm('app', 'AppVM', { template: 'debian-12', netvm: 'sys-firewall', others: ['dvm', 'app'] }),
        vm('debian-12', 'TemplateVM'),
        vm('dvm', 'AppVM', { template: 'debian-12', others: ['dvm'] }),
        vm('own', 'StandaloneVM'),
        vm('sys-firewall', 'AppVM', { ...net, netvm: 'sys-net' }),
        vm('sys-net', 'AppVM', net),
      ),
    ).toEqual(['debian-12', 'own', 'sys-net', 'sys-firewall', 'dvm', 'a-disp', 'app']);
  });

  test('puts before a standalone VM the one that gives it network', () => {
    const net = vm('net', 'AppVM', { template: 'gone', providesNetwork: true });
    expect(orderOf(vm('alone', 'StandaloneVM', { netvm: 'net' }), net)).toEqual(['net', 'alone']);
  });

  test('names a circle once, and has all of its VMs', () => {
    const { order, circles } = restoreOrder([
      vm('a', 'AppVM', { netvm: 'b' }),
      vm('b', 'AppVM', { others: ['c'] }),
      vm('c', 'AppVM', { netvm: 'a' }),
    ]);
    expect([order.map(({ name }) => name), circles]).toEqual([['c', 'b', 'a'], [['a', 'b', 'c']]]);
  });

  test('has every VM once; without a circle, each after all that it refers to', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'] as const;
    const anyName = constantFrom(...names, 'missing');
    const vms = uniqueArray(
      record({
        name: constantFrom(...names),
        captured: record({
          klass: constantFrom('AppVM', 'TemplateVM', 'StandaloneVM'),
          template: option(anyName),
          netvm: option(anyName),
          providesNetwork: boolean(),
          others: subarray([...names]),
        }),
      }),
      { selector: ({ name }) => name },
    );
    assert(
      property(vms, (given) => {
        const { order, circles } = restoreOrder(given);
        expect(order.map(({ name }) => name).sort()).toEqual(given.map(({ name }) => name).sort());
        if (circles.length > 0) return;
        const at = new Map(order.map(({ name }, index) => [name as string, index]));
        for (const { name, captured } of order)
          for (const other of [captured.template, captured.netvm, ...captured.others])
            if (other !== name) expect(at.get(other ?? '') ?? -1).toBeLessThan(at.get(name) ?? -1);
      }),
    );
  });
});

describe('what was captured', () => {
  const read = (config: unknown) => readCaptured('work', Buffer.from(JSON.stringify(config)));

  test('is read of either driver', () => {
    const common = { klass: 'AppVM', template: 'debian-12', netvm: 'net' };
    const dispvm = { type: 'vm', value: 'dvm' };
    const qubes = { provides_network: { type: 'bool', value: 'True' }, default_dispvm: dispvm };
    const expected = { ...common, providesNetwork: true };
    const none = { type: 'vm', value: '' };
    expect(read({ ...common, properties: { ...qubes, guivm: none }, more: 1 })).toEqual({
      ...expected,
      others: ['dvm'],
    });
    expect(read({ ...common, properties: { provides_network: true, x: 'y' } })).toEqual({
      ...expected,
      others: [],
    });
  });

  test('is refused if it is none', () => {
    for (const wrong of [{}, [], { klass: 'AppVM', template: 1, netvm: null, properties: {} }])
      expect(() => read(wrong)).toThrow('its configuration is not valid');
  });
});
