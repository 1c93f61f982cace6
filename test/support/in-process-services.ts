/** The services of a disposable, served in the test's own process: the real handlers over in-memory pipes. */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import { browseSnapshot } from '../../dvm/browse.ts';
import { drillVolume } from '../../dvm/drill.ts';
import { exportSnapshot } from '../../dvm/export.ts';
import { proveVolume } from '../../dvm/prove.ts';
import { restoreVolume } from '../../dvm/restore.ts';
import { scanVolume } from '../../dvm/scan.ts';
import { verifyVolume } from '../../dvm/verify.ts';
import { browse } from '../../shared/protocol/browse.ts';
import { drill, exportPaths, prove, restore, scan, verify } from '../../shared/protocol/disposable.ts';
import { service } from '../attack/peer/storage-services.ts';
import type { Service } from '../attack/peer/storage-services.ts';
import { callHere } from './here.ts';

const DISPOSABLE = new Map<string, Service>([
  service(scan, scanVolume),
  service(restore, restoreVolume),
  service(verify, verifyVolume),
  service(prove, proveVolume),
  service(drill, drillVolume),
  service(browse, browseSnapshot),
  service(exportPaths, exportSnapshot),
]);

/**
 * Calls a service of a disposable, or `instead` of it. While one runs, the working folder and the umask of this process are
 * nobody's; after the last of those that run at the same time they are what they were before the first.
 */
export function callDisposableHere(name: string, instead?: Service): ServiceCall {
  const found = instead ?? DISPOSABLE.get(name);
  return callHere(name, found && ((io) => inOwnSurroundings(() => found(io))));
}

let running = 0;
let before = { folder: '', mask: 0 };

async function inOwnSurroundings<T>(work: () => Promise<T>): Promise<T> {
  if (running === 0) before = { folder: process.cwd(), mask: process.umask(0o022) };
  running += 1;
  try {
    return await work();
  } finally {
    running -= 1;
    if (running === 0) {
      process.chdir(before.folder);
      process.umask(before.mask);
    }
  }
}
