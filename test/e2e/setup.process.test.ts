/** The first-run guide, on a terminal: from nothing to a first backup, left and started again. */

import { existsSync, readFileSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseStore, writeConfig } from '../../dom0/setup/config-file.ts';
import { Home, SANDBOX } from '../support/home.ts';
import { program, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';
import { onTerminal } from '../support/terminal.ts';
import type { Turn } from '../support/terminal.ts';

const onScript = testNeeding(program('script'));

const PASSPHRASE = 'correct horse battery staple';

/** `doctor` finds fault with a machine that has little room or no namespaces; then there is a question more. */
function looked(home: Home): readonly Turn[] {
  const { bavail, blocks } = statfsSync(home.folder);
  return SANDBOX === 'none' || bavail < blocks * 0.15 ? [['Go on as it is:', '']] : [];
}

const FIRST: readonly Turn[] = [
  ['Storage VM or folder: [main]', 'no such name!'],
  ['Give the name of a storage VM', ''],
  ['Have a passphrase generated: yes or no? [yes]', 'no'],
  ['New passphrase:', PASSPHRASE],
  ['Again:', PASSPHRASE],
];

describe('setup', () => {
  onScript(
    'leads from nothing to a backup that opens with the passphrase, and leaves a schedule',
    async () => {
      const home = new Home();
      home.write('work', 'a', 'ours');
      const units = join(home.folder, 'units');
      const { code, screen } = await onTerminal(
        home,
        ['setup', '--units', units],
        [
          ...FIRST,
          ['Show one, to be written down: yes or no? [yes]', 'no'],
          ...looked(home),
          ['VMs, with spaces between', 'work'],
          ['When: [02:00]', 'sun,03:30'],
          ['Unlock now: yes or no? [yes]', 'no'],
          ['Take it now: yes or no? [yes]', ''],
          ['Drill it yes or no? [yes]', ''],
        ],
      );
      expect(code, screen).toBe(0);
      expect(screen).not.toContain(PASSPHRASE);
      expect(screen).toContain('work: snapshot 1:');
      expect(screen).toMatch(/work: the drill of snapshot 1 .* passed/);
      expect(readFileSync(join(home.folder, 'config.toml'), 'utf8')).toContain('vm = "main"');
      expect(readFileSync(join(units, 'qubes-backup.timer'), 'utf8')).toContain(
        'OnCalendar=Sun *-*-* 03:30:00\n',
      );
      expect((await home.runWith(['--json'], 'schedule', 'show')).event('schedule')).toMatchObject({
        vms: ['work'],
      });
    },
  );

  onScript('can be left at a question, and goes on there', async () => {
    const home = new Home();
    home.write('work', 'a', 'ours');
    const left = await onTerminal(home, ['setup'], [...FIRST, ['Show one, to be written down:', '\x03']]);
    expect(left.code).toBe(2);
    expect(left.screen).toContain('goes on where you left it');
    const roots = readdirSync(join(home.store, 'roots'));
    const { code, screen } = await onTerminal(
      home,
      ['setup'],
      [
        ['Passphrase:', PASSPHRASE],
        ['Show one, to be written down:', 'no'],
        ...looked(home),
        ['VMs, with spaces between', ''],
        ['When: [02:00]', 'never'],
        ['Take it now:', 'no'],
      ],
    );
    expect(code, screen).toBe(0);
    expect(screen).toContain('is there, and is used as it is');
    expect(screen).toContain('This machine uses a repository already');
    expect(readdirSync(join(home.store, 'roots'))).toEqual(roots);
    expect(existsSync(join(home.state, 'schedule.json'))).toBe(false);
  });

  it('refuses where there is nobody to ask, and touches nothing', async () => {
    const home = new Home();
    const { code, stderr } = await home.runWith([], 'setup');
    expect(code).toBe(2);
    expect(stderr).toContain('needs a terminal');
    expect(readdirSync(home.folder)).toEqual(['vms']);
  });
});

it.each([
  ['backup-store', { vm: 'backup-store' }],
  ['/media/usb/backup', { name: 'disk', folder: '/media/usb/backup' }],
])('a store is %s', (text, store) => expect(parseStore(text)).toEqual(store));

it.each(['', '-x', 'a b', 'a/b', '../x', '@tag:x'])('no store is %j', (text) => {
  expect(() => parseStore(text)).toThrow('storage VM');
});

it('the configuration is never written over another', () => {
  const file = join(tempFolder(), 'etc', 'config.toml');
  writeConfig(file, 'qubes', { name: 'disk', folder: '/media/a "quoted" \\ folder' });
  const text = readFileSync(file, 'utf8');
  expect(text).toContain('driver = "qubes"');
  expect(text).toContain('removable = true');
  expect(() => writeConfig(file, 'qubes', { vm: 'main' })).toThrow('cannot write');
  expect(readFileSync(file, 'utf8')).toBe(text);
});
