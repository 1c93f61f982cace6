/**
 * Debian packages, downloaded and unpacked, never installed: what guests of the lab are made of. apt-get picks their versions and
 * checks their hashes.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { shell } from '../support/images.ts';
import { made } from './cache.ts';

/** Stands for the newest kernel for virtual machines. */
const KERNEL = 'linux-image-cloud-amd64';
/** What Node.js, the services and the lab's own tests need in a guest. */
const SYSTEM = [
  ...['busybox-static', 'libc6', 'libgcc-s1', 'libstdc++6'],
  ...[
    'mount',
    'util-linux',
    'libmount1',
    'libblkid1',
    'libuuid1',
    'libsmartcols1',
    'libselinux1',
    'libpcre2-8-0',
  ],
  ...['libcap-ng0', 'libcrypt1', 'libtinfo6', 'e2fsprogs', 'libext2fs2', 'libcom-err2', 'libss2'],
  ...['dmsetup', 'libdevmapper1.02.1', 'libudev1'],
];

export interface Unpacked {
  /** What it is made of: another one for other packages. */
  readonly id: string;
  /** Folders as the packages have them. */
  readonly kernel: string;
  readonly system: string;
}

/** The packages, from the cache if they are there. Throws with what apt-get said. */
export function debianPackages(): Unpacked {
  const kernel = shell(
    `apt-cache depends ${KERNEL} | sed -n 's/^  Depends: \\(linux-image-[0-9].*\\)/\\1/p'`,
  ).trim();
  if (kernel === '') throw new Error(`apt knows no ${KERNEL}: run apt-get update`);
  const names = [kernel, ...SYSTEM];
  // A line for each: its address, file and hash.
  const listed = shell('apt-get download -qq --print-uris -- "$@"', ...names);
  const id = createHash('sha256').update(listed).digest('hex').slice(0, 16);
  const folder = made(`debian-${id}`, (to) => {
    const files = join(to, 'files');
    for (const part of ['files', 'kernel', 'system']) mkdirSync(join(to, part));
    shell('cd "$1"; shift; apt-get download -qq -o APT::Sandbox::User=root -- "$@"', files, ...names);
    for (const file of readdirSync(files).sort()) {
      const part = file.startsWith('linux-image-') ? 'kernel' : 'system';
      shell('dpkg-deb --extract "$1" "$2"', join(files, file), join(to, part));
    }
    shell('rm -r "$1"', files);
  });
  return { id, kernel: join(folder, 'kernel'), system: join(folder, 'system') };
}
