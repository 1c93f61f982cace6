/** R30 R32 R35: a VM in the place of another, and all VMs on a clean system, by the command line, with real processes. */

import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';
import { onTerminal } from '../support/terminal.ts';

function vmsOf({ folder }: Home): string[] {
  return readdirSync(join(folder, 'vms')).sort();
}

function describeVm(home: Home, name: string, config: Record<string, unknown>): void {
  home.write(name, 'file', `content of ${name}`);
  writeFileSync(join(home.volume(name), '../vm.json'), JSON.stringify(config));
}

describe('restore --replace', () => {
  it('R32: keeps the old VM, asks before, and the history goes on with the restored one', async () => {
    const home = new Home();
    home.write('work', 'file', 'first');
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', 'work');
    home.write('work', 'file', 'second');
    const refused = await home.run('restore', 'work', '--replace');
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('give --yes')]);
    await home.expectRun(2, 'restore', 'work', '--replace', '--as', 'other', '--yes');
    const options = ['--key-file', home.keyFile, 'restore', 'work', '--replace'];
    const no = await onTerminal(home, options, [['Replace it?', 'no']]);
    expect([no.code, vmsOf(home), home.read('work', 'file')]).toEqual([2, ['work'], 'second']);
    const yes = await onTerminal(home, options, [['Replace it?', 'yes']]);
    expect(yes.screen).toContain('work is restored. The one that had the name is work-');
    expect(yes.code).toBe(0);
    const [, kept = ''] = vmsOf(home);
    expect(kept).toMatch(/^work-[0-9]{8}$/);
    expect([home.read('work', 'file'), home.read(kept, 'file')]).toEqual(['first', 'second']);
    // The restored VM continues the history, and the one that is kept begins one.
    const again = await home.expectRun(0, 'backup', '--all');
    const taken = again.events.filter(({ event }) => event === 'backup');
    expect(taken.map(({ vm, snapshot }) => [vm, snapshot])).toEqual([
      ['work', 2],
      [kept, 1],
    ]);
  });
});

describe('restore --all', () => {
  it('R35: brings back what is not there, in order; one that fails does not stop the others', async () => {
    const home = new Home();
    const app = { template: 'debian-12', netvm: 'net' };
    describeVm(home, 'debian-12', { klass: 'TemplateVM' });
    describeVm(home, 'app', app);
    describeVm(home, 'broken', app);
    describeVm(home, 'sys-usb', { template: 'debian-12' });
    describeVm(home, 'there', app);
    await home.expectRun(0, 'init');
    await home.expectRun(0, 'backup', '--all');
    const before = join(home.folder, 'before');
    mkdirSync(before);
    for (const vm of ['debian-12', 'app', 'broken', 'sys-usb'])
      renameSync(join(home.folder, 'vms', vm), join(before, vm));
    home.write('there', 'file', 'later');
    await home.expectRun(2, 'restore', '--all', '--netvm', 'none', '--yes');
    const options = ['--key-file', home.keyFile, 'restore', '--all'];
    const no = await onTerminal(home, options, [['Restore 3 VMs?', 'n']]);
    expect([no.code, vmsOf(home)]).toEqual([2, ['there']]);
    expect(no.screen).toMatch(/Skipped: sys-usb: .*--include-sys/);
    expect(no.screen).toContain('Skipped: there: a VM of this name is there');
    // Its name is taken by what is no VM.
    writeFileSync(join(home.folder, 'vms', 'broken'), '');
    const run = await home.expectRun(1, 'restore', '--all', '--yes');
    const order = run.events.filter(({ event }) => event === 'restoring');
    expect(order.map(({ vm, index, of }) => [vm, index, of])).toEqual([
      ['debian-12', 1, 3],
      ['app', 2, 3],
      ['broken', 3, 3],
    ]);
    expect(run.event('restored-all')).toMatchObject({
      ...{ restored: ['debian-12', 'app'], failed: ['broken'], skipped: ['sys-usb', 'there'] },
    });
    expect(run.event('failed')).toMatchObject({ vm: 'broken', code: 'vm-exists' });
    expect(run.event('error')).toMatchObject({ code: 'vm-exists', message: '1 of 3 VMs not restored' });
    for (const vm of ['debian-12', 'app'])
      expect(compareTrees(join(before, vm, 'private'), home.volume(vm)), vm).toEqual([]);
    expect(home.read('there', 'file')).toBe('later');
    const config = JSON.parse(readFileSync(join(home.folder, 'vms/app/vm.json'), 'utf8')) as object;
    expect(config).toMatchObject(app);
  });
});
