/**
 * The suite of drivers (test/e2e/drivers) on real guests: backups, restores with their verification, extractions, blocks, and dom0
 * killed at steps of a backup and of a restore. What else the suite shows is dom0's alone, whatever kernel a guest has.
 */

import { describe } from 'vitest';
import { driverSuite } from '../e2e/drivers/suite.ts';
import { mountable } from '../support/images.ts';
import { labSystem } from './lab-system.ts';
import { labTest } from './needs.ts';

const CHOSEN = /^R(?:21|22|50: survives the death of dom0 at steps of a backup)/;

describe('the driver lab', () => {
  const define = labTest(mountable('ext4'));
  driverSuite('lab', labSystem, (title, ...rest) => {
    if (CHOSEN.test(title)) define(title, ...rest);
  });
});
