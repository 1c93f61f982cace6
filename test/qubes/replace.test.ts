/**
 * R30 R32: a restored VM in the place of another: that one kept under a dated name, everything that referred to it with the restored
 * one, or nothing changed at all, whatever is refused, and whenever the process dies.
 */

import { closeSync, openSync, readSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { TEMPORARY_TAG } from '../../dom0/domains/domains.ts';
import type { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import type { JournalOptions } from '../../dom0/domains/qubes/journal.ts';
import { Promotions } from '../../dom0/domains/promotions.ts';
import { Renaming } from '../../dom0/domains/qubes/rename.ts';
import { replaceable } from '../../dom0/domains/qubes/replaceable.ts';
import { TemporaryVms } from '../../dom0/domains/qubes/temporary.ts';
import { captureVmConfig, readSystemFacts } from '../../dom0/domains/qubes/vm-config/capture.ts';
import { encodeVmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import type { VmConfig } from '../../dom0/domains/qubes/vm-config/vm-config.ts';
import { keptName } from '../../dom0/domains/restore-names.ts';
import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { READS } from './fake-qubesd.ts';
import type { Options } from './fake-qubesd.ts';
import { Instants } from './instants.ts';
import { QubesException } from './qubesd-exception.ts';
import { NO_MENUS } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';
import { referredMachine, snapshotOf } from './referred-kit.ts';

const NOW = new Date(2026, 10, 21, 12).getTime();
const KEPT = 'default-dvm-20261121';
const dvm = parseVmName('default-dvm');
const GiB = 2 ** 30;

interface Backed extends Machine {
  /** What was backed up, of before the VM changed. */
  readonly captured: VmConfig;
  readonly before: Awaited<ReturnType<typeof snapshotOf>>;
}

/** `default-dvm` was backed up and changed since; its volume says `old`. */
async function backedUp(options: Options = {}): Promise<Backed> {
  const system = await referredMachine(options);
  const { admin } = system;
  await admin.setProperty('default-dvm', 'autostart', 'True');
  const captured = await captureVmConfig(admin, dvm, await readSystemFacts(admin));
  await admin.setFeature('default-dvm', 'preload-dispvm-max', '1');
  await admin.setProperty('default-dvm', 'memory', '900');
  await admin.setTag('default-dvm', 'later');
  write(system, 'default-dvm', 'old');
  return { ...system, captured, before: await snapshotOf(system) };
}

function fileOf({ folder }: Machine, vm: string): string {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((path) =>
    new RegExp(`(?:/vm-${vm}-private|/${vm}/private\\.img)$`).test(path),
  );
  return join(folder, found ?? 'none');
}

function write(system: Machine, vm: string, text: string): void {
  writeFileSync(fileOf(system, vm), text, { flag: 'r+' });
}

function textOf(system: Machine, vm: string): string {
  const file = openSync(fileOf(system, vm), 'r');
  const bytes = Buffer.alloc(3);
  readSync(file, bytes);
  closeSync(file);
  return bytes.toString('latin1');
}

/** The parts as a process has them that starts now. */
function start({ folder }: Machine, admin: Admin, options: JournalOptions = {}) {
  const journal = new Journal(join(folder, 'journal'), options);
  return {
    journal,
    vms: new TemporaryVms(
      admin,
      journal,
      new Renaming(admin, journal, NO_MENUS),
      new Promotions(join(folder, 'promoted')),
    ),
  };
}

/** Restores `default-dvm`, whose volume then says `new`, in the place of the present one. */
async function replace(system: Backed, admin: Admin, options: JournalOptions = {}) {
  const { vms } = start(system, admin, options);
  const replaced = await replaceable(admin, dvm, NOW);
  const volumes = [{ name: 'private', mode: 'files', size: 3 * GiB }] as const;
  const temporary = await vms.create(dvm, encodeVmConfig(system.captured), volumes);
  write(system, temporary, 'new');
  try {
    return await vms.promote(temporary, dvm, replaced);
  } catch (error) {
    await vms.remove(temporary);
    throw error;
  }
}

function without<T>(entries: Readonly<Record<string, T>>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => key !== name));
}

/** The restored VM has its place, and the old one is kept. */
async function expectReplaced(system: Backed, hint = ''): Promise<void> {
  const { before, captured } = system;
  const after = await snapshotOf(system);
  const uuids = new Map(after.configs.map(({ name, uuid }) => [name, uuid]));
  const old = before.configs.find(({ name }) => name === dvm);
  if (old === undefined) throw new Error('no VM to be replaced');
  expect(uuids.get(dvm), hint).not.toBe(old.uuid);
  const kept: VmConfig = {
    ...{ ...old, name: KEPT, uuid: uuids.get(KEPT) ?? '', include_in_backups: false },
    features: without(old.features, 'preload-dispvm-max'),
    properties: {
      ...without(old.properties, 'autostart'),
      default_dispvm: { type: 'vm', value: KEPT },
      include_in_backups: { type: 'bool', value: 'False' },
    },
  };
  const others = before.configs.filter(({ name }) => name !== dvm);
  const expected = [...others, { ...captured, uuid: uuids.get(dvm) ?? '' }, kept];
  const sorted = (configs: readonly VmConfig[]) => [...configs].sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(sorted(after.configs), hint).toEqual(sorted(expected));
  expect(after.globals, hint).toEqual(before.globals);
  await expectPlaces(system, hint);
}

/** Both are there with their content, and nothing else is. */
async function expectPlaces(system: Backed, hint: string): Promise<void> {
  const names = (await system.admin.list()).map(({ name }) => name);
  const before = system.before.configs.map(({ name }) => name);
  expect(
    names.filter((name) => !before.includes(name) && name !== 'dom0'),
    hint,
  ).toEqual([KEPT]);
  expect([textOf(system, dvm), textOf(system, KEPT)], hint).toEqual(['new', 'old']);
}

async function expectUntouched(system: Backed, hint = ''): Promise<void> {
  expect(await snapshotOf(system), hint).toEqual(system.before);
  expect(textOf(system, dvm), hint).toBe('old');
}

test('R32: the old VM is kept under a dated name, starts nothing, and all refers to the restored one', async () => {
  const system = await backedUp();
  expect(await replaceable(system.admin, dvm, NOW)).toMatchObject({
    keptAs: KEPT,
    references: [
      'the system: default_dispvm',
      'the system: management_dispvm',
      'named-disp: template',
      'work: default_dispvm',
    ],
  });
  expect(await replace(system, system.admin)).toEqual([]);
  await expectReplaced(system);
  expect(await start(system, system.admin).journal.cleanUp()).toEqual([]);
});

test('a VM that others have as their network, with one more that is kept the same day', async () => {
  const system = await backedUp();
  const { admin } = system;
  const net = parseVmName('sys-net');
  await admin.create({ klass: 'AppVM', name: 'sys-net-20261121', label: 'red', template: 'debian-12' });
  const config = encodeVmConfig(await captureVmConfig(admin, net, await readSystemFacts(admin)));
  const replaced = await replaceable(admin, net, NOW);
  expect(replaced.keptAs).toBe('sys-net-20261121-2');
  const { vms } = start(system, admin);
  await vms.promote(await vms.create(net, config, []), net, replaced);
  expect((await admin.property('work', 'netvm')).value).toBe('sys-net');
  expect((await admin.globals()).get('default_netvm')?.value).toBe('sys-net');
  const names = (await admin.list()).map(({ name }) => name);
  expect(names.filter((name) => /sys-net|restore/.test(name))).toEqual([
    ...['sys-net', 'sys-net-20261121', 'sys-net-20261121-2'],
  ]);
});

test('devices of the old VM are named, for a person to assign', async () => {
  const system = await backedUp();
  system.qubesd.store.vm(dvm).devices['pci'] = ["dom0+00_1f.2:x device_id='x'"];
  const report = await replace(system, system.admin);
  expect(report.map(({ part, name }) => [part, name])).toEqual([['device', 'dom0+00_1f.2:x']]);
});

describe('is refused before anything is done, with what to do,', () => {
  test.each<[string, string, (system: Backed) => unknown]>([
    ['a VM that runs', 'qvm-shutdown --wait default-dvm', ({ admin }) => admin.start('default-dvm')],
    [
      'a VM on which one that runs is based',
      'qvm-shutdown --wait named-disp',
      async ({ admin }) => {
        await admin.setProperty('named-disp', 'netvm', '');
        await admin.start('named-disp');
      },
    ],
    [
      'a VM of the package manager',
      '--as',
      ({ admin }) => admin.setProperty('default-dvm', 'installed_by_rpm', 'True'),
    ],
  ])('%s', async (_title, hint, prepare) => {
    const system = await backedUp();
    await prepare(system);
    const error = await rejection(replaceable(system.admin, dvm, NOW));
    expect(error).toMatchObject({ code: 'refused' });
    expect(error.message).toContain(hint);
  });

  test('dom0, and a VM that is not there', async () => {
    const { admin } = await backedUp();
    expect((await rejection(replaceable(admin, parseVmName('dom0'), NOW))).code).toBe('refused');
    expect((await rejection(replaceable(admin, parseVmName('none'), NOW))).code).toBe('unknown-vm');
  });
});

describe('is undone as a whole', () => {
  test.each([
    ['a copy of its volume', 'admin.vm.volume.CloneTo+private'],
    ['a reference', 'admin.vm.property.Set+template'],
    ['the end of the old VM', 'admin.vm.Remove+'],
  ])('where Qubes refuses %s', async (_title, refused) => {
    let refusing = true;
    const system = await backedUp({
      before: (call, dest, payload) => {
        if (!refusing || !call.startsWith(refused) || (refused.includes('Remove') && dest !== dvm)) return;
        if (refused.includes('Set') && !payload.startsWith('restore-')) return;
        refusing = false;
        throw new QubesException('QubesVMInUseError', 'not today');
      },
    });
    expect((await rejection(replace(system, system.admin))).message).toContain('not today');
    expect(refusing).toBe(false);
    await expectUntouched(system);
    expect(await start(system, system.admin).journal.cleanUp()).toEqual([]);
  });

  test('where the old VM has the mark of a restore itself', async () => {
    const made = await backedUp({
      before: (call, _dest, payload) => {
        if (call.startsWith('admin.vm.property.Set+template') && payload.startsWith('restore-'))
          throw new QubesException('QubesVMInUseError', 'not today');
      },
    });
    await made.admin.setTag(dvm, TEMPORARY_TAG);
    const system = { ...made, before: await snapshotOf(made) };
    expect((await rejection(replace(system, system.admin))).message).toContain('not today');
    await expectUntouched(system);
  });

  test('where the VM is another one by then', async () => {
    const system = await backedUp();
    const { admin } = system;
    const { vms } = start(system, admin);
    const replaced = {
      ...(await replaceable(admin, dvm, NOW)),
      uuid: '00000000-0000-4000-8000-000000000000',
    };
    const temporary = await vms.create(dvm, encodeVmConfig(system.captured), []);
    expect((await rejection(vms.promote(temporary, dvm, replaced))).code).toBe('vm-exists');
    await vms.remove(temporary);
    await expectUntouched(system);
  });
});

test('what fails once the old VM is gone is finished by the next run, and the restored VM is not removed', async () => {
  let broken = false;
  const system = await backedUp({
    before: (call, dest) => {
      if (call.startsWith('admin.vm.Remove') && dest === dvm) broken = true;
      else if (broken && call.startsWith('admin.vm.Create'))
        throw new QubesException('StoragePoolException', 'full');
    },
  });
  expect((await rejection(replace(system, system.admin))).message).toContain('full');
  const names = async () => (await system.admin.list()).map(({ name }) => name);
  expect(await names()).toEqual(
    expect.arrayContaining([KEPT, expect.stringMatching(/^restore-default-dvm-/)]),
  );
  expect(await start(system, system.admin).journal.cleanUp()).toEqual([expect.stringContaining('full')]);
  broken = false;
  expect(await start(system, system.admin).journal.cleanUp()).toEqual(['finished restoring VM default-dvm']);
  await expectReplaced(system);
});

test('a process that dies at any instant, and its cleaning up as well, leaves the old VM untouched or the new one whole', async () => {
  const changes = /^(?:create|set|reset|remove|kill|clone|grow)/;
  const ends = { untouched: 0, replaced: 0 };
  let last = 1;
  for (; ; last++) {
    const system = await backedUp();
    const instants = new Instants(last);
    const admin = instants.around(system.admin, (method) => changes.test(method));
    const job = replace(system, admin, { after: instants.pass });
    const ended = await Promise.race([job.then(() => true), instants.died.then(() => false)]);
    const again = new Instants(1 + (last % 9));
    const dying = again.around(system.admin, (method) => changes.test(method));
    const cleaning = start(system, dying, { after: again.pass }).journal.cleanUp();
    await Promise.race([cleaning, again.died]);
    const { journal } = start(system, system.admin);
    await journal.cleanUp();
    const untouched = (await snapshotOf(system)).configs.some(
      ({ uuid }) => uuid === system.before.configs.find(({ name }) => name === dvm)?.uuid,
    );
    await (untouched ? expectUntouched : expectReplaced)(system, `at instant ${last}`);
    ends[untouched ? 'untouched' : 'replaced'] += 1;
    expect(await journal.cleanUp()).toEqual([]);
    await system.qubesd.close();
    if (ended) break;
  }
  expect(ends.untouched).toBeGreaterThan(30);
  expect(ends.replaced).toBeGreaterThan(30);
});

/** Fails one call of qubesd that changes something: refused, or done with its answer lost. */
class OneFailure {
  readonly #how: 'refused' | 'lost';
  /** Of the calls to come, which one. */
  left = Infinity;

  constructor(how: 'refused' | 'lost') {
    this.#how = how;
  }

  readonly options: Options = {
    before: (call) => {
      if (this.#how === 'refused' && this.#isIt(call)) throw new QubesException('StoragePoolException', 'no');
    },
    losesAnswer: (call) => this.#how === 'lost' && this.#isIt(call),
  };

  #isIt(call: string): boolean {
    return !READS.test(call) && --this.left === 0;
  }
}

test.each(['refused', 'lost'] as const)(
  'a call that is %s once, whichever, leaves the old VM untouched or the new one whole, but for what is told',
  async (how) => {
    const ends = { untouched: 0, replaced: 0, told: 0 };
    for (let last = 1; ; last++) {
      const hint = `call ${last} that changes something was ${how}`;
      const failure = new OneFailure(how);
      const system = await backedUp(failure.options);
      failure.left = last;
      const told = await replace(system, system.admin).catch((error: unknown) => {
        expect(error, hint).toBeInstanceOf(BackupError);
        return undefined;
      });
      const ended = failure.left > 0;
      failure.left = Infinity;
      const { journal } = start(system, system.admin);
      await journal.cleanUp();
      expect(await journal.cleanUp(), hint).toEqual([]);
      const { uuid } = system.before.configs.find(({ name }) => name === dvm) ?? {};
      const untouched = (await system.admin.list()).some((vm) => vm.name === dvm && vm.uuid === uuid);
      if (untouched) await expectUntouched(system, hint);
      else if (told?.length === 1) await expectPlaces(system, hint);
      else await expectReplaced(system, hint);
      if (untouched) expect(told, hint).toBeUndefined();
      ends[untouched ? 'untouched' : told?.length === 1 ? 'told' : 'replaced'] += 1;
      await system.qubesd.close();
      if (ended) break;
    }
    expect(ends.untouched).toBeGreaterThan(20);
    expect(ends.replaced).toBeGreaterThan(20);
    expect(ends.told).toBeGreaterThan(5);
  },
  120_000,
);

test('a kept name fits, is dated, and is of no VM', () => {
  const long = parseVmName('x'.repeat(31));
  expect(keptName(long, [], NOW)).toBe(`${'x'.repeat(22)}-20261121`);
  const taken = [KEPT, `${KEPT}-2`];
  expect(keptName(dvm, taken, NOW)).toBe(`${KEPT}-3`);
  expect(keptName(long, [`${'x'.repeat(22)}-20261121`], NOW)).toBe(`${'x'.repeat(20)}-20261121-2`);
});
