/**
 * What guests boot: Debian's kernel, a small initramfs, and a read-only ext4 with our packages as they are installed on Qubes OS,
 * the Node.js that they bring, and the lab's agent. Made without root's rights where the machine gives namespaces to users.
 */

import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PROJECT, vmBundle } from '../../packaging/bundle.ts';
import { packages } from '../../packaging/contents.ts';
import { readRelease } from '../../packaging/release.ts';
import { file, layOut, link, merge } from '../../packaging/tree.ts';
import type { Tree } from '../../packaging/tree.ts';
import { shell } from '../support/images.ts';
import { made } from './cache.ts';
import { debianPackages } from './debian.ts';
import type { Unpacked } from './debian.ts';
import { imageIn } from './image-files.ts';

/** Modules without which there is no root. */
const FIRST_MODULES = ['drivers/virtio', 'drivers/block/virtio_blk.ko', 'drivers/char/virtio_console.ko'];
/** Folders and files of modules that a guest may load later. */
const LATER_MODULES = [
  'drivers/md',
  'drivers/block/loop.ko',
  'fs/xfs',
  'fs/btrfs',
  'lib',
  'crypto',
  'arch/x86/crypto',
];

/** Bytes beside the files; nothing is ever written there. */
const SPARE = 64 * 1024 * 1024;

const GUEST = join(import.meta.dirname, 'guest');
const PROGRAM = '/usr/lib/qubes-backup';

/** The folder of the image (image-files.ts) for the sources as they are, from the cache if it is there. */
export async function makeGuestImage(): Promise<string> {
  const base = debianPackages();
  const installed = await installedTree();
  const hash = createHash('sha256')
    .update(base.id)
    .update(readFileSync(import.meta.filename));
  for (const name of readdirSync(GUEST).sort()) hash.update(readFileSync(join(GUEST, name)));
  for (const [path, entry] of [...installed].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash
      .update(`${path} ${entry.kind}\0`)
      .update(entry.kind === 'file' ? entry.bytes : JSON.stringify(entry));
  return madeWith(`image-${hash.digest('hex').slice(0, 16)}`, installed, base);
}

async function madeWith(name: string, installed: Tree, base: Unpacked): Promise<string> {
  const { seconds } = readRelease();
  const laidOut = shell('mktemp -d').trim();
  try {
    await layOut(installed, laidOut, seconds);
    return made(name, (folder) => {
      const [version = ''] = readdirSync(join(base.kernel, 'lib/modules'));
      const { kernel, initramfs, root } = imageIn(folder);
      cpSync(join(base.kernel, 'boot', `vmlinuz-${version}`), kernel);
      makeInitramfs(initramfs, base, version);
      makeRoot(root, base, version, laidOut);
    });
  } finally {
    shell('rm -r "$1"', laidOut);
  }
}

/** Our packages but dom0's, what stands in for services that VMs of Qubes OS have, and the agent. */
async function installedTree(): Promise<Tree> {
  const ours = (await packages(readRelease())).filter(({ name }) => name !== 'qubes-backup-dom0');
  const vm = await vmBundle();
  const filecopy = `exec ${PROGRAM}/bin/node ${PROGRAM}/services/vm/qubes.Filecopy.mjs "$@"`;
  return merge(
    ...ours.map(({ tree }) => new Map([...tree].filter(([path]) => !path.startsWith('/usr/share/')))),
    new Map([...vm.files].map(([path, bytes]) => [`${PROGRAM}/${path}`, file(bytes)])),
    new Map([
      [`${PROGRAM}/services/vm/node_modules`, link('../dvm/node_modules')],
      ['/etc/qubes-rpc/qubes.Filecopy', file(`#!/bin/sh\n${filecopy}\n`, 0o755)],
      // As in every VM of Qubes OS: a script on stdin, by which tests do what a guest's owner may do in it.
      ['/etc/qubes-rpc/qubes.VMRootShell', file('#!/bin/sh\nexec /bin/sh\n', 0o755)],
      ['/etc/qubes/rpc-config/qubes.VMRootShell', file("force-user='root'\n")],
      ['/etc/passwd', file('root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n')],
      ['/etc/group', file('root:x:0:\nuser:x:1000:\n')],
      ['/etc/profile', file('# Nothing: what it printed would be in every service’s answer.\n')],
      ['/usr/sbin/init', file(readFileSync(join(GUEST, 'init.sh')), 0o755)],
      ['/usr/lib/lab/node_modules', link('../qubes-backup/services/dvm/node_modules')],
    ]),
    await guestPrograms(),
  );
}

/** The agent, and what tests have in its place or in that of a service. */
async function guestPrograms(): Promise<Tree> {
  const { outputFiles } = await build({
    absWorkingDir: PROJECT,
    entryPoints: ['agent', 'greedy', 'usurper'].map((name) => join(GUEST, `${name}.ts`)),
    ...{ bundle: true, external: ['koffi'], format: 'esm', platform: 'node', target: 'node24' },
    ...{ outdir: '/usr/lib/lab', outExtension: { '.js': '.mjs' }, write: false, logLevel: 'warning' },
  });
  return new Map(outputFiles.map(({ path, contents }) => [path, file(contents)]));
}

function makeInitramfs(path: string, { kernel, system }: Unpacked, version: string): void {
  const tree = `${path}.tree`;
  for (const name of ['bin', 'dev', 'proc', 'root', 'sys']) mkdirSync(join(tree, name), { recursive: true });
  cpSync(busyboxOf(system), join(tree, 'bin/busybox'));
  cpSync(join(GUEST, 'initramfs.sh'), join(tree, 'init'));
  copyModules(join(kernel, 'lib/modules', version), join(tree, 'lib/modules', version), FIRST_MODULES);
  shell('"$1" depmod -b "$2" "$3"', busyboxOf(system), tree, version);
  shell(
    'chmod 755 "$1/init" "$1/bin/busybox"; cd "$1"; find . | sort | "$2" cpio -o -H newc 2>/dev/null >"$3"; rm -r "$1"',
    ...[tree, busyboxOf(system), path],
  );
}

function makeRoot(path: string, { kernel, system }: Unpacked, version: string, installed: string): void {
  const tree = `${path}.tree`;
  for (const name of ['dev', 'etc', 'home/user', 'proc', 'root', 'run', 'rw', 'sys', 'tmp', 'usr/local'])
    mkdirSync(join(tree, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(tree, 'usr', name));
    symlinkSync(`usr/${name}`, join(tree, name));
    // Packages of this release still have some of their files outside of /usr.
    for (const from of [join(system, name), join(system, 'usr', name)])
      if (existsSync(from)) shell('cp -a "$1/." "$2"', from, join(tree, 'usr', name));
  }
  copyModules(join(kernel, 'lib/modules', version), join(tree, 'usr/lib/modules', version), LATER_MODULES);
  shell('"$1" depmod -b "$2" "$3"', busyboxOf(system), tree, version);
  // Real tools come before those of busybox.
  shell(
    'for name in $("$2" --list); do [ -e "$1/usr/bin/$name" ] || [ -e "$1/usr/sbin/$name" ] || ln -s busybox "$1/usr/bin/$name"; done',
    ...[tree, busyboxOf(system)],
  );
  shell('cp -a "$1/." "$2"', installed, tree);
  const size = Number(shell('du -sk "$1" | cut -f1', tree)) * 1024 + SPARE;
  // Everything belongs to root in the guest, whoever makes it.
  const asRoot = process.getuid?.() === 0 ? '' : 'unshare --map-root-user';
  shell(
    `truncate -s ${Math.ceil(size / 4096) * 4096} "$2"; ${asRoot} mke2fs -q -t ext4 -m 0 -O ^has_journal -d "$1" "$2"; rm -r "$1"`,
    ...[tree, path],
  );
}

/** Folders and files of modules, with the lists that depmod wants. */
function copyModules(from: string, to: string, paths: readonly string[]): void {
  for (const path of ['modules.order', 'modules.builtin', ...paths.map((name) => join('kernel', name))]) {
    mkdirSync(join(to, path, '..'), { recursive: true });
    cpSync(join(from, path), join(to, path), { recursive: true });
  }
}

function busyboxOf(system: string): string {
  return ['bin/busybox', 'usr/bin/busybox'].map((path) => join(system, path)).find(existsSync) ?? 'busybox';
}
