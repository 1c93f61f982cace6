/** Images with file systems for tests: made, filled and looked at with the machine's own tools. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem } from '../../dom0/domains/local/file-system.ts';
import { namespaces, program, root } from './needs.ts';
import type { Missing } from './needs.ts';

const MiB = 1024 * 1024;

interface Kind {
  /** Bytes of the smallest that the tool makes. */
  readonly size: number;
  readonly make: string;
  /** Mount options that leave the journal alone. */
  readonly withoutReplay: string;
  /** Options under which nothing is written out by time. */
  readonly lazy: string;
  /** Ends with 0 for a clean, sound file system. */
  readonly check: string;
}

export const KINDS: Readonly<Record<FileSystem, Kind>> = {
  ext4: {
    size: 16 * MiB,
    make: 'mkfs.ext4 -qF',
    withoutReplay: 'ro,noload',
    lazy: 'commit=300',
    check: 'e2fsck -fn',
  },
  xfs: {
    size: 300 * MiB,
    make: 'mkfs.xfs -qf',
    withoutReplay: 'ro,norecovery,nouuid',
    lazy: 'nouuid',
    check: 'xfs_repair -n',
  },
  btrfs: {
    size: 128 * MiB,
    make: 'mkfs.btrfs -qf',
    withoutReplay: 'ro,rescue=nologreplay',
    lazy: 'commit=300',
    check: 'btrfs check --readonly',
  },
};

/** Runs `script` with `args`; answers its output. Throws with what it said on stderr. */
export function shell(script: string, ...args: readonly string[]): string {
  const ended = spawnSync('/bin/sh', ['-euc', script, 'sh', ...args], {
    encoding: 'utf8',
    maxBuffer: 64 * MiB,
  });
  if (ended.status !== 0) throw new Error(`${script}: ${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}

export function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Why images of this kind cannot be made and mounted here: loop devices need more than root in some containers. */
export function mountable(kind: FileSystem): Missing {
  const tool = root ?? namespaces() ?? program(KINDS[kind].make.split(' ')[0] ?? '');
  if (tool !== undefined) return tool;
  if (spawnSync('losetup', ['-f'], { stdio: 'ignore' }).status !== 0) return 'no loop devices here';
  const known = readFileSync('/proc/filesystems', 'utf8').includes(`\t${kind}\n`);
  const loaded = known || spawnSync('modprobe', ['-q', kind], { stdio: 'ignore' }).status === 0;
  return loaded ? undefined : `the kernel has no ${kind}`;
}

/** An empty file system in a sparse file. `options` are of its mkfs. */
export function makeImage(path: string, kind: FileSystem, options = '', size = KINDS[kind].size): void {
  shell(`truncate --size ${size} "$1"; ${KINDS[kind].make} ${options} "$1" >/dev/null`, path);
}

/** Runs `script` with the image mounted on "$1" in a mount namespace of its own, and unmounts it. */
export function withMounted(image: string, options: string, script: string, ...args: string[]): string {
  const mount = `${image}.mount`;
  mkdirSync(mount);
  try {
    const inside =
      'mount -o "loop,$3" "$1" "$2"; mount=$2 script=$4; shift 4; set -- "$mount" "$@"; eval "$script"; umount "$mount"';
    return shell('unshare --mount sh -euc "$@"', inside, 'sh', image, mount, options, script, ...args);
  } finally {
    rmdirSync(mount);
  }
}

/**
 * An ext4 image with `files` whose journal holds newer content, of one block, of some: `newer`. Needs no privilege.
 */
export function makeDirtyExt4(
  path: string,
  files: Readonly<Record<string, string>>,
  newer: Readonly<Record<string, string>>,
  options = '-b 4096',
): void {
  const block = 4096;
  const folder = `${path}.source`;
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  makeImage(path, 'ext4', `${options} -d ${folder}`);
  const commands = Object.entries(newer).map(([name, content], i) => {
    const place = shell('debugfs -R "blocks /$2" "$1" 2>/dev/null', path, name).trim();
    writeFileSync(
      `${folder}/${i}.block`,
      Buffer.concat([Buffer.from(content), Buffer.alloc(block)]).subarray(0, block),
    );
    return `jw -b ${place} ${folder}/${i}.block`;
  });
  writeFileSync(`${folder}/commands`, ['jo', ...commands, 'jc', ''].join('\n'));
  shell('debugfs -w -f "$2" "$1" >/dev/null 2>&1; rm -r "$3"', path, `${folder}/commands`, folder);
}

/**
 * An image as it is after the power failed under a running VM: `script` runs on the file system mounted on "$1",
 * then the image is copied as it is, mounted. The script fsyncs what must survive; the journal alone has it.
 */
export function makeCrashedImage(path: string, kind: FileSystem, script: string): void {
  const live = `${path}.live`;
  makeImage(live, kind);
  withMounted(live, KINDS[kind].lazy, `${script}\ncp --sparse=always "$2" "$3"`, live, path);
  shell('rm "$1"', live);
}
