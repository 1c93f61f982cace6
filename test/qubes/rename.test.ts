/**
 * A VM under another name, with all that refers to it: the order of Qube Manager, whatever is refused, and whenever the process
 * dies.
 */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Admin } from '../../dom0/domains/qubes/admin/admin.ts';
import { findReferences } from '../../dom0/domains/qubes/dependents.ts';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { Renaming } from '../../dom0/domains/qubes/rename.ts';
import { rejection } from '../support/failure.ts';
import { QubesException, noSuchVm } from './qubesd-exception.ts';
import { NO_MENUS } from './qubes-kit.ts';
import type { Machine } from './qubes-kit.ts';
import type { Options } from './fake-qubesd.ts';
import { referredMachine, snapshotOf } from './referred-kit.ts';

const CHANGES = /\.(Set|Reset|Remove|Resize|CloneFrom|CloneTo|Create\.\w+|CreateInPool\.\w+)\+/;

interface Set extends Machine {
  readonly journal: Journal;
  readonly renaming: Renaming;
}

async function referred(options: Options = {}): Promise<Set> {
  const qubes = await referredMachine(options);
  return { ...qubes, ...begin(qubes) };
}

/** The journal as a process has it that starts now. */
function begin({ admin, folder }: Pick<Machine, 'admin' | 'folder'>) {
  const journal = new Journal(join(folder, 'journal'), { boot: 'this' });
  return { journal, renaming: new Renaming(admin, journal, NO_MENUS) };
}

/** The same but for the name: what a system is after `from` was renamed. */
function renamed(before: Awaited<ReturnType<typeof snapshotOf>>, from: string, to: string) {
  const anew = (value: string) => (value === from ? to : value);
  const configs = before.configs.map((config) => ({
    ...config,
    ...{ name: anew(config.name), template: config.template && anew(config.template) },
    ...{ netvm: config.netvm && anew(config.netvm), uuid: config.name === from ? '' : config.uuid },
    properties: Object.fromEntries(
      Object.entries(config.properties).map(([name, { type, value }]) => [
        name,
        { type, value: anew(value) },
      ]),
    ),
  }));
  return {
    configs,
    globals: before.globals.map(([name, item]) => [name, { ...item, value: anew(item.value) }]),
  };
}

/** What snapshotOf() says, without the new VM's own UUID, in one order. */
function comparable({ configs, globals }: Awaited<ReturnType<typeof snapshotOf>>, to: string) {
  const sorted = [...configs].sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    configs: sorted.map((config) => (config.name === to ? { ...config, uuid: '' } : config)),
    globals,
  };
}

describe('references', () => {
  test('are found wherever they are set, and not where a default follows', async () => {
    const { admin } = await referred();
    expect(await findReferences(admin, 'default-dvm')).toEqual([
      { owner: null, property: 'default_dispvm' },
      { owner: null, property: 'management_dispvm' },
      { owner: 'named-disp', property: 'template' },
      { owner: 'work', property: 'default_dispvm' },
    ]);
    expect(await findReferences(admin, 'sys-net')).toEqual([
      { owner: null, property: 'default_netvm' },
      { owner: 'work', property: 'netvm' },
    ]);
    expect(await findReferences(admin, 'work')).toEqual([]);
    const templates = await findReferences(admin, 'debian-12');
    expect(templates.map(({ owner }) => owner)).toEqual([null, 'default-dvm', 'sys-net', 'work']);
  });

  test('of a disposable that Qubes made ahead are none', async () => {
    const { admin, qubesd } = await referred();
    qubesd.store.vm('default-dvm').features['preload-dispvm'] = 'disp1 named-disp';
    const owners = (await findReferences(admin, 'default-dvm')).map(({ owner }) => owner);
    expect(owners).toEqual([null, null, 'work']);
  });

  test('of a VM that goes while all are asked are none', async () => {
    let gone = false;
    const { admin } = await referred({
      before: (call, dest) => {
        if (gone && call.startsWith('admin.vm.property.GetAll') && dest === 'named-disp')
          throw noSuchVm(dest);
      },
    });
    gone = true;
    expect((await findReferences(admin, 'default-dvm')).map(({ owner }) => owner)).toEqual([
      null,
      null,
      'work',
    ]);
  });

  test('are those for which Qubes refuses to remove a VM', async () => {
    const { admin } = await referred();
    for (const vm of ['default-dvm', 'sys-net', 'debian-12', 'work', 'named-disp']) {
      const inUse = (await findReferences(admin, vm)).length > 0;
      const removed = await admin.remove(vm).then(
        () => true,
        () => false,
      );
      expect([vm, removed]).toEqual([vm, !inUse]);
      if (removed) break; // What it referred to is free now.
    }
  });
});

test.each([
  ['default-dvm', 'default-dvm2'],
  ['sys-net', 'x'.repeat(31)],
  ['debian-12', 'debian-12-old'],
  ['work', 'Work'],
])('%s is %s afterwards, and everything knows', async (from, to) => {
  const set = await referred();
  const before = await snapshotOf(set);
  const uuid = set.qubesd.store.vm(from).uuid;
  expect(await set.renaming.rename(from, to)).toEqual([]);
  const after = await snapshotOf(set);
  const expected = renamed(before, from, to);
  expected.configs.sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(comparable(after, to)).toEqual(expected);
  expect(set.qubesd.store.vm(to).uuid).not.toBe(uuid);
  expect(await set.journal.cleanUp()).toEqual([]);
});

test('the order is that of Qube Manager: the VM, its configuration, its volumes, what refers to it, and then the end of the old one', async () => {
  const { qubesd, renaming } = await referred();
  const told: string[] = [];
  await renaming.rename('default-dvm', 'new', { progress: (step) => told.push(step) });
  const changes = qubesd.calls
    .filter(({ call }) => CHANGES.test(call))
    .map(({ call, dest }) => `${call} ${dest}`);
  const at = (text: string) => changes.findIndex((change) => change.startsWith(text));
  const order = [
    at('admin.vm.CreateInPool.AppVM+debian-12 dom0'),
    at('admin.vm.property.Set+memory new'),
    at('admin.vm.tag.Set+mine new'),
    at('admin.vm.notes.Set+ new'),
    at('admin.vm.volume.CloneFrom+private default-dvm'),
    at('admin.vm.volume.CloneTo+private new'),
    at('admin.property.Set+default_dispvm dom0'),
    at('admin.vm.property.Set+template named-disp'),
    at('admin.vm.Remove+ default-dvm'),
  ];
  expect(order.every((index) => index >= 0)).toBe(true);
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(told).toHaveLength(5);
});

describe('is refused, with nothing changed,', () => {
  test.each<[string, string, string, (set: Set) => unknown]>([
    ['a name that is taken', 'work', 'vm-exists', () => undefined],
    ['a VM that runs', 'new', 'refused', ({ admin }) => admin.start('default-dvm')],
    [
      'a VM of the package manager',
      'new',
      'refused',
      ({ admin }) => admin.setProperty('default-dvm', 'installed_by_rpm', 'True'),
    ],
    ['a name that Qubes has not', 'a-dm', 'refused', () => undefined],
    [
      'a VM whose template is used by one that runs',
      'new',
      'refused',
      async ({ admin }) => {
        await admin.setProperty('named-disp', 'netvm', '');
        await admin.start('named-disp');
      },
    ],
    [
      'a VM of which others are to get devices',
      'new',
      'refused',
      ({ qubesd }) => {
        qubesd.store.vm('work').devices['block'] = ["default-dvm+sda device_id='x'"];
      },
    ],
  ])('%s', async (_title, to, code, prepare) => {
    const set = await referred();
    await prepare(set);
    const before = await snapshotOf(set);
    expect(await rejection(set.renaming.rename('default-dvm', to))).toMatchObject({ code });
    expect(await snapshotOf(set)).toEqual(before);
    expect(await set.journal.cleanUp()).toEqual([]);
  });

  test('what would lose something by it', async () => {
    let refuse = false;
    const set = await referred({
      before: (call, dest) => {
        if (refuse && call === 'admin.vm.feature.Set+gui' && dest === 'new')
          throw new QubesException('QubesValueError', 'not today');
      },
    });
    const before = await snapshotOf(set);
    refuse = true;
    const error = await rejection(set.renaming.rename('default-dvm', 'new'));
    expect(error.message).toContain('cannot be renamed without a loss: feature gui');
    expect(await snapshotOf(set)).toEqual(before);
  });
});

test('devices are named, as a person is to assign them', async () => {
  const { qubesd, renaming } = await referred();
  qubesd.store.vm('work').devices['pci'] = ["dom0+00_1f.2:x device_id='x'"];
  expect((await renaming.rename('work', 'new')).map(({ part, name }) => [part, name])).toEqual([
    ['device', 'dom0+00_1f.2:x'],
  ]);
});

test('a temporary VM stays one', async () => {
  const { admin, renaming } = await referred();
  await admin.setTag('work', 'qubes-backup-temporary');
  await renaming.rename('work', 'new');
  expect(await admin.tags('new')).toContain('qubes-backup-temporary');
});

describe('a process that dies', () => {
  /**
   * Renames until the call number `limit` that changes something, or the first of `limit`, which never comes to qubesd; then
   * another process starts.
   */
  async function dieAt(limit: number | string) {
    let died: () => void = () => undefined;
    const death = new Promise<void>((resolve) => (died = resolve));
    let count = -1; // Not begun.
    const set = await referred({
      before: async (call) => {
        if (count < 0 || !CHANGES.test(call)) return;
        if (typeof limit === 'string' ? !call.startsWith(limit) : ++count <= limit) return;
        died();
        await new Promise(() => undefined);
      },
    });
    const before = await snapshotOf(set);
    count = 0;
    let ended = false;
    const work = set.renaming.rename('default-dvm', 'new').then(
      () => (ended = true),
      () => undefined, // Its qubesd goes away when the test ends.
    );
    await Promise.race([death, work]);
    count = -1;
    const admin = new Admin(set.qubesd.socketPath);
    const { journal } = begin({ admin, folder: set.folder });
    return { admin, before, journal, ended, set };
  }

  test('at any call leaves the VM under its old name or its new one, whole, with all that refers to it', async () => {
    let undone = 0;
    for (let limit = 0; ; limit++) {
      const { admin, before, journal, ended, set } = await dieAt(limit);
      if (ended) {
        expect(limit).toBeGreaterThan(15);
        break;
      }
      const lines = await journal.cleanUp();
      const after = await snapshotOf({ admin });
      if (after.configs.some(({ name }) => name === 'default-dvm')) {
        undone++;
        expect([limit, after]).toEqual([limit, before]);
      } else {
        const expected = renamed(before, 'default-dvm', 'new');
        expected.configs.sort((a, b) => (a.name < b.name ? -1 : 1));
        expect([limit, comparable(after, 'new')]).toEqual([limit, expected]);
        expect(lines).toEqual(['finished renaming VM default-dvm to new']);
      }
      expect(await journal.cleanUp()).toEqual([]);
      await set.qubesd.close();
    }
    expect(undone).toBeGreaterThan(10);
  });

  test('leaves to its owner what a person changed meanwhile', async () => {
    const { admin, journal, set } = await dieAt('admin.vm.Remove');
    expect((await admin.property('work', 'default_dispvm')).value).toBe('new');
    await admin.setProperty('work', 'default_dispvm', '');
    const lines = await journal.cleanUp();
    expect(lines).toContainEqual(expect.stringContaining('left work: default_dispvm alone'));
    expect((await admin.property('work', 'default_dispvm')).value).toBe('');
    expect(await findReferences(admin, 'default-dvm')).toHaveLength(3);
    await set.qubesd.close();
  });

  test('leaves alone a VM of the new name that is another one', async () => {
    const { admin, journal, set } = await dieAt(6);
    await admin.remove('new');
    await admin.create({ klass: 'AppVM', name: 'new', label: 'red', template: 'debian-12' });
    await admin.setTag('new', 'of-a-person');
    const lines = await journal.cleanUp();
    expect(lines).toEqual([expect.stringContaining('left VM new alone')]);
    expect(await admin.tags('new')).toContain('of-a-person');
    await set.qubesd.close();
  });
});

test('what could not be undone is said, and done by the next run', async () => {
  let broken = false;
  const set = await referred({
    before: (call, dest) => {
      if (broken && /^admin\.vm\.(Remove|volume\.CloneTo)/.test(call))
        throw new QubesException('StoragePoolException', `broken ${dest}`);
    },
  });
  const before = await snapshotOf(set);
  broken = true;
  const error = await rejection(set.renaming.rename('default-dvm', 'new'));
  expect(error).toMatchObject({ code: 'io' });
  expect(error.message).toMatch(/broken new.*what was made cannot be removed/);
  broken = false;
  const { journal } = begin(set);
  expect(await journal.cleanUp()).toEqual([expect.stringContaining('removed VM new')]);
  expect(await snapshotOf(set)).toEqual(before);
});
