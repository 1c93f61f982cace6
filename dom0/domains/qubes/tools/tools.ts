/**
 * Every program that the Qubes driver can run, in one table, and the one way to run them: by absolute path, without a shell, in a
 * clean environment, for a bounded time. What they say is capped, and shown as printable ASCII. docs/qubes-calls.md is made of this.
 */

import { access, constants } from 'node:fs/promises';
import type * as z from 'zod';
import { byteString, escapeText, utf8 } from '../../../../shared/bytes.ts';
import { BackupError, isBackupError, messageOf } from '../../../../shared/errors.ts';
import { runProgram } from '../../run-program.ts';
import type { ProgramEnd } from '../../run-program.ts';

/** A program that the driver can run. */
export interface Tool {
  /** Where it may be; the first that is there is taken. */
  readonly paths: readonly [string, ...string[]];
  /** The package of dom0 that has it. */
  readonly package: string;
  /** What the driver needs it for. */
  readonly purpose: string;
  /** Its arguments, every form of them; what is in capitals stands for a value. */
  readonly calls: readonly [string, ...string[]];
  /** What a failure means, and what the user can do; full sentences. */
  readonly failure: string;
  /** Milliseconds; undefined of one that is talked with while it runs: that has bounds of its own. */
  readonly timeout: number | undefined;
  /** Whether it works for root only. */
  readonly root: boolean;
}

const SHORT = 60_000;
/** For what qubesd does by scripts of Xen, or the kernel by writing to a slow disk. */
const LONG = 5 * 60_000;

const NOT_SNAPSHOT =
  'Nothing was read of this VM, and its volume is as it was. Look whether the pool has room (`qvm-pool info`), and try again.';
const LEFT = 'What could not be removed stays in the journal, and every later run tries again and names it.';

export const TOOLS = {
  lvs: {
    paths: ['/usr/sbin/lvs', '/sbin/lvs'],
    package: 'lvm2',
    purpose: 'to see which logical volumes there are, whose they are and which are in use',
    calls: ['--reportformat json -o lv_name,lv_tags,lv_device_open GROUP'],
    failure: `The volume group of the pool cannot be read: look at it with \`sudo lvs\`. ${LEFT}`,
    timeout: SHORT,
    root: true,
  },
  lvcreate: {
    paths: ['/usr/sbin/lvcreate', '/sbin/lvcreate'],
    package: 'lvm2',
    purpose: 'to take a snapshot of a volume in an LVM thin pool',
    calls: ['-s -kn -ay --addtag qubes-backup -n qib-ID GROUP/VOLUME'],
    failure: NOT_SNAPSHOT,
    timeout: LONG,
    root: true,
  },
  lvremove: {
    paths: ['/usr/sbin/lvremove', '/sbin/lvremove'],
    package: 'lvm2',
    purpose: 'to remove such a snapshot',
    calls: ['--yes -- GROUP/qib-ID'],
    failure: LEFT,
    timeout: LONG,
    root: true,
  },
  zfs: {
    paths: ['/usr/sbin/zfs', '/sbin/zfs'],
    package: 'zfs',
    purpose: 'to take a snapshot of a volume in a ZFS pool and clone it, and to remove both',
    calls: [
      'list -H -t snapshot -o name -s creation -d 1 VOLUME',
      'list -H -t volume,snapshot -o name,qubes-backup:made -r CONTAINER',
      'snapshot -o qubes-backup:made=yes VOLUME@qib-ID',
      'clone -o qubes-backup:made=yes -o com.sun:auto-snapshot=false SNAPSHOT CONTAINER/qib-ID',
      'destroy CONTAINER/qib-ID',
      'destroy VOLUME@qib-ID',
    ],
    failure: `${NOT_SNAPSHOT} ${LEFT}`,
    timeout: LONG,
    root: true,
  },
  cp: {
    paths: ['/usr/bin/cp', '/bin/cp'],
    package: 'coreutils',
    purpose:
      'to copy an image in a pool of files: by reflink, so that the copy shares its blocks, or of a pool without those as a whole',
    calls: [
      '--reflink=always -- IMAGE FOLDER/qib-ID.img',
      '--reflink=auto --sparse=always -- IMAGE FOLDER/qib-ID.img',
    ],
    failure: NOT_SNAPSHOT,
    timeout: LONG,
    root: true,
  },
  losetup: {
    paths: ['/usr/sbin/losetup', '/sbin/losetup'],
    package: 'util-linux',
    purpose:
      'to make a block device of an image or of a volume that Qubes hides, to list such devices, and to detach them',
    calls: [
      '--find --show --read-only -- FILE',
      '--find --show -- FILE',
      '--list --json --output NAME,BACK-FILE',
      '--detach DEVICE',
    ],
    failure: `Look at \`losetup --list\`: devices may be used up. ${LEFT}`,
    timeout: SHORT,
    root: true,
  },
  mount: {
    paths: ['/usr/bin/mount', '/bin/mount'],
    package: 'util-linux',
    purpose:
      'to show an image (the file alone, not what is in it), of a temporary VM or a snapshot, in a folder that Qubes does not hide',
    calls: ['--bind -- IMAGE FOLDER/qib-ID.img'],
    failure: 'Nothing was read or written of this VM. Try again.',
    timeout: SHORT,
    root: true,
  },
  umount: {
    paths: ['/usr/bin/umount', '/bin/umount'],
    package: 'util-linux',
    purpose: 'to end that',
    calls: ['-- FOLDER/qib-ID.img'],
    failure: LEFT,
    timeout: SHORT,
    root: true,
  },
  'qvm-block': {
    paths: ['/usr/bin/qvm-block'],
    package: 'qubes-core-admin-client',
    purpose: 'to attach a block device to a disposable, to see where it is attached, and to detach it',
    calls: [
      'list dom0',
      'attach --ro DISPOSABLE dom0:PORT',
      'attach DISPOSABLE dom0:PORT',
      'detach DISPOSABLE dom0:PORT',
    ],
    failure: `The disposable got no data. See \`qvm-block list\` and the journal of qubesd. ${LEFT}`,
    timeout: LONG,
    root: false,
  },
  runuser: {
    paths: ['/usr/sbin/runuser', '/sbin/runuser'],
    package: 'util-linux',
    purpose: "to give a VM the menus of the one whose place or copy it is, as the user of dom0's desktop",
    calls: ['-u USER -- /usr/bin/qvm-appmenus --init --update --source VM VM'],
    failure:
      'Only menus are concerned: the VM itself is complete. Make them with `qvm-appmenus --init --update VM`, or `qvm-sync-appmenus VM`.',
    timeout: SHORT,
    root: true,
  },
  'qrexec-client': {
    paths: ['/usr/bin/qrexec-client', '/usr/lib/qubes/qrexec-client'],
    package: 'qubes-core-qrexec-dom0',
    purpose:
      'to call a service of a VM, and to unpack the services in a disposable whose template lacks them',
    calls: [
      "-d VM -w SECONDS -T -- 'DEFAULT:QUBESRPC SERVICE+ARGUMENT dom0'",
      "-d DISPOSABLE -w SECONDS -T -- 'root:QUBESRPC qubes.VMExec+tar+--xf+--+--C+-2F dom0'",
    ],
    failure: 'The session with that VM is over, and the run says what it means for the backup.',
    timeout: undefined,
    root: false,
  },
  'qrexec-policy-exec': {
    paths: ['/usr/bin/qrexec-policy-exec', '/usr/lib/qubes/qrexec-policy-exec'],
    package: 'qubes-core-qrexec-dom0',
    purpose: 'to ask the policy before each call, with `--just-evaluate`',
    calls: ['--just-evaluate dom0 VM SERVICE+ARGUMENT'],
    failure: 'Where it is not there or does not work, the files of the policy are read instead.',
    timeout: SHORT,
    root: false,
  },
} as const satisfies Readonly<Record<string, Tool>>;

export type ToolName = keyof typeof TOOLS;
export const TOOL_NAMES = Object.keys(TOOLS) as readonly ToolName[];

export interface RunOptions {
  /** What this is done for, as a message begins: `VM work`. */
  readonly subject: string;
  /** Milliseconds, if not that of the table. */
  readonly timeout?: number;
  /** Bytes of stdout, if not MAX_OUTPUT. */
  readonly maxOutput?: number;
}

/** What runs tools; all that the rest of the driver knows of it. */
export interface ToolRunner {
  /** Runs it to its end; answers its stdout. Throws `io`, `timeout`, `limit`; `usage` if it needs root and this is not. */
  run(tool: ToolName, args: readonly string[], options: RunOptions): Promise<string>;
}

/** What asks tools that answer by their exit status. */
export interface ToolAsker {
  /**
   * True for status 0, false for 1 without a word on stderr; undefined if the tool is not there, or anything else came of it.
   * Throws `timeout`.
   */
  ask(tool: ToolName, args: readonly string[], options: RunOptions): Promise<boolean | undefined>;
}

/** What finds tools that are talked with while they run. */
export interface ToolFinder {
  /** The path of a tool. Throws `io`, `usage`. */
  find(tool: ToolName, subject: string): Promise<string>;
}

/** Bytes of stdout that a tool may write. */
const MAX_OUTPUT = 4 * 1024 * 1024;
/** Characters of a command that an error shows. */
const MAX_SHOWN_COMMAND = 500;

export class Tools implements ToolRunner, ToolAsker, ToolFinder {
  readonly #paths: Readonly<Partial<Record<ToolName, string>>>;

  /** `paths` stand in for programs of the table, in tests. */
  constructor(options: { readonly paths?: Readonly<Partial<Record<ToolName, string>>> } = {}) {
    this.#paths = options.paths ?? {};
  }

  /** See ToolRunner.run. */
  async run(tool: ToolName, args: readonly string[], options: RunOptions): Promise<string> {
    const { subject, timeout = TOOLS[tool].timeout ?? LONG, maxOutput = MAX_OUTPUT } = options;
    const path = await this.find(tool, subject);
    const { end, stderr } = await runProgram([path, ...args], { timeout, maxOutput });
    if (end.kind === 'exited' && end.code === 0) return Buffer.from(end.stdout).toString('utf8');
    const command = shown([tool, ...args].join(' ')).slice(0, MAX_SHOWN_COMMAND);
    const said = stderr === '' ? '' : `: ${stderr}`;
    const code = end.kind === 'timeout' ? 'timeout' : end.kind === 'too-much-output' ? 'limit' : 'io';
    throw new BackupError(
      code,
      `${subject}: \`${command}\` ${describe(end, timeout, maxOutput)}${said}. ${TOOLS[tool].failure}`,
      end.kind === 'not-started' ? { cause: end.cause } : undefined,
    );
  }

  /** See ToolAsker.ask. */
  async ask(tool: ToolName, args: readonly string[], options: RunOptions): Promise<boolean | undefined> {
    const { subject, timeout = TOOLS[tool].timeout ?? LONG, maxOutput = MAX_OUTPUT } = options;
    const path = await this.find(tool, subject).catch(undefinedIfIo);
    if (path === undefined) return undefined;
    const { end, stderr } = await runProgram([path, ...args], { timeout, maxOutput });
    if (end.kind === 'timeout')
      throw new BackupError('timeout', `${subject}: ${tool} ${describe(end, timeout, maxOutput)}`);
    if (end.kind !== 'exited') return undefined;
    if (end.code === 1 && stderr === '') return false;
    return end.code === 0 ? true : undefined;
  }

  /** Where a tool is. For what talks with a running one; everything else calls run(). Throws `io`, `usage`. */
  async find(tool: ToolName, subject: string): Promise<string> {
    const replaced = this.#paths[tool];
    if (replaced !== undefined) return replaced;
    const { paths, package: from, root }: Tool = TOOLS[tool];
    if (root && process.getuid?.() !== 0)
      throw new BackupError('usage', `${subject}: ${tool} works for root only: run this with sudo`);
    for (const path of paths) if (await isExecutable(path)) return path;
    throw new BackupError(
      'io',
      `${subject}: ${tool} is not there (${paths.join(', ')}): install the package ${from} in dom0`,
    );
  }
}

function undefinedIfIo(error: unknown): undefined {
  if (!isBackupError(error, 'io')) throw error;
}

/** What a tool said, as JSON of this shape. Throws `protocol`. */
export function parseOutput<T>(tool: ToolName, subject: string, said: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(said));
  } catch (cause) {
    throw new BackupError(
      'protocol',
      `${subject}: what ${tool} says is not what it says on Qubes OS 4.2 and 4.3. ${TOOLS[tool].failure}`,
      { cause },
    );
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false; // Another place may have it; find() says so if none does.
  }
}

function describe(end: ProgramEnd, timeout: number, maxOutput: number): string {
  switch (end.kind) {
    case 'not-started':
      return `could not be started (${shown(messageOf(end.cause))})`;
    case 'timeout':
      return `did not end within ${timeout / 1000} s and was killed`;
    case 'too-much-output':
      return `wrote more than ${maxOutput} bytes and was killed`;
    case 'exited':
      return end.signal === null
        ? `failed with status ${String(end.code)}`
        : `was killed by ${shown(end.signal)}`;
  }
}

function shown(text: string): string {
  return escapeText(byteString(utf8(text)));
}
