/**
 * R32 R35: on both drivers, on volumes that are real ext4 images: a VM restored in the place of the one that is there, and all that is
 * not there by one command. Needs root and loop devices.
 */

import { describe, expect } from 'vitest';
import { backup } from '../../../dom0/commands/backup.ts';
import { init } from '../../../dom0/commands/init.ts';
import { restoreAll } from '../../../dom0/commands/restore-all.ts';
import { restore } from '../../../dom0/commands/restore.ts';
import { mountable, withMounted } from '../../support/images.ts';
import { testNeeding } from '../../support/needs.ts';
import { localSystem } from './local-system.ts';
import { qubesSystem } from './qubes-system.ts';

const DRIVERS = [
  ['local', localSystem],
  ['qubes', qubesSystem],
] as const;

describe.each(DRIVERS)('the driver %s', (_name, create) => {
  const testMounting = testNeeding(mountable('ext4'));

  testMounting('restores in the place of a VM, which is kept, and then all that is not there', async () => {
    const system = await create();
    const contentOf = (vm: string) => withMounted(system.imageOf(vm), 'ro', 'cat "$1/file"');
    const others = (await system.vms()).filter((vm) => vm !== 'data');
    withMounted(system.imageOf('data'), 'rw', 'echo first >"$1/file"');
    await system.run((app) => init(app, () => app.secrets()));
    await system.run((app) => backup(app, ['data']));
    withMounted(system.imageOf('data'), 'rw', 'echo second >"$1/file"');
    const replaced = await system.run((app) => restore(app, 'data', undefined, { replace: true, yes: true }));
    expect(replaced.warnings).toBe(0);
    const [kept = ''] = (await system.vms()).filter((vm) => vm.startsWith('data-'));
    expect([contentOf('data'), contentOf(kept)]).toEqual(['first\n', 'second\n']);
    for (const vm of ['data', kept]) await system.remove(vm);
    expect((await system.run((app) => restoreAll(app, { yes: true }))).warnings).toBe(0);
    expect(contentOf('data')).toBe('first\n');
    const vms = (await system.vms()).filter((vm) => !vm.startsWith('qib-dvm-'));
    expect(vms).toEqual([...others, 'data'].sort());
    expect(system.leftovers()).toEqual([]);
  });
});
