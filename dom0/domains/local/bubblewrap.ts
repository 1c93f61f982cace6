/** Renders a sandbox for bubblewrap (bwrap 0.7 and later). Binds are without devices and set-user-ID by default. */

import { DEVICES } from './sandbox-spec.ts';
import type { SandboxSpec, Machine } from './sandbox-spec.ts';

/** Arguments that run `inner` as `spec` says; starts with the program. */
export function bubblewrapCommand(
  spec: SandboxSpec,
  inner: readonly string[],
  machine: Machine,
): readonly string[] {
  return [
    'bwrap',
    ...['--die-with-parent', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...(spec.network ? [] : ['--unshare-net']),
    ...(machine.isRoot ? [] : ['--unshare-user']),
    ...['--hostname', spec.hostname],
    ...machine.base.folders.flatMap((folder) => ['--ro-bind', folder, folder]),
    ...machine.base.links.flatMap(({ text, target }) => ['--symlink', text, target]),
    ...DEVICES.flatMap((name) => ['--dev-bind', `/dev/${name}`, `/dev/${name}`]),
    ...['--proc', '/proc', '--remount-ro', '/proc'],
    ...spec.tmpfs.flatMap(({ target, size }) => [
      '--perms',
      '0700',
      '--size',
      String(size),
      '--tmpfs',
      target,
    ]),
    ...spec.binds.flatMap(({ source, target, writable }) => [
      writable ? '--bind' : '--ro-bind',
      source,
      target,
    ]),
    ...['--remount-ro', '/', '--chdir', spec.cwd],
    ...[
      '--cap-drop',
      'ALL',
      ...spec.capabilities.flatMap((name) => ['--cap-add', `CAP_${name.toUpperCase()}`]),
    ],
    ...['--', ...inner],
  ];
}
