/** Renders a sandbox for util-linux: unshare, enter-sandbox.sh, setpriv. */

import { script } from '../../program.ts';
import { DEVICES } from './sandbox-spec.ts';
import type { SandboxSpec, Machine } from './sandbox-spec.ts';

/** Arguments that run `inner` as `spec` says; starts with the program. */
export function unshareCommand(
  spec: SandboxSpec,
  inner: readonly string[],
  machine: Machine,
): readonly string[] {
  return [
    ...['unshare', '--mount', '--pid', '--ipc', '--uts', '--cgroup', ...(spec.network ? [] : ['--net'])],
    ...(machine.isRoot ? [] : ['--map-current-user', '--keep-caps']),
    ...['--fork', '--kill-child', '--', '/bin/sh', script('enter-sandbox.sh')],
    ...[machine.mountPoint, spec.hostname, spec.cwd],
    ...machine.base.folders.flatMap((folder) => ['ro', folder, folder]),
    ...machine.base.links.flatMap(({ text, target }) => ['link', text, target]),
    ...DEVICES.flatMap((name) => ['dev', name]),
    ...spec.tmpfs.flatMap(({ target, size }) => ['tmpfs', String(size), target]),
    ...spec.binds.flatMap(({ source, target, writable }) => [writable ? 'rw' : 'ro', source, target]),
    ...['--', ...dropPrivileges(spec), ...INIT, ...inner],
  ];
}

/** The first process of a pid namespace cannot kill itself, and inherits orphans: a service is never it. */
const INIT = ['/bin/sh', '-c', '"$@"; exit $?', 'sh'];

function dropPrivileges(spec: SandboxSpec): readonly string[] {
  const kept = ['-all', ...spec.capabilities.map((name) => `+${name}`)].join(',');
  return [
    'setpriv',
    '--no-new-privs',
    '--bounding-set',
    kept,
    '--inh-caps',
    kept,
    '--ambient-caps',
    kept,
    '--',
  ];
}
