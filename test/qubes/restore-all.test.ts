/**
 * R32 R35: `restore --all` and `--replace` on the Qubes driver: qubesd is the stand-in, and services run in this process on folders.
 * What is there of a VM is its configuration, which must be what it was.
 */

import { randomInt } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { init } from '../../dom0/commands/init.ts';
import { restoreAll } from '../../dom0/commands/restore-all.ts';
import { restore } from '../../dom0/commands/restore.ts';
import type { Attachment, VolumeMode, VolumeName } from '../../dom0/domains/domains.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { historyOf } from '../../dom0/repository/find-vm.ts';
import type { VmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { callStorageHere } from '../support/here.ts';
import { callDisposableHere } from '../support/in-process-services.ts';
import { runOver } from '../support/in-process.ts';
import { Random } from '../support/random.ts';
import { tempFolder } from '../support/temp.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';
import { Callable } from './calls-kit.ts';
import { Instants } from './instants.ts';
import { QubesException } from './qubesd-exception.ts';
import { machine } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';
import { playedTools } from './tools/tools-kit.ts';

/** Whether there is a terminal, and what is typed there; what was asked. */
const terminal = vi.hoisted(() => ({ there: false, answers: [] as string[], asked: [] as string[] }));

vi.mock(import('../../dom0/prompt.ts'), async (importOriginal) => ({
  ...(await importOriginal()),
  hasTerminal: () => terminal.there,
  ask: (question) => {
    terminal.asked.push(question);
    return Promise.resolve(terminal.answers.shift() ?? '');
  },
}));

beforeEach(() => Object.assign(terminal, { there: false, answers: [], asked: [] }));

/** Calls of qubesd that change something. */
const CHANGES = /^(?:create|set|reset|remove|kill|clone|grow)/;

/** The Qubes driver, but a VM's volume is a folder of its name. */
class FolderDomains extends WrappedDomains {
  readonly #folder: string;
  readonly #store: string;

  constructor(system: Machine, store: string, instants: Instants) {
    const { folder } = system;
    const inner = new QubesDomains({
      admin: instants.around(system.admin, (method) => CHANGES.test(method)),
      ...{ tools: playedTools(folder), calls: new Callable().calls },
      journal: new Journal(join(folder, 'journal'), { after: instants.pass }),
      stateFolder: join(folder, 'state'),
      warn: (text) => expect.unreachable(text),
    });
    super(inner, (call) => call);
    this.#folder = folder;
    this.#store = store;
  }

  volumeOf(vm: string): string {
    const path = join(this.#folder, 'volumes', vm);
    mkdirSync(path, { recursive: true });
    return path;
  }

  override snapshotVolume(vm: VmName, name: VolumeName, mode: VolumeMode) {
    const release = () => Promise.resolve();
    const size = 2 ** 31;
    return Promise.resolve({
      ...{ vm, name, mode, size, release },
      takenAt: 1,
      capacity: size,
      frozen: true,
    });
  }

  override startDisposable(_vm: VmName, attachment: Attachment) {
    if (attachment.kind !== 'snapshot' && attachment.kind !== 'volume')
      throw new Error('nothing is attached');
    const path = this.volumeOf(attachment.kind === 'volume' ? attachment.vm : attachment.snapshot.vm);
    return Promise.resolve({
      name: 'disposable',
      attached: { kind: 'folder', path } as const,
      call: (service: string) => Promise.resolve(callDisposableHere(service)),
      destroy: () => Promise.resolve(),
    });
  }

  override prepareStorage() {
    return Promise.resolve();
  }

  override callStorage(_vm: string, service: string) {
    return Promise.resolve(callStorageHere(service, this.#store));
  }
}

/** A dom0 of its own, with the key of a store that other ones have as well. */
class Dom0 {
  readonly folder = tempFolder();
  readonly keyFile: string;
  readonly domains: FolderDomains;

  constructor(system: Machine, store: string, instants = new Instants(Infinity)) {
    this.keyFile = join(store, '..', 'key');
    this.domains = new FolderDomains(system, store, instants);
  }

  run(command: (app: App) => Promise<void>) {
    return runOver(this.domains, this, command);
  }
}

const SEED = Number(process.env['QIB_SEED'] ?? randomInt(1_000_000));

const BACKED_UP = ['a', 'b', 'debian-12', 'mail', 'mail-dvm', 'old', 'sys-vpn', 'vpn'];

async function configsOf({ admin }: Machine, names: readonly string[]) {
  const facts = await readSystemFacts(admin);
  const configs = await Promise.all(names.map((name) => captureVmConfig(admin, name, facts)));
  return configs.map((config) => ({ ...config, uuid: '' }));
}

/** A store with the backups of a system where VMs refer to each other in every way, some in a circle. */
async function backedUp() {
  const system = await machine();
  const { admin } = system;
  const app = (name: string, template = 'debian-12') =>
    admin.create({ klass: 'AppVM', name, label: 'blue', template });
  await admin.create({ klass: 'TemplateVM', name: 'fedora-40', label: 'black' });
  for (const name of ['a', 'b', 'mail', 'mail-dvm', 'sys-vpn', 'vpn']) await app(name);
  await app('old', 'fedora-40');
  await admin.setProperty('vpn', 'provides_network', 'True');
  for (const name of ['mail', 'mail-dvm']) await admin.setProperty(name, 'netvm', 'vpn');
  for (const dvm of ['a', 'b', 'mail-dvm']) await admin.setProperty(dvm, 'template_for_dispvms', 'True');
  for (const [vm, dvm] of [
    ['a', 'b'],
    ['b', 'a'],
    ['mail', 'mail-dvm'],
    ['mail-dvm', 'mail-dvm'],
  ] as const)
    await admin.setProperty(vm, 'default_dispvm', dvm);
  const store = join(tempFolder(), 'store');
  const dom0 = new Dom0(system, store);
  createKeyFile(dom0.keyFile);
  for (const vm of BACKED_UP) writeFileSync(join(dom0.domains.volumeOf(vm), 'file'), vm);
  await dom0.run((run) => init(run, () => run.secrets()));
  await dom0.run((run) => backup(run, BACKED_UP));
  return { system, store };
}

/** `restore --all` on a clean system that dies once it has given `count` VMs their names; what it leaves. */
async function diedAfter(count: number, store: string): Promise<Machine> {
  const clean = await machine();
  const dom0 = new Dom0(clean, store);
  const instants = new Instants(count);
  const domains = instants.around(dom0.domains, (method) => method === 'promote');
  const run = runOver(domains, dom0, (app) => restoreAll(app, { yes: true })).then(() => false);
  expect(await Promise.race([run, instants.died.then(() => true)])).toBe(true);
  return clean;
}

/** Those of `names` whose snapshots are not continued by the VM of that name. */
async function notContinued(dom0: Dom0, names: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  await dom0.run(async (app) => {
    const repository = await app.open();
    for (const vm of await app.domains.list())
      if (names.includes(vm.name) && (await historyOf(repository, vm)).recordId === undefined)
        found.push(vm.name);
    await app.closeStorage();
  });
  return found;
}

describe('R50: restore --all of which dom0 dies', () => {
  const same = ['a', 'b', 'mail', 'mail-dvm', 'vpn'];

  test.each([1, 2, 6])(
    'with %d VMs that have their names is ended by the next, as if nothing had been',
    async (count) => {
      const { system, store } = await backedUp();
      const clean = await diedAfter(count, store);
      const dom0 = new Dom0(clean, store);
      const { output } = await dom0.run((run) => restoreAll(run, { yes: true }));
      expect(await configsOf(clean, same)).toEqual(await configsOf(system, same));
      const lost = output.events.filter(({ event }) => event === 'not-applied');
      expect(lost.map(({ vm, part }) => [vm, part])).toEqual([['old', 'template']]);
      expect(await notContinued(dom0, [...same, 'old'])).toEqual([]);
      expect(readdirSync(join(clean.folder, 'state', 'promoted'))).toEqual([]);
    },
  );

  test('is ended by any other run as far as it can be, which says what is missing', async () => {
    const { store } = await backedUp();
    const clean = await diedAfter(2, store); // b, which refers to a.
    const { admin } = clean;
    const dom0 = new Dom0(clean, store);
    const { app, output } = await dom0.run((run) => backup(run, ['b']));
    expect(output.events.filter(({ event }) => event === 'backup')).toMatchObject([{ vm: 'b', snapshot: 2 }]);
    expect(output.lines.join('\n')).toMatch(/b waits for VM a, .*property default_dispvm: was a, has none/);
    expect(app.warnings).toBe(0);
    const valueOf = async (property: string) => (await admin.property('b', property)).value;
    expect(await valueOf('default_dispvm')).toBe('');
    await dom0.run((run) => restore(run, 'a'));
    expect(await valueOf('default_dispvm')).toBe('');
    await dom0.run((run) => restore(run, 'mail-dvm'));
    expect(await valueOf('default_dispvm')).toBe('a');
    expect(readdirSync(join(clean.folder, 'state', 'promoted'))).toEqual([]);
  });

  test('sets nothing that somebody has set otherwise meanwhile', async () => {
    const { store } = await backedUp();
    const clean = await diedAfter(2, store);
    const { admin } = clean;
    await admin.setProperty('b', 'default_dispvm', 'default-dvm');
    const { output } = await new Dom0(clean, store).run((run) => restoreAll(run, { yes: true }));
    expect((await admin.property('b', 'default_dispvm')).value).toBe('default-dvm');
    expect(output.lines.join('\n')).not.toContain('waits');
  });

  test('at any instant is ended by the next', async () => {
    const { system, store } = await backedUp();
    const before = await configsOf(system, same);
    const count = new Instants(Infinity);
    await new Dom0(await machine(), store, count).run((run) => restoreAll(run, { yes: true }));
    const random = new Random(SEED);
    for (let tried = 0; tried < 2; tried++) {
      const last = 1 + random.below(count.passed);
      const when = `QIB_SEED=${SEED}: died at instant ${last} of ${count.passed}`;
      const clean = await machine();
      const instants = new Instants(last);
      const run = new Dom0(clean, store, instants).run((app) => restoreAll(app, { yes: true }));
      await Promise.race([run, instants.died]);
      const dom0 = new Dom0(clean, store);
      await dom0.run((app) => restoreAll(app, { yes: true }));
      expect(await configsOf(clean, same), when).toEqual(before);
      expect(await notContinued(dom0, [...same, 'old']), when).toEqual([]);
    }
  });
});

describe('restore --all on a clean system', () => {
  test('brings every VM back as it was, whatever refers to what, and says what it could not', async () => {
    const { system, store } = await backedUp();
    const clean = await machine();
    const dom0 = new Dom0(clean, store);
    const { app, output } = await dom0.run((run) => restoreAll(run, { yes: true }));
    const order = output.events.filter(({ event }) => event === 'restoring').map(({ vm }) => vm);
    expect(order).toEqual(['vpn', 'b', 'a', 'mail-dvm', 'mail', 'old']);
    const same = ['a', 'b', 'mail', 'mail-dvm', 'vpn'];
    expect(await configsOf(clean, same)).toEqual(await configsOf(system, same));
    expect(output.lines.filter((line) => line.startsWith('Skipped'))).toEqual([
      'Skipped: debian-12: a VM of this name is there',
      'Skipped: sys-vpn: a VM of the system: give --include-sys to restore it',
    ]);
    // No template of its family: the default one, and that is all there is to be looked at.
    expect((await clean.admin.property('old', 'template')).value).toBe('debian-12');
    expect(output.lines.join('\n')).toContain('no template fedora-40: takes debian-12');
    expect(output.events.filter(({ event }) => event === 'not-applied')).toEqual([
      expect.objectContaining({ vm: 'old', part: 'template', wanted: 'fedora-40', used: 'debian-12' }),
    ]);
    expect(app.warnings).toBe(1);
    const again = await dom0.run((run) => restoreAll(run, { includeSys: true, yes: true }));
    expect(again.output.events.find(({ event }) => event === 'restored-all')).toMatchObject({
      ...{ restored: ['sys-vpn'], failed: [] },
    });
  });

  test('goes on after one that fails; what referred to that is named', async () => {
    const { store } = await backedUp();
    const clean = await machine({
      before: (call, _dest, payload) => {
        if (call.startsWith('admin.vm.Create') && payload.startsWith('name=restore-vpn-'))
          throw new QubesException('StoragePoolException', 'full');
      },
    });
    const dom0 = new Dom0(clean, store);
    let warnings: readonly unknown[] = [];
    const failing = dom0.run(async (run) => {
      try {
        await restoreAll(run, { yes: true });
      } finally {
        warnings = [run.warnings];
      }
    });
    expect((await rejection(failing)).message).toBe('1 of 6 VMs not restored');
    const names = (await clean.admin.list()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['a', 'b', 'mail', 'mail-dvm', 'old']));
    expect(names).not.toContain('vpn');
    expect((await clean.admin.property('mail', 'netvm')).value).toBe('');
    expect(warnings).toEqual([3]); // The network of mail and mail-dvm, the template of old.
  });

  test('does nothing without a yes', async () => {
    const { store } = await backedUp();
    const clean = await machine();
    const before = (await clean.admin.list()).length;
    const dom0 = new Dom0(clean, store);
    expect((await rejection(dom0.run((run) => restoreAll(run)))).message).toContain('give --yes');
    terminal.there = true;
    terminal.answers = ['y'];
    expect((await rejection(dom0.run((run) => restoreAll(run)))).code).toBe('usage');
    expect(terminal.asked).toEqual(['Restore 6 VMs? [yes/no] ']);
    expect(await clean.admin.list()).toHaveLength(before);
  });
});

describe('restore of one VM', () => {
  test('in the place of another keeps what refers to it', async () => {
    const { system, store } = await backedUp();
    const { admin } = system;
    const before = await configsOf(system, BACKED_UP);
    const dom0 = new Dom0(system, store);
    await admin.setProperty('vpn', 'memory', '777');
    const { output } = await dom0.run((run) => restore(run, 'vpn', undefined, { replace: true, yes: true }));
    const told = output.events.find(({ event }) => event === 'replacing');
    expect(told?.['references']).toEqual(['mail: netvm', 'mail-dvm: netvm']);
    expect(await configsOf(system, BACKED_UP)).toEqual(before);
    expect((await admin.property(String(told?.['keptAs']), 'memory')).value).toBe('777');
    await admin.start('vpn');
    const running = dom0.run((run) => restore(run, 'vpn', undefined, { replace: true, yes: true }));
    expect((await rejection(running)).message).toContain('qvm-shutdown --wait vpn');
  });

  test('asks what takes the place of what is not there; an option answers before', async () => {
    const { store } = await backedUp();
    const clean = await machine();
    const { admin } = clean;
    await admin.create({ klass: 'TemplateVM', name: 'debian-13', label: 'black' });
    const dom0 = new Dom0(clean, store);
    const valueOf = async (vm: string, property: string) => (await admin.property(vm, property)).value;
    terminal.there = true;
    terminal.answers = ['debian-13', 'sys-net', ''];
    await dom0.run((run) => restore(run, 'old'));
    await dom0.run((run) => restore(run, 'mail'));
    await dom0.run((run) => restore(run, 'mail-dvm'));
    expect(terminal.asked.map((question) => question.replace(/.* \[/, '['))).toEqual([
      ...['[debian-12] ', '[none] ', '[none] '],
    ]);
    expect([await valueOf('old', 'template'), await valueOf('mail', 'netvm')]).toEqual([
      'debian-13',
      'sys-net',
    ]);
    expect(await valueOf('mail-dvm', 'netvm')).toBe('');
    await dom0.run((run) => restore(run, 'old', 'old-2', { template: 'debian-12', netvm: 'none' }));
    expect([await valueOf('old-2', 'template'), await valueOf('old-2', 'netvm')]).toEqual(['debian-12', '']);
    expect(terminal.asked).toHaveLength(3);
    const { app } = await dom0.run((run) => restore(run, 'mail', 'mail-2', { yes: true }));
    expect([terminal.asked.length, app.warnings, await valueOf('mail-2', 'netvm')]).toEqual([3, 1, '']);
  });
});
