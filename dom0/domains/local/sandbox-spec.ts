/**
 * What a sandbox is, declared once and rendered for bubblewrap or for util-linux `unshare`. It has fresh mount,
 * pid, net, ipc and uts namespaces, a root of its own with a read-only /usr, no network but loopback (but see `network`), no /sys, a
 * read-only /proc of its own, no new privileges, no core dumps, and it dies with the process that started it.
 *
 * Run by root there is no user namespace (it would show foreign owners as 65534): all capabilities but the listed
 * ones are dropped instead. Run by a user there is one, with the user mapped to itself, and the listed
 * capabilities hold inside it only.
 */

import type { FileSystem } from './file-system.ts';

export type SandboxMode = 'bubblewrap' | 'unshare' | 'none';

/**
 * Capabilities as the kernel names them, lower case. CAP_DAC_READ_SEARCH is left out on purpose: with root's,
 * open_by_handle_at(2) opens any file of a file system of which one folder is visible. CAP_DAC_OVERRIDE does not,
 * and on a read-only mount it gives no more.
 */
export type Capability =
  'chown' | 'dac_override' | 'fowner' | 'fsetid' | 'linux_immutable' | 'mknod' | 'setfcap';

/** Something of the machine, at a place in the sandbox. Absolute paths. */
export interface Bind {
  readonly source: string;
  readonly target: string;
  readonly writable: boolean;
}

/** An image to mount on a bind's source. Absolute paths. */
export interface ImageMount {
  readonly file: string;
  readonly fileSystem: FileSystem;
  readonly mountPoint: string;
  readonly writable: boolean;
}

export interface SandboxSpec {
  readonly hostname: string;
  readonly binds: readonly Bind[];
  /** Empty file systems in memory: absolute path and size in bytes. */
  readonly tmpfs: readonly { readonly target: string; readonly size: number }[];
  /** To be mounted before the sandbox is entered. Root only. */
  readonly image: ImageMount | undefined;
  readonly capabilities: readonly Capability[];
  /** Share the machine's network: for a storage VM whose store is elsewhere, and nothing else. */
  readonly network: boolean;
  readonly environment: Readonly<Record<string, string>>;
  /** Working directory in the sandbox. */
  readonly cwd: string;
  readonly argv: readonly [string, ...string[]];
}

/** Devices that a program may expect. */
export const DEVICES = ['null', 'zero', 'full', 'random', 'urandom'] as const;

/** What a renderer must know of the machine. */
export interface Machine {
  readonly isRoot: boolean;
  /** An empty directory of ours that a new root can be mounted on. */
  readonly mountPoint: string;
  /** Top-level folders and links that make /usr complete on this machine. */
  readonly base: Base;
}

/** /bin, /lib and so on: links into /usr on most machines, folders on some. */
export interface Base {
  readonly links: readonly { readonly text: string; readonly target: string }[];
  readonly folders: readonly string[];
}
