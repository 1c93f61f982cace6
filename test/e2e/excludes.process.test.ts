/** Excludes through the command line: three levels, what the volume adds, what `ls --skipped` tells, and the restore. */

import { linkSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareTrees } from '../support/checker.ts';
import { Home } from '../support/home.ts';

const SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55';

/** Whole seconds: all that Node sets exactly. */
const TIME = 1_600_000_000;

function fill(home: Home): string {
  const volume = home.volume('work');
  const files: Readonly<Record<string, string>> = {
    '.qubes-backup-exclude': '*.log\n!*.iso\n',
    'home/user/.cache/mozilla/x': 'cache',
    'home/user/.local/share/Trash/files/y': 'trash',
    'home/user/notes': 'kept',
    'home/user/big.iso': 'all VMs',
    'home/user/keep.iso': 'kept',
    'home/user/t.tmp': 'template',
    'home/user/own/z': 'own',
    'home/user/a.log': 'volume',
    'home/user/tagged/CACHEDIR.TAG': SIGNATURE,
    'home/user/tagged/content': 'tagged',
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(volume, path)), { recursive: true });
    writeFileSync(join(volume, path), content);
  }
  linkSync(join(volume, 'home/user/t.tmp'), join(volume, 'home/user/z-other-name'));
  for (const path of ['', 'home/user', 'home/user/.local/share', 'home/user/tagged'])
    utimesSync(join(volume, path), TIME, TIME);
  writeFileSync(join(volume, '../vm.json'), JSON.stringify({ template: 'debian-12' }));
  return volume;
}

/** Removes a path and sets the time of its folder back. */
function remove(volume: string, path: string): void {
  const folder = dirname(join(volume, path));
  const { atime, mtime } = statSync(folder);
  rmSync(join(volume, path), { recursive: true });
  utimesSync(folder, atime, mtime);
}

const CONFIG = [
  '[backup]',
  'exclude = ["*.iso"]',
  '[template.debian-12]',
  'exclude = ["*.tmp", "!keep.iso"]',
  '[vm.work]',
  'exclude = ["own/"]',
];

const SKIPPED = {
  'home/user/.cache': 'pattern "/home/*/.cache/" of the built-in excludes',
  'home/user/.local/share/Trash': 'pattern "/home/*/.local/share/Trash/" of the built-in excludes',
  'home/user/a.log': '.qubes-backup-exclude line 1',
  'home/user/big.iso': 'pattern "*.iso" of [backup]',
  'home/user/own': 'pattern "own/" of [vm.work]',
  'home/user/t.tmp': 'pattern "*.tmp" of [template.debian-12]',
  'home/user/tagged/content': 'CACHEDIR.TAG',
};

describe('excludes', () => {
  it('R23: three levels, the built-in ones, the volume’s file and CACHEDIR.TAG; each path with its reason', async () => {
    const home = new Home();
    const volume = fill(home);
    home.configure(...CONFIG);
    await home.expectRun(0, 'init');
    const first = await home.expectRun(0, 'backup', 'work');
    expect(first.event('backup')).toMatchObject({ skipped: 7, warnings: 0, files: 5 });
    expect(first.events.filter(({ event }) => event === 'note')).toEqual([]);
    const listed = await home.expectRun(0, 'ls', '--skipped', 'work');
    const reasons = listed.events.flatMap((each) =>
      each.event === 'entry' ? [[each['path'], each['target']] as const] : [],
    );
    expect(Object.fromEntries(reasons)).toEqual(SKIPPED);
    expect((await home.runWith(['--key-file', home.keyFile], 'ls', '--skipped', 'work')).stdout).toContain(
      'x  home/user/big.iso  (pattern "*.iso" of [backup])\n',
    );
    expect((await home.runWith(['--key-file', home.keyFile], 'list')).stdout).toContain('7 paths excluded');
    expect((await home.expectRun(0, 'verify', 'work')).event('verified')).toMatchObject({ equal: true });

    await home.expectRun(0, 'restore', 'work', '--as', 'restored');
    for (const path of Object.keys(SKIPPED)) remove(volume, path);
    expect(compareTrees(volume, home.volume('restored'))).toEqual([]);
    await home.expectRun(0, 'check', '--read-data', '100');
  });

  it('R23: everything can be switched off; what comes with a new exclusion is no difference to the volume', async () => {
    const home = new Home();
    const volume = fill(home);
    home.configure('[backup]', 'builtin_excludes = false', 'cachedir_tag = false', 'volume_excludes = false');
    await home.expectRun(0, 'init');
    const all = (await home.expectRun(0, 'backup', 'work')).event('backup');
    expect(all).toMatchObject({ skipped: 0, files: 12 });
    await home.expectRun(0, 'restore', 'work', '--as', 'restored');
    expect(compareTrees(volume, home.volume('restored'))).toEqual([]);
    home.configure(...CONFIG);
    writeFileSync(join(volume, 'home/user/big.iso'), 'changed');
    expect((await home.expectRun(0, 'verify', 'work')).event('verified')).toMatchObject({ equal: true });
    const less = (await home.expectRun(0, 'backup', 'work')).event('backup');
    expect(less).toMatchObject({ skipped: 7, files: 5, changedFiles: 0 });
  });

  it('R23: a wrong pattern stops the run at once, a wrong file on the volume is a warning', async () => {
    const home = new Home();
    const volume = fill(home);
    await home.expectRun(0, 'init');
    writeFileSync(join(volume, '.qubes-backup-exclude'), '*.log\n[\n');
    const warned = await home.expectRun(3, 'backup', 'work');
    expect(warned.stderr).toContain('.qubes-backup-exclude: line 2 has a [ without its ]');
    expect(warned.event('backup')).toMatchObject({ warnings: 1 });
    home.configure('[vm.work]', 'exclude = ["["]');
    const refused = await home.expectRun(2, 'backup', 'work');
    expect(refused.stderr).toContain('vm.work.exclude.0: the pattern "[" has a [ without its ]');
  });
});
