/** R03 R24 R30: the parts of the Qubes driver together, on the stand-ins. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Journal } from '../../dom0/domains/qubes/journal.ts';
import { dvmTemplateOf, ensureDvmTemplate } from '../../dom0/domains/qubes/dvm-template.ts';
import { QubesDomains } from '../../dom0/domains/qubes/qubes.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Callable } from './calls-kit.ts';
import { devicesOf } from './tools/devices.ts';
import { playedTools } from './tools/tools-kit.ts';
import { remains, setting, startVm, textOf } from './volumes-kit.ts';
import type { PoolName } from './volumes-kit.ts';

const GiB = 2 ** 30;
const copy = parseVmName('copy');

async function system(pool: PoolName = 'lvm') {
  const set = await setting(pool);
  const callable = new Callable();
  const warnings: string[] = [];
  const journal = new Journal(join(set.folder, 'journal'));
  const domains = new QubesDomains({
    admin: set.admin,
    tools: playedTools(set.folder),
    calls: callable.calls,
    journal,
    stateFolder: join(set.folder, 'state'),
    warn: (text) => void warnings.push(text),
    volumes: { root: set.folder, patience: 2_000 },
  });
  return { set, callable, domains, warnings, journal };
}

describe('a backup', () => {
  test.each([
    ['files', 'disk', false],
    ['blocks', 'blocks', true],
  ] as const)(
    'of a running VM as %s reads what it works on, in a disposable of its template',
    async (mode, kind, readOnly) => {
      const { set, domains, callable, warnings, journal } = await system();
      await startVm(set);
      await ensureDvmTemplate(set.admin, 'debian-12'); // What stays after a first run.
      const before = remains(set);
      callable.vm('data', { 'qubes.BackupSync': 'exit 0' });
      const snapshot = await domains.snapshotVolume(set.vm, 'private', mode);
      expect(snapshot).toMatchObject({ vm: 'data', name: 'private', mode, frozen: true });
      expect(snapshot.size).toBe((await set.admin.volume('data', 'private')).size);
      set.write('live', 'written later');
      const disposable = await domains.startDisposable(set.vm, { kind: 'snapshot', snapshot });
      const name = parseVmName(disposable.name);
      expect(disposable.attached).toEqual({ kind, path: '/dev/xvdi' });
      const [device] = devicesOf(set.folder, name);
      expect([textOf(device?.file ?? ''), device?.readOnly]).toEqual(['live', readOnly]);
      expect((await set.admin.property(name, 'template')).value).toBe('qib-dvm-debian-12');
      await disposable.destroy();
      await snapshot.release();
      set.write('live', 'live');
      expect(remains(set)).toEqual(before);
      expect([warnings, await journal.cleanUp()]).toEqual([[], []]);
    },
  );

  test('goes on where the VM has no way to be asked to write out what it holds', async () => {
    const { set, domains, callable, warnings } = await system();
    await startVm(set);
    callable.vm('data', { 'qubes.BackupSync': 'echo broken >&2; exit 9' });
    await (await domains.snapshotVolume(set.vm, 'private', 'files')).release();
    expect(warnings).toEqual([expect.stringContaining('ended with 9 (broken)')]);
  });
});

test('of a VM that runs in a pool that nobody knows has the last shutdown, and says so', async () => {
  const { set, domains, callable, warnings } = await system('strange');
  await startVm(set);
  callable.vm('data', {});
  await (await domains.snapshotVolume(set.vm, 'private', 'blocks')).release();
  expect(warnings).toEqual([expect.stringContaining('as it was at the last shutdown')]);
});

describe('a restore', () => {
  test('writes the volume of a VM of its own, which then gets its name', async () => {
    const { set, domains, callable } = await system();
    const config = await domains.readConfig(set.vm);
    const shape = { name: 'private', mode: 'files', size: 2 * GiB } as const;
    const temporary = await domains.createTemporary(copy, config, [shape]);
    const attachment = { kind: 'volume', vm: temporary, volume: 'private', mode: 'files' } as const;
    const writer = await domains.startDisposable(set.vm, { ...attachment, writable: true });
    const [written] = devicesOf(set.folder, parseVmName(writer.name));
    expect(written?.readOnly).toBe(false);
    writeFileSync(written?.file ?? '', 'restored');
    await writer.destroy();
    const reader = await domains.startDisposable(set.vm, { ...attachment, writable: false });
    expect(reader.name).not.toBe(writer.name);
    const [read] = devicesOf(set.folder, parseVmName(reader.name));
    expect([textOf(read?.file ?? ''), read?.readOnly]).toEqual(['restored', true]);
    await reader.destroy();
    await domains.promote(temporary, copy);
    expect(textOf(set.at('dev/qubes_dom0/vm-copy-private'))).toBe('restored');
    const vms = await domains.list();
    expect(vms.filter(({ name }) => /^(?:copy|restore-)/.test(name)).map(({ name }) => name)).toEqual([
      'copy',
    ]);
    callable.vm('copy', { 'test.Echo': 'exit 0' });
    const call = await domains.callVm(copy, 'test.Echo', '');
    call.hangUp();
    expect((await call.exited).code).toBe(0);
  });

  test.each([
    ['debian-11', 'qib-dvm-debian-12'],
    ['whonix-17', 'qib-dvm-debian-12'],
    ['fedora-40', 'qib-dvm-fedora-41'],
  ])('of the template %s is done by disposables of one that is there and like it', async (name, wanted) => {
    const { set, domains } = await system();
    await set.admin.create({ klass: 'TemplateVM', name: 'fedora-41', label: 'black' });
    const config = await domains.readConfig(parseVmName('fedora-41'));
    const shape = { name: 'private', mode: 'files', size: 2 * GiB } as const;
    const vm = await domains.createTemporary(parseVmName(name), config, [shape]);
    const attachment = { kind: 'volume', vm, volume: 'private', mode: 'files', writable: true } as const;
    const disposable = await domains.startDisposable(vm, attachment);
    expect((await set.admin.property(disposable.name, 'template')).value).toBe(wanted);
    await disposable.destroy();
    await domains.promote(vm, parseVmName(name));
  });

  test('of a VM without a template asks for one by the name that the VM is to get', async () => {
    const { set, domains } = await system();
    await set.admin.create({ klass: 'StandaloneVM', name: 'own', label: 'black' });
    const config = await domains.readConfig(parseVmName('own'));
    const vm = await domains.createTemporary(copy, config, []);
    const attachment = { kind: 'volume', vm, volume: 'private', mode: 'files', writable: true } as const;
    const refused = await rejection(domains.startDisposable(vm, attachment));
    expect(refused.message).toContain('[vm.copy.disposable] template');
  });

  test('never gives out the volume of a VM that is not its own, and unpacks nothing in dom0', async () => {
    const { set, domains } = await system();
    await ensureDvmTemplate(set.admin, 'debian-12');
    const before = remains(set);
    const start = (attachment: Parameters<typeof domains.startDisposable>[1]) =>
      rejection(domains.startDisposable(set.vm, attachment));
    const other = { kind: 'volume', vm: set.vm, volume: 'private', mode: 'files', writable: true } as const;
    expect((await start(other)).code).toBe('refused');
    expect((await start({ kind: 'folder', folder: set.folder })).message).toContain('--into-vm');
    expect(remains(set)).toEqual(before);
  });
});

test('the backups of a VM that is gone are looked at by disposables of the default template', async () => {
  const { set, domains } = await system();
  const gone = parseVmName('gone');
  const disposable = await domains.startDisposable(gone, { kind: 'nothing' });
  const template = (await set.admin.globals()).get('default_template')?.value;
  expect((await set.admin.property(disposable.name, 'template')).value).toBe(`qib-dvm-${template}`);
  await disposable.destroy();
  const volume = { kind: 'volume', vm: gone, volume: 'private', mode: 'files', writable: true } as const;
  expect((await rejection(domains.startDisposable(gone, volume))).code).toBe('refused');
});

test('what a dead run left is undone by the next', async () => {
  const { set, domains } = await system();
  await ensureDvmTemplate(set.admin, 'debian-12');
  const before = remains(set);
  const snapshot = await domains.snapshotVolume(set.vm, 'private', 'files');
  await domains.startDisposable(set.vm, { kind: 'snapshot', snapshot });
  await domains.createTemporary(copy, await domains.readConfig(set.vm), []);
  const next = new QubesDomains({
    admin: set.admin,
    tools: playedTools(set.folder),
    calls: new Callable().calls,
    journal: new Journal(join(set.folder, 'journal')),
    stateFolder: join(set.folder, 'state'),
    warn: () => undefined,
    volumes: { root: set.folder, patience: 2_000 },
  });
  expect((await next.cleanUp()).length).toBeGreaterThanOrEqual(4);
  expect(remains(set)).toEqual(before);
});

test('a storage VM that is not there, and a folder that is not, are said', async () => {
  const { set, domains } = await system();
  for (const missing of [
    () => domains.prepareStorage('vault'),
    () => domains.callStorage('vault', 'qubes.BackupGet'),
    () => domains.callFolder('disk', join(set.folder, 'none'), 'qubes.BackupGet'),
  ])
    expect((await rejection(missing())).code).toBe('store-missing');
});

describe('a template of disposables', () => {
  test('is an AppVM that nobody uses, without network, preloading and backups; what somebody changed is set back', async () => {
    const { set } = await system();
    const { admin } = set;
    for (let time = 0; time < 2; time++) {
      const name = await ensureDvmTemplate(admin, 'debian-12');
      expect(name).toBe('qib-dvm-debian-12');
      const properties = await admin.properties(name);
      const wanted = {
        ...{ klass: 'AppVM', template: 'debian-12', template_for_dispvms: 'True', netvm: '' },
        ...{ default_dispvm: '', include_in_backups: 'False', autostart: 'False' },
      };
      const found = Object.keys(wanted).map((property) => [property, properties.get(property)?.value]);
      expect(Object.fromEntries(found)).toEqual(wanted);
      expect([...(await admin.features(name))]).toEqual([['internal', '1']]);
      expect(await admin.tags(name)).toContain('qubes-backup-dvm');
      await admin.setProperty(name, 'netvm', 'sys-net');
      await admin.setProperty(name, 'default_dispvm', 'default-dvm');
      await admin.setProperty(name, 'include_in_backups', 'True');
      await admin.setFeature(name, 'preload-dispvm-max', '2');
      await admin.setFeature(name, 'internal', '');
    }
  });

  test('that is another VM is refused', async () => {
    const { set } = await system();
    await set.admin.create({ klass: 'TemplateVM', name: 'fedora', label: 'red' });
    await set.admin.create({ klass: 'AppVM', name: 'qib-dvm-fedora', label: 'red', template: 'debian-12' });
    expect((await rejection(ensureDvmTemplate(set.admin, 'fedora'))).code).toBe('refused');
  });

  test('has a name that fits, and no two the same', () => {
    const [a, b] = [`${'t'.repeat(30)}a`, `${'t'.repeat(30)}b`].map(dvmTemplateOf);
    expect(a).not.toBe(b);
    expect([a?.length, b?.length]).toEqual([31, 31]);
  });
});
