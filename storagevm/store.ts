/** The store of this storage VM. */

import { join } from 'node:path';
import type { BackEnd } from './back-end.ts';
import { DirectoryBackEnd } from './directory.ts';

/** The folder `qubes-backup` in the home of the service's user. */
export function openStore(): BackEnd {
  const home = process.env['HOME'];
  return new DirectoryBackEnd(join(home === undefined || home === '' ? process.cwd() : home, 'qubes-backup'));
}
