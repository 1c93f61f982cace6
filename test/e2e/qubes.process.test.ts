/**
 * R24 on the Qubes driver: a VM that runs. The main job, and what happens when dom0 dies in it, are in the suite of both drivers
 * (test/e2e/drivers). Needs root and loop devices.
 */

import { rmSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { hashOf, makeCrashedImage, mountable, withMounted } from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { volumeFile } from '../qubes/volumes-kit.ts';
import { qubesSystem } from './drivers/qubes-system.ts';

describe('R24: on Qubes OS', () => {
  const testMounting = testNeeding(mountable('ext4'));

  testMounting('a VM that runs is backed up with all that it had fsynced, and is not touched', async () => {
    const system = await qubesSystem();
    await system.set.admin.start('data');
    const live = volumeFile(system.set, 'live');
    rmSync(live);
    makeCrashedImage(live, 'ext4', 'echo synced >"$1/file"; sync "$1/file"; sync "$1"');
    const before = hashOf(live);
    await system.run((app) => init(app, () => app.secrets()));
    expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
    expect(hashOf(live)).toBe(before);
    await system.run((app) => restore(app, 'data', 'copy'));
    expect(withMounted(system.imageOf('copy'), 'ro', 'cat "$1/file"')).toBe('synced\n');
    expect([await system.set.admin.state('data'), system.warnings]).toEqual(['Running', []]);
  });
});
