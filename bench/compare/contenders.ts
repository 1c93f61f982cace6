/** The contenders: this program, and Debian's restic and borgbackup, each as it is and with the fastest settings that make sense. */

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { STATUS } from '../../dom0/exit-status.ts';
import { isInstalled } from '../../test/support/needs.ts';
import { NO_EXCLUDES } from '../support/config.ts';
import { PROJECT } from '../support/trusted.ts';
import { tool } from './contender.ts';
import type { Commands, Contender, Place } from './contender.ts';
import type { Source } from './ground.ts';

export const OURS = 'qubes-backup';
const PASSPHRASE = 'bench bench bench';
/** MiB of a pack: the fewest files, and the least waiting between them, that restic's own documentation suggests. */
const PACK = 64;

const ALL: readonly Contender[] = [
  { name: OURS, program: undefined, settings: 'key-file slot', place: ourPlace },
  restic('restic', []),
  restic('restic-fast', ['--compression', 'off', '--pack-size', String(PACK)]),
  { ...restic('restic-small', ['--compression', 'max']), forSize: true },
  borg('borg', 'lz4'),
  borg('borg-fast', 'none'),
];

/** Those that are installed, and the programs that are not. */
export function contenders(): {
  readonly present: readonly Contender[];
  readonly missing: readonly string[];
} {
  const isPresent = ({ program }: Contender) => program === undefined || isInstalled(program);
  const missing = new Set(
    ALL.filter((contender) => !isPresent(contender)).map(({ program }) => program ?? ''),
  );
  return { present: ALL.filter(isPresent), missing: [...missing] };
}

/** What each program calls itself, with its version. */
export function versions(): readonly string[] {
  const known = [['restic', 'version'] as const, ['borg', '--version'] as const];
  return known
    .filter(([program]) => isInstalled(program))
    .map(([program, flag]) => tool(program, flag).trim());
}

function ourPlace(folder: string, { vms }: Source): Place {
  const [home, keyFile, passphraseFile] = ['home', 'key', 'passphrase'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(home);
  symlinkSync(vms, join(home, 'vms'));
  writeFileSync(join(home, 'config.toml'), NO_EXCLUDES);
  writeFileSync(passphraseFile, PASSPHRASE, { mode: 0o600 });
  const opened = (secret: readonly string[], ...args: readonly string[]) => ({
    program: join(PROJECT, 'bin/qubes-backup'),
    args: ['--local', home, ...secret, ...args],
  });
  const byKeyFile = (...args: readonly string[]): Commands => [opened(['--key-file', keyFile], ...args)];
  const byPassphrase = ['--passphrase-file', passphraseFile];
  const owner = (...args: readonly string[]) => ({
    program: join(PROJECT, 'bin/qubes-backup-storage'),
    args: ['--home', join(home, 'storage/main'), '--yes', ...args],
  });
  const restored = join(vms, 'copy');
  return {
    store: join(home, 'storage'),
    restored,
    init: () => [opened([...byPassphrase, '--key-file', keyFile], 'init')],
    backUp: () => byKeyFile('backup', 'data'),
    restore: () => byKeyFile('restore', 'data', '--as', 'copy'),
    restoreFile: (path) => byKeyFile('extract', 'data', path, '--to', restored),
    list: () => byKeyFile('list', 'data'),
    listByPassphrase: () => [opened(byPassphrase, 'list', 'data')],
    listFolder: (path) => byKeyFile('ls', 'data', path),
    check: () => byKeyFile('check'),
    checkData: () => byKeyFile('check', '--read-data', '100'),
    // What is dropped is spared for a month, and much of it waits for a word, unless the owner of the store says otherwise.
    forget: (count) => [
      opened(['--key-file', keyFile, '--yes'], 'forget', 'data', '--keep-last', String(count)),
      { ...owner('accept'), idle: STATUS.usage },
      owner('purge'),
    ],
  };
}

function restic(name: string, settings: readonly string[]): Contender {
  const place = (folder: string, { vms, data }: Source): Place => {
    const [store, restored] = [join(folder, 'store'), join(vms, 'copy')];
    const environment = { RESTIC_PASSWORD: PASSPHRASE, RESTIC_CACHE_DIR: join(folder, 'cache') };
    const command = (...args: readonly string[]): Commands => [
      { program: 'restic', args: ['-q', '-r', store, ...settings, ...args], environment },
    ];
    return {
      store,
      restored,
      init: () => command('init'),
      backUp: () => command('backup', data),
      restore: () => command('restore', 'latest', '--target', restored),
      restoreFile: (path) =>
        command('restore', 'latest', '--target', restored, '--include', join(data, path)),
      list: () => command('snapshots'),
      listByPassphrase: () => command('snapshots'),
      listFolder: (path) => command('ls', 'latest', join(data, path)),
      check: () => command('check'),
      checkData: () => command('check', '--read-data'),
      forget: (count) => command('forget', '--keep-last', String(count), '--prune'),
    };
  };
  return { name, program: 'restic', settings: settings.join(' ') || 'defaults', place };
}

function borg(name: string, compression: string): Contender {
  const place = (folder: string, { vms, data }: Source): Place => {
    const [store, cwd] = [join(folder, 'store'), join(vms, 'copy')];
    const environment = { BORG_PASSPHRASE: PASSPHRASE, BORG_BASE_DIR: join(folder, 'base') };
    let archives = 0;
    const command = (...args: readonly string[]): Commands => [{ program: 'borg', args, environment }];
    const newest = () => `${store}::${archives}`;
    const inside = (path: string) => join(data, path).slice(1); // Archives have no leading slash.
    const extract = (...args: readonly string[]): Commands => [
      { program: 'borg', args: ['extract', newest(), ...args], environment, cwd },
    ];
    return {
      store,
      restored: cwd, // It extracts whole paths to where it is run.
      init: () => command('init', '-e', 'repokey', store),
      backUp: () => command('create', '--compression', compression, `${store}::${++archives}`, data),
      restore: () => extract(),
      restoreFile: (path) => extract(inside(path)),
      list: () => command('list', store),
      listByPassphrase: () => command('list', store),
      listFolder: (path) => command('list', newest(), inside(path)),
      check: () => command('check', store),
      checkData: () => command('check', '--verify-data', store),
      forget: (count) => [
        ...command('prune', '--keep-last', String(count), store),
        ...command('compact', store),
      ],
    };
  };
  return { name, program: 'borg', settings: `--compression ${compression}`, place };
}
