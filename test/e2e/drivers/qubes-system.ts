/**
 * The machine of the suite on the Qubes driver: the stand-ins for qubesd, qvm-block and qrexec-client, real services, and volumes that
 * are real ext4 devices in mount namespaces of their own.
 */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createKeyFile } from '../../../dom0/keys/secret.ts';
import { servedSystem } from '../../qubes/served-system.ts';
import { toolState } from '../../qubes/tools/tools-kit.ts';
import { volumeFile } from '../../qubes/volumes-kit.ts';
import type { Setting } from '../../qubes/volumes-kit.ts';
import { shell } from '../../support/images.ts';
import { runOver } from '../../support/in-process.ts';
import { tempFolder } from '../../support/temp.ts';
import { loopsOver } from './local-system.ts';
import { openDomains } from './open.ts';
import type { System } from './system.ts';

export interface QubesSystem extends System {
  readonly set: Setting;
  /** What the driver warned of. */
  readonly warnings: readonly string[];
}

/** With `data` in a pool of images. */
export async function qubesSystem(): Promise<QubesSystem> {
  const { set, callable } = await servedSystem();
  const folder = tempFolder();
  const machine = {
    ...({ driver: 'qubes', folder, keyFile: join(folder, 'key'), root: set.folder } as const),
    ...{ socket: set.qubesd.socketPath, programs: callable.programs },
  };
  const image = volumeFile(set, 'committed');
  const imageOf = (vm: string) => image.replace('/data/', `/${vm}/`);
  const fill = (vm: string) => shell('truncate -s 256M "$1"; mkfs.ext4 -qF "$1"', imageOf(vm));
  const warnings: string[] = [];
  fill('data');
  createKeyFile(machine.keyFile);
  return {
    ...{ machine, set, warnings },
    imageOf,
    add: async (vm) => {
      await set.admin.create({ klass: 'AppVM', name: vm, label: 'red', pools: { private: set.pool } });
      fill(vm);
    },
    run: async (command) => {
      const domains = openDomains(machine, undefined, (text) => void warnings.push(text));
      return (await runOver(domains, machine, command)).app;
    },
    incoming: (path) =>
      readFileSync(join(callable.folder, 'data/home/user/QubesIncoming/dom0', path), 'utf8'),
    vms: async () => (await set.admin.list()).map(({ name }) => name).sort(),
    remove: async (vm) => {
      await set.admin.kill(vm); // An extraction started it.
      await set.admin.remove(vm);
    },
    leftovers: () => {
      const { loops, mounts, attachments, logical, datasets } = toolState(set.folder, (state) => state);
      const vms = set.qubesd.store.vms().map(({ name }) => name);
      return [
        ...readdirSync(join(folder, 'journal')),
        ...[loops, mounts, logical, datasets].flatMap((table) => Object.keys(table)),
        ...attachments.map(({ vm, port }) => `${port} in ${vm}`),
        ...vms.filter((name) => /^(?:qib-disp|restore)-/.test(name)),
        ...loopsOver(set.folder),
        ...shell('find "$1" -mindepth 1 -name "qib-*" -not -path "*/appvms/*"', set.folder)
          .split('\n')
          .filter(Boolean),
      ];
    },
  };
}
