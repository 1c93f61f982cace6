import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { parseVmName } from '../../shared/ids.ts';
import { MAX_VM_CONFIG } from '../../shared/limits.ts';
import { tempFolder } from '../support/temp.ts';

const work = parseVmName('work');

function makeHome(): { home: string; vms: string; domains: LocalDomains; warnings: string[] } {
  const home = tempFolder();
  const vms = join(home, 'vms');
  mkdirSync(join(vms, 'work', 'private'), { recursive: true });
  const warnings: string[] = [];
  return {
    home,
    vms,
    warnings,
    domains: new LocalDomains({ home, sandbox: 'none', warn: (text) => warnings.push(text) }),
  };
}

/** The configuration of VM work as its backup holds it. */
async function config(domains: LocalDomains): Promise<Record<string, unknown>> {
  return JSON.parse(Buffer.from(await domains.readConfig(work)).toString('utf8')) as Record<string, unknown>;
}

describe('VMs as folders', () => {
  test('a folder without vm.json is an AppVM that is backed up', async () => {
    const { domains } = makeHome();
    const [vm, ...others] = await domains.list();
    expect(others).toEqual([]);
    expect(vm).toMatchObject({ name: 'work', klass: 'AppVM', includeInBackups: true });
    expect(vm?.uuid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });

  test('no vms folder is no VM', async () => {
    const { domains, vms } = makeHome();
    rmSync(vms, { recursive: true });
    expect(await domains.list()).toEqual([]);
  });

  test('VMs are sorted by name, and everything else there is named in a warning, once', async () => {
    const { domains, vms, warnings } = makeHome();
    for (const name of ['Zoo', 'anon', '1st', 'a b', 'x'.repeat(32), '.hidden', 'dom0'])
      mkdirSync(join(vms, name, 'private'), { recursive: true });
    writeFileSync(join(vms, 'file'), '');
    symlinkSync('work', join(vms, 'link'));
    expect((await domains.list()).map((vm) => vm.name)).toEqual(['Zoo', 'anon', 'work']);
    await domains.list();
    expect(warnings.map((text) => text.replace(/^.*\/vms\//, '')).sort()).toEqual([
      '.hidden is ignored: not a VM name',
      '1st is ignored: not a VM name',
      'a b is ignored: not a VM name',
      'dom0 is ignored: not a VM name',
      'file is ignored: not a folder',
      'link is ignored: not a folder',
      `${'x'.repeat(32)} is ignored: not a VM name`,
    ]);
  });

  test('R11: the UUID of a folder survives a rename, and a new folder of the old name has another', async () => {
    const { domains, vms } = makeHome();
    const before = (await domains.list())[0]?.uuid;
    renameSync(join(vms, 'work'), join(vms, 'renamed'));
    expect((await domains.list()).map((vm) => vm.uuid)).toEqual([before]);
    mkdirSync(join(vms, 'work', 'private'), { recursive: true });
    const after = await domains.list();
    expect(after.map((vm) => vm.name)).toEqual(['renamed', 'work']);
    expect(after[1]?.uuid).not.toBe(before);
  });

  test('R25: all of vm.json travels, fields we do not know included, in canonical form', async () => {
    const { domains, vms } = makeHome();
    writeFileSync(
      join(vms, 'work', 'vm.json'),
      '{"netvm":"sys-firewall","klass":"StandaloneVM","include_in_backups":false,"future":{"b":[1,{"z":1,"y":2}],"a":null},"label":"blue"}',
    );
    expect((await domains.list())[0]).toMatchObject({ klass: 'StandaloneVM', includeInBackups: false });
    expect(await config(domains)).toMatchObject({
      klass: 'StandaloneVM',
      label: 'blue',
      netvm: 'sys-firewall',
      template: null,
      future: { a: null, b: [1, { y: 2, z: 1 }] },
      volumes: { private: { kind: 'folder', size: 0 } },
    });
    const first = await domains.readConfig(work);
    writeFileSync(
      join(vms, 'work', 'vm.json'),
      '{"label":"blue","future":{"a":null,"b":[1,{"y":2,"z":1}]},"include_in_backups":false,"klass":"StandaloneVM","netvm":"sys-firewall"}',
    );
    expect(await domains.readConfig(work)).toEqual(first);
  });

  test.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['an unknown class', '{"klass":"AdminVM"}'],
    ['a number for a flag', '{"include_in_backups":1}'],
    ['a UUID that is none', '{"uuid":"work"}'],
  ])('a vm.json with %s is an error that names VM and file', async (_what, text) => {
    const { domains, vms } = makeHome();
    writeFileSync(join(vms, 'work', 'vm.json'), text);
    await expect(domains.list()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/^VM work: .*vm\.json: /) as string,
    });
  });

  test('a vm.json that is too large, or no file, is refused unread', async () => {
    const { domains, vms } = makeHome();
    writeFileSync(join(vms, 'work', 'vm.json'), ' '.repeat(MAX_VM_CONFIG + 1));
    await expect(domains.list()).rejects.toMatchObject({ code: 'limit' });
    rmSync(join(vms, 'work', 'vm.json'));
    symlinkSync('/etc/hostname', join(vms, 'work', 'vm.json'));
    await expect(domains.list()).rejects.toMatchObject({ code: 'io' });
  });

  test('a VM without a volume is listed, and cannot be snapshotted in silence', async () => {
    const { domains, vms } = makeHome();
    const folder = join(vms, 'work');
    rmSync(join(folder, 'private'), { recursive: true });
    expect(await domains.list()).toHaveLength(1);
    await expect(domains.snapshotVolume(work, 'private', 'files')).rejects.toMatchObject({
      code: 'unknown-vm',
    });
    symlinkSync('/', join(folder, 'private'));
    await expect(domains.snapshotVolume(work, 'private', 'files')).rejects.toMatchObject({
      code: 'unknown-vm',
    });
    rmSync(join(folder, 'private'));
    mkdirSync(join(folder, 'private'));
    writeFileSync(join(folder, 'private.img'), '');
    await expect(domains.snapshotVolume(work, 'private', 'files')).rejects.toThrow(/either .* or/);
  });

  test('an unknown VM is named', async () => {
    const { domains } = makeHome();
    await expect(domains.snapshotVolume(parseVmName('nobody'), 'private', 'files')).rejects.toMatchObject({
      code: 'unknown-vm',
      message: expect.stringContaining('nobody') as string,
    });
  });

  test('a snapshot of a folder has the size of its file system', async () => {
    const { domains } = makeHome();
    const before = Date.now();
    const snapshot = await domains.snapshotVolume(work, 'private', 'files');
    expect(snapshot.capacity).toBeGreaterThan(1e6);
    expect(snapshot.takenAt).toBeGreaterThanOrEqual(before);
    expect(snapshot.takenAt).toBeLessThanOrEqual(Date.now());
    await snapshot.release();
    await snapshot.release();
  });

  test('an image that is to be mounted is refused where that cannot be, with the VM and what to do', async () => {
    const { domains, vms } = makeHome();
    rmSync(join(vms, 'work', 'private'), { recursive: true });
    writeFileSync(join(vms, 'work', 'private.img'), 'XFSB');
    await expect(domains.snapshotVolume(work, 'private', 'files')).rejects.toThrow(
      /^VM work: .* holds xfs, .*as root/,
    );
  });

  test('a HOME that is not there is named', () => {
    expect(() => new LocalDomains({ home: '/dev/null/x', sandbox: 'none' })).toThrow(/\/dev\/null\/x/);
  });
});
