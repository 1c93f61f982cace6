/**
 * Where the data lies and where a restore goes, for all programs alike. As root, in mounts of this process alone: the data in memory,
 * so that its cache is warm however the machine treats its own; each restore onto a file system that was just made, as a volume of a
 * VM is. An ext4 that much was deleted from a minute ago makes new files several times slower, whoever makes them.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { remove, tool } from './contender.ts';

/** An identity that stays while the folder does not. */
const UUID = '5a1c7bd0-6a0e-4b6b-9d0e-3a5d2f7c1b84';
/** What a restore needs at most of what the data takes, metadata included. */
const ROOM = 1.5;
/** What a file system has for itself, bytes. */
const OWN = 2 ** 30;

/** One data set. */
export interface Source {
  /** The folder of all VMs of the local driver: `data/private` in it is the data. Restores go to other folders in it. */
  readonly vms: string;
  readonly data: string;
  /** Removes what was restored to `restored` in {@link vms}, and all traces of it. */
  clear(restored: string): void;
  /** Removes the data set. */
  close(): void;
}

export interface Ground {
  /** In words. */
  readonly description: string;
  /** An empty data set that will have so many bytes. */
  source(name: string, bytes: number): Source;
}

/** Runs this program anew with mounts of its own, if it may have some; answers its exit status, or undefined if this is it. */
export function apart(): number | undefined {
  if (process.env['BENCH_APART'] !== undefined || process.getuid?.() !== 0) return undefined;
  if (spawnSync('unshare', ['--mount', 'true']).status !== 0) return undefined;
  const again = ['--mount', '--', process.execPath, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', again, {
    stdio: 'inherit',
    env: { ...process.env, BENCH_APART: '1' },
  });
  return status ?? 1;
}

/** Unmounts all that is mounted below `folder`, as a failure leaves it. */
export function unmountBelow(folder: string): void {
  const mounted = tool('findmnt', '-r', '-n', '-o', 'TARGET').split('\n');
  for (const target of mounted.filter((path) => path.startsWith(`${folder}/`)).reverse())
    tool('umount', '--lazy', target);
}

/** `folder` is empty, and on a disk. */
export function groundIn(folder: string): Ground {
  if (process.env['BENCH_APART'] === undefined)
    return {
      description: 'data and restores in folders of that file system',
      source: (name) => plainSource(join(folder, name)),
    };
  return {
    description: 'data in memory (tmpfs), each restore onto a new ext4',
    source: (name, bytes) => new MountedSource(join(folder, name), bytes),
  };
}

function plainSource(folder: string): Source {
  const vms = join(folder, 'vms');
  const data = join(vms, 'data/private');
  mkdirSync(data, { recursive: true });
  return { vms, data, clear: remove, close: () => remove(folder) };
}

class MountedSource implements Source {
  readonly vms: string;
  readonly data: string;
  readonly #folder: string;
  readonly #memory: string;
  readonly #image: string;
  readonly #bytes: number;

  constructor(folder: string, bytes: number) {
    if (bytes * ROOM > freemem())
      throw new Error(`there is too little memory for data of ${bytes} bytes: take less of it`);
    this.#folder = folder;
    this.#bytes = bytes;
    this.#memory = join(folder, 'memory');
    this.#image = join(folder, 'image');
    this.vms = join(folder, 'vms');
    this.data = join(this.vms, 'data/private');
    for (const made of [folder, this.#memory, this.vms]) mkdirSync(made);
    tool('mount', '-t', 'tmpfs', '-o', `size=${Math.ceil(bytes * ROOM)},mode=755`, 'none', this.#memory);
    this.#mount();
  }

  clear(): void {
    this.#unmount();
    this.#mount();
  }

  close(): void {
    this.#unmount();
    tool('umount', this.#memory);
    rmSync(this.#folder, { recursive: true });
  }

  #mount(): void {
    tool('truncate', '-s', String(Math.ceil(this.#bytes * ROOM) + OWN), this.#image);
    // All of its tables now: the kernel would write them meanwhile.
    tool('mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.#image);
    tool('mount', '-o', 'loop', this.#image, this.vms);
    const device = tool('findmnt', '-n', '-o', 'SOURCE', '--mountpoint', this.vms).trim();
    tool('losetup', '--direct-io=on', device); // Else all of it is in memory twice.
    rmdirSync(join(this.vms, 'lost+found'));
    mkdirSync(this.data, { recursive: true });
    writeFileSync(join(this.vms, 'data/vm.json'), JSON.stringify({ uuid: UUID }));
    tool('mount', '--bind', this.#memory, this.data);
    tool('sync');
  }

  #unmount(): void {
    tool('umount', this.data);
    tool('umount', this.vms);
    rmSync(this.#image);
  }
}
