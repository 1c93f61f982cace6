/** The suite of drivers on those that need no virtual machine; test/lab has it on one that does. Needs root and loop devices. */

import { describe } from 'vitest';
import { mountable } from '../../support/images.ts';
import { testNeeding } from '../../support/needs.ts';
import { localSystem } from './local-system.ts';
import { qubesSystem } from './qubes-system.ts';
import { driverSuite } from './suite.ts';

const DRIVERS = [
  ['local', localSystem],
  ['qubes', qubesSystem],
] as const;

describe.each(DRIVERS)('the driver %s', (name, create) => {
  driverSuite(name, create, testNeeding(mountable('ext4')));
});
