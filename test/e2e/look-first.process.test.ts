/** What is shown before it is done, and does nothing: `backup --dry-run`, `restore --only-config`. */

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../fidelity/command-line.ts';
import { Home } from '../support/home.ts';
import { makeTemp, removeTree } from '../support/temp.ts';

const vmJson = (home: Home, name: string) => join(home.folder, 'vms', name, 'vm.json');

let template: Home;
beforeAll(() => {
  template = new Home({ folder: makeTemp() });
  template.write('work', 'a', 'x'.repeat(5000));
  template.write('fresh', 'b', 'theirs');
  writeFileSync(
    vmJson(template, 'work'),
    JSON.stringify({ uuid: '00000000-0000-4000-8000-000000000001', label: 'red' }),
  );
  template.identify('fresh', 2);
  writeFileSync(join(template.folder, 'vms', 'work', 'root.img'), new Uint8Array(1024 * 1024));
  template.configure(
    '[vm.work.volumes]',
    'root = "blocks"',
    '[hooks]',
    `before = ["touch", "${template.folder}/hooked"]`,
  );
  runCommand(template, 'init');
  runCommand(template, 'backup', 'work');
});
afterAll(() => removeTree(template.folder));

const rootsOf = (home: Home) => readdirSync(join(home.store, 'roots'));

describe('backup --dry-run', () => {
  it('says what would be read of each volume, takes no snapshot, and runs no hook', async () => {
    const home = new Home({ template });
    const roots = rootsOf(home);
    expect(existsSync(join(template.folder, 'hooked'))).toBe(true); // By the backup.
    home.configure(
      '[vm.work.volumes]',
      'root = "blocks"',
      '[hooks]',
      `before = ["touch", "${home.folder}/hooked-again"]`,
    );
    const { events } = await home.expectRun(0, 'backup', '--all', '--dry-run');
    expect(events.filter(({ event }) => event === 'estimate')).toEqual([
      expect.objectContaining({ vm: 'fresh', volume: 'private', size: null, snapshot: null, bytes: null }),
      expect.objectContaining({
        vm: 'work',
        volume: 'private',
        mode: 'files',
        snapshot: 1,
        files: 1,
        bytes: 5000,
      }),
      expect.objectContaining({
        vm: 'work',
        volume: 'root',
        mode: 'blocks',
        size: 1024 * 1024,
        recheckBytes: 0,
      }),
    ]);
    const { stdout } = await home.runWith(
      ['--key-file', home.keyFile],
      'backup',
      'work',
      'fresh',
      '--dry-run',
    );
    expect(stdout).toMatch(
      /work +private .*what changed of 1 files \(4\.88 KiB\), and up to 4\.88 KiB again/,
    );
    expect(stdout).toMatch(/work +root +1\.00 MiB .*all of it, 1\.00 MiB: a device is read whole each time/);
    expect(stdout).toMatch(/fresh +private +never +all that is in it/);
    expect(rootsOf(home)).toEqual(roots);
    expect(existsSync(join(home.folder, 'hooked-again'))).toBe(false);
    expect((await home.run('backup', '--dry-run')).code).toBe(2);
    expect((await home.run('backup', 'wrok', '--dry-run')).event('error')).toMatchObject({
      code: 'unknown-vm',
    });
  });
});

describe('restore --only-config', () => {
  it('shows what the VM had and how it differs now, and sets nothing', async () => {
    const home = new Home({ template });
    const changed = JSON.stringify({ uuid: '00000000-0000-4000-8000-000000000001', label: 'blue' });
    writeFileSync(vmJson(home, 'work'), changed);
    const shown = await home.expectRun(0, 'restore', 'work', '--only-config');
    expect(shown.event('config')).toMatchObject({ vm: 'work', snapshot: 1, config: { label: 'red' } });
    expect(shown.events.filter(({ event }) => event === 'config-difference')).toEqual([
      { event: 'config-difference', vm: 'work', path: 'label', was: 'red', is: 'blue' },
    ]);
    const { stdout, stderr } = await home.runWith(
      ['--key-file', home.keyFile],
      'restore',
      'work@1',
      '--only-config',
    );
    expect(JSON.parse(stdout)).toMatchObject({ label: 'red' });
    expect(stderr).toContain('label was "red", and is "blue" now');
    expect(readFileSync(vmJson(home, 'work'), 'utf8')).toBe(changed);
    expect((await home.run('restore', '--only-config', '--all')).code).toBe(2);
    expect((await home.run('restore', 'work', '--only-config', '--replace')).code).toBe(2);
  });

  it('says of a VM that is gone what makes it again', async () => {
    const home = new Home({ template });
    removeTree(join(home.folder, 'vms', 'work'));
    const { code, stderr } = await home.runWith(
      ['--key-file', home.keyFile],
      'restore',
      'work',
      '--only-config',
    );
    expect(code).toBe(0);
    expect(stderr).toContain('there is no VM work now');
  });
});
