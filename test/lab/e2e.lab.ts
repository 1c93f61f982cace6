/**
 * The suite of drivers (test/e2e/drivers) on real guests, in part: blocks, restored under another name and verified by a second disposable.
 * short.lab.ts has files. What else the suite shows is dom0's, whatever kernel a guest has.
 */

import { describe } from 'vitest';
import { driverSuite } from '../e2e/drivers/suite.ts';
import { mountable } from '../support/images.ts';
import { labSystem } from './lab-system.ts';
import { labTest } from './needs.ts';

const CHOSEN = /^R22/;

describe('the driver lab', () => {
  const define = labTest(mountable('ext4'));
  driverSuite('lab', labSystem, (title, ...rest) => {
    if (CHOSEN.test(title)) define(title, ...rest);
  });
});
