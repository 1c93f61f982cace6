/**
 * The root of a small Debian of its own: a shell, a few tools and the libraries they need, an empty dpkg database but for
 * what packages depend on, and nothing else. Programs in it have no network and see nothing of the machine.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { outcome, start } from '../support/processes.ts';
import type { Child, Outcome } from '../support/processes.ts';

const TOOLS =
  'sh cat dirname env flock gzip head id ln ls mkdir mv readlink rm setpriv sha256sum sync tail tar uname'.split(
    ' ',
  );
/** Taken for installed: the Debian packages of the above, which ours depend on. */
const INSTALLED = ['e2fsprogs', 'libc6', 'libgcc-s1', 'libstdc++6', 'mount'];

export class CleanRoot {
  readonly folder: string;

  /** Makes it in the empty folder `folder`. */
  constructor(folder: string) {
    this.folder = folder;
    for (const path of [
      'usr/bin',
      'usr/lib',
      'usr/lib64',
      'etc',
      'home/user',
      'rw/config',
      'root',
      'dev',
      'proc',
      'tmp',
    ])
      mkdirSync(join(folder, path), { recursive: true });
    for (const name of ['bin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(folder, name));
    const tools = execFileSync('which', TOOLS, { encoding: 'utf8' }).trim().split('\n');
    for (const path of [...tools, ...librariesOf([process.execPath, ...tools])]) {
      const target = join(folder, path.replace(/^\/(?=(bin|lib|lib64)\/)/, '/usr/'));
      mkdirSync(dirname(target), { recursive: true });
      copyFileSync(path, target);
    }
  }

  /** Gives it a dpkg database, in which some packages count as installed. */
  makeDpkgDatabase(): void {
    const folder = join(this.folder, 'var/lib/dpkg');
    for (const name of ['info', 'updates', 'triggers']) mkdirSync(join(folder, name), { recursive: true });
    const stanzas = INSTALLED.map((name) => {
      const version = execFileSync('dpkg-query', ['-W', '-f=${Version}', name], { encoding: 'utf8' });
      const fields = {
        Package: name,
        Status: 'install ok installed',
        Maintainer: 'x',
        Architecture: 'amd64',
      };
      const lines = Object.entries({ ...fields, Version: version, Description: 'x' });
      return lines.map(([field, value]) => `${field}: ${value}\n`).join('');
    });
    writeFileSync(join(folder, 'status'), stanzas.join('\n'));
    for (const name of INSTALLED) writeFileSync(join(folder, 'info', `${name}.list`), '');
  }

  /** Runs dpkg on it; fails with what it said if that fails. */
  dpkg(...args: readonly string[]): string {
    const command = ['dpkg', `--root=${this.folder}`, '--force-not-root', '--log=/dev/null', ...args];
    const all = process.getuid?.() === 0 ? command : ['unshare', '--map-root-user', '--', ...command];
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
    const { status, stdout, stderr } = spawnSync(all[0] ?? '', all.slice(1), { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`dpkg ${args.join(' ')}: ${stderr}${stdout}`);
    return `${stdout}${stderr}`;
  }

  /** Gives it an empty database of rpm, as every Fedora has one. */
  makeRpmDatabase(): void {
    mkdirSync(join(this.folder, 'var/lib/rpm'), { recursive: true });
    this.rpm('--initdb');
  }

  /**
   * Runs rpm on it, and answers its output; fails with what it said if that fails. What the packages need of Fedora is not there, nor asked for. Debian's rpm
   * keeps its database elsewhere unless told.
   */
  rpm(...args: readonly string[]): string {
    const command = ['rpm', '--root', this.folder, '--dbpath', '/var/lib/rpm', ...args];
    const all = process.getuid?.() === 0 ? command : ['unshare', '--map-root-user', '--', ...command];
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
    const { status, stdout, stderr } = spawnSync(all[0] ?? '', all.slice(1), { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`rpm ${args.join(' ')}: ${stderr}${stdout}`);
    return stdout; // On stderr Debian's says that it has another one.
  }

  /** Starts a program in it, as root or as the user of a VM, with exactly this environment. */
  start(
    argv: readonly string[],
    options: { user: 'root' | 'user'; environment?: Record<string, string> },
  ): Child {
    const home = options.user === 'root' ? '/root' : '/home/user';
    const [uid, gid] = options.user === 'root' ? ['0', '0'] : ['1000', '1000'];
    return start('bwrap', [
      ...['--unshare-all', '--unshare-user', '--die-with-parent', '--uid', uid, '--gid', gid, '--clearenv'],
      ...['--bind', this.folder, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/tmp', '--chdir', home],
      ...Object.entries({
        HOME: home,
        USER: options.user,
        PATH: '/usr/local/bin:/usr/bin:/bin',
        ...options.environment,
      }).flatMap(([name, value]) => ['--setenv', name, value]),
      ...['--', ...argv],
    ]);
  }

  /** Runs a program in it to its end, as root unless told otherwise. */
  run(argv: readonly string[], user: 'root' | 'user' = 'root'): Promise<Outcome> {
    const child = this.start(argv, { user });
    child.stdin.end();
    return outcome(child);
  }

  /**
   * Calls a service as the agent of a VM does: look-up, user, login shell, environment, argument; stdin and stdout are
   * sockets. Status 127 if there is no such service.
   */
  call(service: string, argument = ''): Child {
    const found = this.findService(service, argument);
    const config = join(this.folder, 'etc/qubes/rpc-config', service);
    const forced = isThere(config) && readFileSync(config, 'utf8').includes("force-user='root'\n");
    const environment = {
      QREXEC_REMOTE_DOMAIN: 'dom0',
      QREXEC_SERVICE_FULL_NAME: `${service}+${argument}`,
      QREXEC_SERVICE_ARGUMENT: argument,
      QREXEC_AGENT_PID: '1',
      QREXEC_REQUESTED_TARGET_TYPE: '',
    };
    const command = [found ?? '/usr/bin/no-such-service', ...(argument === '' ? [] : [argument])];
    return this.start(['/bin/sh', '-l', '-c', 'exec "$0" "$@"', ...command], {
      user: forced ? 'root' : 'user',
      environment,
    });
  }

  /** Where the agent finds a service, or undefined. */
  findService(service: string, argument: string): string | undefined {
    const names = [`${service}+${argument}`, service];
    const paths = names.flatMap((name) =>
      ['/usr/local/etc/qubes-rpc', '/etc/qubes-rpc'].map((folder) => `${folder}/${name}`),
    );
    return paths.find((path) => isThere(join(this.folder, path)));
  }

  /** All files below a folder of it, sorted, with a slash after folders. */
  files(below: string): readonly string[] {
    if (!isThere(join(this.folder, below))) return [];
    const found = readdirSync(join(this.folder, below), { recursive: true, withFileTypes: true });
    const names = found.map((entry) => join(entry.parentPath, entry.name) + (entry.isDirectory() ? '/' : ''));
    return names.map((name) => name.slice(this.folder.length)).sort();
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The libraries of programs, and their loader. */
function librariesOf(programs: readonly string[]): readonly string[] {
  const { stdout } = spawnSync('ldd', programs, { encoding: 'utf8' });
  return [...new Set([...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = '']) => path))];
}
