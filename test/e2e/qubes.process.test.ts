/**
 * R21 R30 R31 R50: the main job on the Qubes driver: dom0's commands, the stand-ins for qubesd, qvm-block and qrexec-client, real
 * services, and volumes that are real ext4 devices in mount namespaces of their own. Needs root and loop devices.
 */

import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { check } from '../../dom0/commands/check.ts';
import { init } from '../../dom0/commands/init.ts';
import { restore } from '../../dom0/commands/restore.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { NODE_OPTIONS } from '../../shared/node-options.ts';
import { hashOf, makeCrashedImage, mountable, shell, withMounted } from '../support/images.ts';
import { runOver } from '../support/in-process.ts';
import { testNeeding } from '../support/needs.ts';
import { PROJECT } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';
import { Callable } from '../qubes/calls-kit.ts';
import { playedTools } from '../qubes/tools/tools-kit.ts';
import { setting, volumeFile } from '../qubes/volumes-kit.ts';
import type { Setting } from '../qubes/volumes-kit.ts';

const FIRST =
  '(cd "$1"; mkdir -p home/user/docs; for i in 1 2 3; do echo "file $i" >home/user/docs/$i; done; ln -s docs home/user/link; ' +
  'head -c 3000000 /dev/urandom >home/user/large; chown -R 1000:1000 home/user; chmod 4755 home/user/docs/1)';
const SECOND = '(cd "$1"; rm home/user/docs/2; echo changed >>home/user/docs/3; echo new >home/user/new)';
/** Every entry with what a restore must bring back. */
const SURVEY =
  '(cd "$1"; find . -path ./lost+found -prune -o -printf "%p %y %m %U:%G %n %T@ %l\\n" | sort; find . -type f -exec sha256sum {} + | sort)';

function launcher(part: 'dvm' | 'storagevm', name: string): string {
  const words = [process.execPath, ...NODE_OPTIONS[part], join(PROJECT, 'services', part, `${name}.ts`)];
  return `exec ${words.map((word) => `'${word}'`).join(' ')}`;
}

function launchers(part: 'dvm' | 'storagevm'): Record<string, string> {
  const names = readdirSync(join(PROJECT, 'services', part)).map((file) => file.replace(/\.ts$/, ''));
  return Object.fromEntries(names.map((name) => [name, launcher(part, name)]));
}

/** A Qubes OS with the VM `data` in a pool of images, a storage VM, and dom0's state. */
class System {
  readonly set: Setting;
  readonly folder = tempFolder();
  readonly keyFile = join(this.folder, 'key');
  readonly #callable: Callable;
  readonly warnings: string[] = [];

  private constructor(set: Setting) {
    this.set = set;
    this.#callable = new Callable(set.folder);
    this.#callable.vm('main', launchers('storagevm'));
    this.#callable.vm('disposable', launchers('dvm'));
    this.#callable.vm('data', {});
    this.#callable.evaluator('exit 2');
    this.#callable.policy(readFileSync(join(PROJECT, 'policies/30-qubes-backup.policy'), 'utf8'));
  }

  static async create(): Promise<System> {
    const set = await setting('reflink');
    await set.admin.create({ klass: 'AppVM', name: 'main', label: 'gray' });
    await set.admin.setTag('main', 'qubes-backup-storage');
    const system = new System(set);
    shell('truncate -s 256M "$1"; mkfs.ext4 -qF "$1"', system.image);
    createKeyFile(system.keyFile);
    return system;
  }

  get image(): string {
    return volumeFile(this.set, 'committed');
  }

  imageOf(vm: string): string {
    return this.image.replace('/data/', `/${vm}/`);
  }

  /** Runs a command as a new process of dom0 would. */
  async run(command: (app: App) => Promise<void>): Promise<App> {
    const { admin, folder } = this.set;
    const domains = new QubesDomains({
      admin,
      tools: playedTools(folder),
      calls: this.#callable.calls,
      journal: new Journal(join(this.folder, 'journal')),
      stateFolder: join(this.folder, 'state', 'qubes'),
      warn: (text) => void this.warnings.push(text),
      volumes: { root: folder, patience: 5_000 },
    });
    return (await runOver(domains, this, command)).app;
  }
}

describe('R21 R30: on Qubes OS', () => {
  const testMounting = testNeeding(mountable('ext4'));

  testMounting(
    'a VM is backed up, changed, backed up again, and both snapshots come back exactly',
    async () => {
      const system = await System.create();
      withMounted(system.image, 'rw', FIRST);
      const first = withMounted(system.image, 'ro', SURVEY);
      await system.run((app) => init(app, () => app.secrets()));
      expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
      withMounted(system.image, 'rw', SECOND);
      const second = withMounted(system.image, 'ro', SURVEY);
      expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
      await system.run((app) => restore(app, 'data@1', 'old'));
      await system.run((app) => restore(app, 'data', 'copy'));
      expect(withMounted(system.imageOf('old'), 'ro', SURVEY)).toBe(first);
      expect(withMounted(system.imageOf('copy'), 'ro', SURVEY)).toBe(second);
      expect(withMounted(system.image, 'ro', SURVEY)).toBe(second);
      await system.run((app) => check(app, 100));
      const vms = (await system.set.admin.list()).map(({ name }) => name);
      expect(vms.filter((name) => /^(?:qib-disp|restore)-/.test(name))).toEqual([]);
      expect(shell('losetup --list --noheadings --output BACK-FILE')).not.toContain(system.set.folder);
      expect(system.warnings).toEqual([]);
    },
  );

  testMounting(
    'R24: a VM that runs is backed up with all that it had fsynced, and is not touched',
    async () => {
      const system = await System.create();
      await system.set.admin.start('data');
      const live = volumeFile(system.set, 'live');
      rmSync(live);
      makeCrashedImage(live, 'ext4', 'echo synced >"$1/file"; sync "$1/file"; sync "$1"');
      const before = hashOf(live);
      await system.run((app) => init(app, () => app.secrets()));
      expect((await system.run((app) => backup(app, ['data']))).warnings).toBe(0);
      expect(hashOf(live)).toBe(before);
      await system.run((app) => restore(app, 'data', 'copy'));
      expect(withMounted(system.imageOf('copy'), 'ro', 'cat "$1/file"')).toBe('synced\n');
      expect([await system.set.admin.state('data'), system.warnings]).toEqual(['Running', []]);
    },
  );
});
