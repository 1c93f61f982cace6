/** Where the program is on this machine: a checkout, or the folder that its package installed. */

import { dirname, join } from 'node:path';

/**
 * The program's own folder, with `dom0/` and `services/`. This file is in its `dom0/`; so is the one file that all of
 * dom0's code is in once it is packaged.
 */
export const PROGRAM = dirname(import.meta.dirname);

/** A shell script of the local driver. */
export function script(name: string): string {
  return join(PROGRAM, 'dom0', 'domains', 'local', name);
}
