/** A Qubes OS whose VMs have the real services: `data` in a pool of images, the storage VM `main`, and disposables. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import type { ServiceRole } from '../../shared/node-options.ts';
import { PROJECT, compiledCommand } from '../support/processes.ts';
import { Callable } from './calls-kit.ts';
import { setting } from './volumes-kit.ts';
import type { Setting } from './volumes-kit.ts';

/** Under the policy as it is shipped. */
export async function servedSystem(): Promise<{ readonly set: Setting; readonly callable: Callable }> {
  const set = await setting('reflink');
  await set.admin.create({ klass: 'AppVM', name: 'main', label: 'gray' });
  await set.admin.setTag('main', 'qubes-backup-storage');
  const callable = new Callable(set.folder);
  callable.vm('main', launchers('storagevm'));
  callable.vm('disposable', launchers('dvm'));
  callable.vm('data', launchers('vm'));
  callable.evaluator('exit 2');
  callable.policy(readFileSync(join(PROJECT, 'policies/30-qubes-backup.policy'), 'utf8'));
  return { set, callable };
}

function launchers(role: ServiceRole): Record<string, string> {
  const folder = join(PROJECT, 'services', role);
  const services = readdirSync(folder).filter((file) => file.endsWith('.ts'));
  const launch = (file: string) =>
    `exec ${compiledCommand([process.execPath, ...NODE_OPTIONS[role], join(folder, file)])}`;
  return Object.fromEntries(services.map((file) => [file.replace(/\.ts$/, ''), launch(file)]));
}
