/**
 * A guest under QEMU: Debian's kernel on disks that are this machine's files, one port to its agent, and nothing else. QEMU itself
 * runs without privileges, under its seccomp filter, in the sandbox of the local driver, in which there are those files and no
 * network; it dies with this process.
 */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { BackupError } from '../../shared/errors.ts';
import { printableText } from '../../shared/format.ts';
import { TOOL_ENVIRONMENT, killGroup, spawnDetached } from '../../dom0/domains/child.ts';
import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Sandboxes } from '../../dom0/domains/local/sandbox.ts';
import { Channel } from './channel.ts';
import type { Request } from './channel.ts';
import type { Image } from './image-files.ts';
import { serviceCall } from './service-call.ts';

/** A file of this machine as a disk of a guest. */
export interface Drive {
  readonly file: string;
  /** By which the guest knows it; see guest/init.sh. */
  readonly serial: 'private' | 'volume';
  /** `copy`: what the guest writes goes to a file in `scratch`, and is gone with it. */
  readonly access: 'read' | 'write' | 'copy';
}

export interface GuestOptions {
  readonly name: string;
  readonly image: Image;
  readonly sandboxes: Sandboxes;
  readonly drives: readonly Drive[];
  /** An existing folder of this guest alone. */
  readonly scratch: string;
}

/** MiB. A disposable of Qubes OS starts with as much. */
const MEMORY = 400;
/** Milliseconds; on a busy machine, and without virtualization. */
const BOOT_TIMEOUT = 180_000;
const SHUTDOWN_TIMEOUT = 60_000;
/** Characters of the console that are kept. */
const CONSOLE = 4096;
/** Bytes of the sandbox's /tmp. */
const TMP_SIZE = 1024 * 1024;

export class Guest {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #channel: Channel;
  readonly #ended: Promise<void>;
  #console = '';

  private constructor(name: string, { child, stdin, stdout, stderr }: ReturnType<typeof spawnDetached>) {
    this.name = name;
    this.#child = child;
    this.#channel = new Channel(stdout, stdin);
    stderr.on('data', (bytes: Buffer) => {
      this.#console = (this.#console + bytes.toString('latin1')).slice(-CONSOLE);
    });
    this.#ended = new Promise((resolve) => {
      child.once('error', () => resolve());
      child.once('exit', () => resolve());
    });
  }

  /** Boots one and waits for its agent. Throws `io` with the end of its console. */
  static async start(options: GuestOptions): Promise<Guest> {
    const { name, image, sandboxes, drives, scratch } = options;
    const files = [image.kernel, image.initramfs, image.root];
    const command = await sandboxes.command({
      hostname: name,
      binds: [
        ...files.map((file) => ({ source: file, target: file, writable: false })),
        ...drives.map(({ file, access }) => ({ source: file, target: file, writable: access === 'write' })),
        { source: scratch, target: scratch, writable: true },
      ],
      tmpfs: [{ target: '/tmp', size: TMP_SIZE }],
      image: undefined,
      capabilities: [],
      network: false,
      environment: { PATH: TOOL_ENVIRONMENT.PATH, TMPDIR: scratch },
      cwd: '/',
      // The console goes to stderr: stdin and stdout are the port.
      argv: [
        'sh',
        '-c',
        'mkfifo /tmp/console; cat /tmp/console >&2 & exec "$@"',
        'sh',
        ...qemu(image, drives),
      ],
    });
    const guest = new Guest(name, spawnDetached(command, { environment: TOOL_ENVIRONMENT, directory: '/' }));
    const timer = new AbortController();
    const late = delay(BOOT_TIMEOUT, 'it took too long', { signal: timer.signal }).catch(() => '');
    const why = await Promise.race([guest.#channel.ready.then(() => undefined), guest.#channel.closed, late]);
    timer.abort();
    if (why === undefined) return guest;
    await guest.kill();
    throw new BackupError('io', `the guest ${name} did not boot (${why}): ${guest.console}`);
  }

  /** The end of what its kernel said, as printable ASCII. */
  get console(): string {
    return printableText(this.#console.trim());
  }

  /** Calls a service of its agent, from dom0. */
  call(service: string, argument = ''): ServiceCall {
    return serviceCall(this.name, this.#channel.call({ service, argument, source: 'dom0' }), service);
  }

  /** {@link call}, for those who hand it on. */
  forward(request: Request) {
    return this.#channel.call(request);
  }

  /** As a person shuts a VM down: what it had written is on its disks. Throws `timeout`; it is killed then. */
  async shutdown(): Promise<void> {
    this.#channel.requestShutdown();
    const timer = new AbortController();
    const late = delay(SHUTDOWN_TIMEOUT, true, { signal: timer.signal }).catch(() => false);
    const isLate = await Promise.race([this.#ended.then(() => false), late]);
    timer.abort();
    await this.kill();
    if (isLate) throw new BackupError('timeout', `the guest ${this.name} did not shut down: ${this.console}`);
  }

  /** As pulling the plug. Idempotent. */
  async kill(): Promise<void> {
    killGroup(this.#child);
    await this.#ended;
    await this.#channel.closed;
  }
}

/** Statuses above stand for signals. */
export const SIGNALLED = 128 + constants.signals.SIGKILL;

function qemu({ kernel, initramfs, root }: Image, drives: readonly Drive[]): readonly string[] {
  return [
    ...[
      'qemu-system-x86_64',
      '-accel',
      'tcg',
      '-M',
      'q35',
      '-cpu',
      'qemu64',
      '-smp',
      '1',
      '-m',
      String(MEMORY),
    ],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-monitor', 'none', '-no-reboot'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...[
      '-kernel',
      kernel,
      '-initrd',
      initramfs,
      '-append',
      'console=ttyS0 quiet panic=-1 oops=panic mitigations=off',
    ],
    ...['-serial', 'file:/tmp/console'],
    ...['-chardev', 'stdio,id=port,signal=off', '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=port,name=org.qubes-backup.lab'],
    ...disk(root, 'root', 'readonly=on'),
    ...drives.flatMap(({ file, serial, access }) => disk(file, serial, OPTIONS[access])),
  ];
}

const OPTIONS: Readonly<Record<Drive['access'], string>> = {
  read: 'readonly=on',
  write: 'readonly=off',
  copy: 'snapshot=on',
};

/** A full disk of this machine is an error to the guest, which else would stand still. */
function disk(file: string, serial: string, option: string): readonly string[] {
  const path = file.replaceAll(',', ',,');
  return [
    ...[
      '-drive',
      `if=none,id=${serial},format=raw,werror=report,rerror=report,discard=unmap,${option},file=${path}`,
    ],
    ...['-device', `virtio-blk-pci,drive=${serial},serial=${serial}`],
  ];
}
