/** What every package is to hold, written down apart from what makes them. */

import { expect } from 'vitest';

export const SERVICES = {
  dom0: ['Request', 'Start'].map((name) => `qubes.Backup${name}`),
  dvm: ['Browse', 'Compare', 'Drill', 'Export', 'Prove', 'Restore', 'Scan', 'Verify'].map(
    (name) => `qubes.Backup${name}`,
  ),
  storagevm: ['Get', 'List', 'Put', 'SetRoot'].map((name) => `qubes.Backup${name}`),
};
/** The program's folder. */
export const CODE = '/usr/lib/qubes-backup';
const rw = '-rw-r--r--';
const rwx = '-rwxr-xr-x';

const koffi = [
  ...['koffi/index.js', 'koffi/package.json', 'koffi/src/koffi/index.js', 'koffi/src/koffi/src/static.js'],
  ...['index.js', 'linux_x64/koffi.node', 'package.json'].map((name) => `@koromix/koffi-linux-x64/${name}`),
].map((name) => `${rw} ${CODE}/services/dvm/node_modules/${name}`);

const bundles = (part: keyof typeof SERVICES) =>
  SERVICES[part].map((name) => `${rw} ${CODE}/services/${part}/${name}.mjs`);
const launchers = (part: keyof typeof SERVICES) =>
  SERVICES[part].flatMap((name) => [
    `${rwx} ${CODE}/services/${part}/${name}`,
    `link /etc/qubes-rpc/${name} -> ${CODE}/services/${part}/${name}`,
  ]);
/** What is in dom0 as in a disposable, which dom0 may give it. */
const agent = [
  `${rw} ${CODE}/services/dvm/agent`,
  `${rw} ${CODE}/services/dvm/cutting-thread.mjs`,
  `${rwx} ${CODE}/services/dvm/qubes.BackupAgent`,
  ...launchers('dvm').filter((line) => !line.startsWith('link ')),
  ...bundles('dvm'),
  ...koffi,
];
const AS_ROOT = ['Compare', 'Drill', 'Restore', 'Scan', 'Verify'].map((name) => `qubes.Backup${name}`);
const documents = (name: string) =>
  ['changelog.gz', 'copyright'].map((file) => `${rw} /usr/share/doc/${name}/${file}`);

/** All that is in each package but folders and the bundles' shared pieces, whose names are hashes. All of it is root's. */
export const CONTENTS: Readonly<Record<string, readonly string[]>> = {
  'qubes-backup-runtime': [`${rwx} ${CODE}/bin/node`],
  'qubes-backup-dom0': [
    `${rw} /etc/qubes/policy.d/30-qubes-backup.policy`,
    `link /usr/bin/qubes-backup -> ${CODE}/bin/qubes-backup`,
    `${rwx} ${CODE}/bin/qubes-backup`,
    `${rw} ${CODE}/dom0/main.mjs`,
    ...launchers('dom0'),
    ...bundles('dom0'),
    ...['enter-sandbox.sh', 'with-dom0.sh', 'with-image.sh'].map(
      (name) => `${rw} ${CODE}/dom0/domains/local/${name}`,
    ),
    `${rw} ${CODE}/policies/shipped/30-qubes-backup.policy`,
    `link ${CODE}/policies/30-qubes-backup.policy -> ../../../../etc/qubes/policy.d/30-qubes-backup.policy`,
    ...agent,
    ...AS_ROOT.map((name) => `${rw} ${CODE}/services/dvm/rpc-config/${name}`),
    ...bundles('storagevm'),
    `${rw} /usr/share/bash-completion/completions/qubes-backup`,
    `${rw} /usr/share/doc/qubes-backup-dom0/config.example.toml`,
    `${rw} /usr/share/fish/vendor_completions.d/qubes-backup.fish`,
    `${rw} /usr/share/man/man1/qubes-backup.1.gz`,
    `${rw} /usr/share/man/man5/qubes-backup.toml.5.gz`,
    `${rw} /usr/share/qubes-backup/config.schema.json`,
    `${rw} /usr/share/zsh/site-functions/_qubes-backup`,
  ],
  'qubes-backup-dvm': [
    ...AS_ROOT.map((name) => `${rw} /etc/qubes/rpc-config/${name}`),
    ...agent,
    ...launchers('dvm').filter((line) => line.startsWith('link ')),
    `link /etc/qubes-rpc/qubes.BackupAgent -> ${CODE}/services/dvm/qubes.BackupAgent`,
  ],
  'qubes-backup-storagevm': [
    `link /usr/bin/qubes-backup-storage -> ${CODE}/bin/qubes-backup-storage`,
    `${rwx} ${CODE}/bin/qubes-backup-storage`,
    `${rw} ${CODE}/storagevm/main.mjs`,
    ...launchers('storagevm'),
    ...bundles('storagevm'),
    `${rw} /usr/share/man/man1/qubes-backup-storage.1.gz`,
  ],
  'qubes-backup-vm': [
    `${rwx} /usr/bin/qubes-backup-request`,
    `${rwx} ${CODE}/services/vm/qubes.BackupSync`,
    `link /etc/qubes-rpc/qubes.BackupSync -> ${CODE}/services/vm/qubes.BackupSync`,
  ],
};
/** What is in package `name`, sorted. */
export const expected = (name: string) => [...(CONTENTS[name] ?? []), ...documents(name)].sort();
/** How a format calls what suits any machine, and what suits one. */
export const architectureOf = (name: string, none: string, machine: string) =>
  name === 'qubes-backup-vm' ? none : machine;
export const DEBS = Object.keys(CONTENTS).filter((name) => name !== 'qubes-backup-dom0');

/** Folders that nobody but root looks into. */
const PRIVATE = ['/var/cache/qubes-backup', '/var/lib/qubes-backup'];

/** A row of `dpkg -c` or `rpm -qlv` as above; undefined for what is not listed there. */
export function row(mode: string, owner: string, path: string): string | undefined {
  expect(owner, path).toBe('root/root');
  if (mode.startsWith('d')) {
    expect(mode, path).toBe(PRIVATE.includes(path) ? 'drwx------' : 'drwxr-xr-x');
    return undefined;
  }
  if (/\/(?:services\/\w+|dom0)\/shared-[A-Z0-9]{8}\.mjs$/.test(path)) {
    expect(mode, path).toBe(rw);
    return undefined;
  }
  return `${mode.startsWith('l') ? 'link' : mode} ${path}`;
}
