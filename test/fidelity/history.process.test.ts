/**
 * R20, R21, R57: whatever a volume may become in 50 generations of random edits, each backup holds it exactly and
 * stores no more than it has to. More seeds: `npm run fidelity -- --long`.
 */

import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { FILE_SYSTEMS } from '../../dom0/domains/local/file-system.ts';
import { AGAIN } from '../support/again.ts';
import { mountable } from '../support/images.ts';
import { testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { abilitiesIn } from './abilities.ts';
import { playHistory } from './history.ts';
import { mountedFileSystem } from './mounted.ts';

describe('a VM of random edits comes back exactly, from any of its snapshots', () => {
  const [seeds, generations] = AGAIN ? [[1], 12] : [[1, 2, 3], 50];
  test.each(seeds)('seed %i', async (seed) => {
    const folder = tempFolder();
    const abilities = abilitiesIn(folder);
    await playHistory({ seed, generations, edits: 20, restores: 5, folder, abilities });
  });

  for (const kind of FILE_SYSTEMS) {
    testNeeding(mountable(kind))(`on ${kind}`, async () => {
      const [mounted, folder] = [mountedFileSystem(kind), tempFolder()];
      mkdirSync(join(mounted, 'vms'));
      symlinkSync(join(mounted, 'vms'), join(folder, 'vms'));
      const abilities = abilitiesIn(mounted);
      await playHistory({ seed: 4, generations: 20, edits: 20, restores: 4, folder, abilities });
    });
  }
});
