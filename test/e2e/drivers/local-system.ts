/** The machine of the suite on the local driver. */

import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createKeyFile } from '../../../dom0/keys/secret.ts';
import { shell, withMounted } from '../../support/images.ts';
import { runOver } from '../../support/in-process.ts';
import { removeTree, tempFolder } from '../../support/temp.ts';
import { openDomains } from './open.ts';
import type { Machine, System } from './system.ts';

export function localSystem(): Promise<System> {
  const folder = tempFolder();
  return Promise.resolve(homeSystem({ driver: 'local', folder, keyFile: join(folder, 'key') }));
}

/** A machine whose VMs are folders with images. */
export function homeSystem(machine: Machine & { readonly driver: 'local' | 'lab' }): System {
  const { folder } = machine;
  const imageOf = (vm: string) => join(folder, 'vms', vm, 'private.img');
  const add = (vm: string) => {
    mkdirSync(join(folder, 'vms', vm), { recursive: true });
    shell('truncate -s 256M "$1"; mkfs.ext4 -qF "$1"', imageOf(vm));
  };
  add('data');
  createKeyFile(machine.keyFile);
  return {
    machine,
    imageOf,
    add: (vm) => {
      add(vm);
      return Promise.resolve();
    },
    run: async (command) => (await runOver(openDomains(machine), machine, command)).app,
    incoming: (path) => withMounted(imageOf('data'), 'ro', 'cat "$1/home/user/QubesIncoming/dom0/$2"', path),
    vms: () => Promise.resolve(readdirSync(join(folder, 'vms')).sort()),
    remove: (vm) => {
      removeTree(join(folder, 'vms', vm));
      return Promise.resolve();
    },
    leftovers: () => [
      ...['volatile', 'journal'].flatMap((name) => {
        const own = join(folder, 'state/local', name);
        return existsSync(own) ? readdirSync(own) : [];
      }),
      ...loopsOver(folder),
      ...readFileSync('/proc/self/mounts', 'latin1')
        .split('\n')
        .filter((line) => line.includes(folder)),
    ],
  };
}

/** Real loop devices over files of a folder. */
export function loopsOver(folder: string): readonly string[] {
  const list = shell('losetup --list --noheadings --output NAME,BACK-FILE');
  return list.split('\n').filter((line) => line.includes(folder));
}
