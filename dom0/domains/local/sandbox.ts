/** Picks the sandbox that this machine can build, and makes the command line of a sandboxed process. */

import { execFile } from 'node:child_process';
import { lstat, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { BackupError, messageOf, systemCode } from '../../../shared/errors.ts';
import { printableText } from '../../../shared/format.ts';
import { script } from '../../program.ts';
import { TOOL_ENVIRONMENT } from '../child.ts';
import { bubblewrapCommand } from './bubblewrap.ts';
import type { Base, Machine, SandboxMode, SandboxSpec } from './sandbox-spec.ts';
import { unshareCommand } from './unshare.ts';

/** Milliseconds that the trial of a sandbox may take. */
const TRIAL_TIMEOUT = 30_000;

/** What can be asked for: `auto` is bubblewrap where it works, else unshare. */
export type SandboxChoice = SandboxMode | 'auto';

/** The sandboxes of one driver. The trial runs once, at the first use. */
export class Sandboxes {
  readonly #choice: SandboxChoice;
  readonly #mountPoint: string;
  #ready: Promise<{ mode: SandboxMode; machine: Machine }> | undefined;

  /** `mountPoint`: an empty directory of dom0's, used by `unshare`. */
  constructor(choice: SandboxChoice, mountPoint: string) {
    this.#choice = choice;
    this.#mountPoint = mountPoint;
  }

  /** The mode in use. Throws `sandbox` if none of what was asked for works here. */
  async mode(): Promise<SandboxMode> {
    return (await this.#prepare()).mode;
  }

  /** The command line that runs `spec`. Throws `sandbox`. */
  async command(spec: SandboxSpec): Promise<readonly [string, ...string[]]> {
    const { mode, machine } = await this.#prepare();
    return endingWithDom0(sandboxCommand(mode, spec, machine));
  }

  #prepare(): Promise<{ mode: SandboxMode; machine: Machine }> {
    this.#ready ??= choose(this.#choice, this.#mountPoint);
    return this.#ready;
  }
}

async function choose(
  choice: SandboxChoice,
  mountPoint: string,
): Promise<{ mode: SandboxMode; machine: Machine }> {
  const machine: Machine = { isRoot: process.getuid?.() === 0, mountPoint, base: await readBase() };
  if (choice === 'none') return { mode: choice, machine };
  const failures: string[] = [];
  for (const mode of choice === 'auto' ? (['bubblewrap', 'unshare'] as const) : [choice]) {
    const failure = await trial(mode, machine);
    if (failure === undefined) return { mode, machine };
    failures.push(`${mode}: ${failure}`);
  }
  throw new BackupError(
    'sandbox',
    `no sandbox can be built on this machine (${failures.join('; ')}). Install bubblewrap, ` +
      (machine.isRoot
        ? 'allow namespaces in the container you are in, '
        : 'allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or ' +
          'kernel.apparmor_restrict_unprivileged_userns), run as root, ') +
      'or accept that each service sees the whole machine: --sandbox none',
  );
}

/** Builds an empty sandbox; answers why that failed. */
async function trial(mode: SandboxMode, machine: Machine): Promise<string | undefined> {
  const spec: SandboxSpec = {
    hostname: 'trial',
    binds: [],
    tmpfs: [{ target: '/tmp', size: 65_536 }],
    image: undefined,
    capabilities: ['dac_override'],
    network: false,
    environment: {},
    cwd: '/',
    argv: ['true'],
  };
  const [program = '', ...args] = sandboxCommand(mode, spec, machine);
  try {
    await promisify(execFile)(program, args, { env: TOOL_ENVIRONMENT, timeout: TRIAL_TIMEOUT });
    return undefined;
  } catch (error) {
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    return printableText(stderr || messageOf(error)).slice(0, 200);
  }
}

/** The program and arguments that run `spec`. To be run with TOOL_ENVIRONMENT. */
function sandboxCommand(mode: SandboxMode, spec: SandboxSpec, machine: Machine): readonly string[] {
  const environment = Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`);
  const inner = ['/usr/bin/env', '-i', ...environment, ...spec.argv];
  if (mode === 'none') return inner;
  const render = mode === 'bubblewrap' ? bubblewrapCommand : unshareCommand;
  // Root's groups would count in its sandbox; a user's namespace makes them powerless.
  const withoutGroups = machine.isRoot ? ['setpriv', '--clear-groups', '--'] : [];
  return [...withoutGroups, ...withImage(spec, render(spec, inner, machine))];
}

/** `command`, to be started as the leader of a process group; all of the group ends when dom0 does. */
function endingWithDom0(command: readonly string[]): [string, ...string[]] {
  const whenDom0Ends = ['setpriv', '--pdeathsig', 'TERM', '--'] as const;
  return [...whenDom0Ends, '/bin/sh', script('with-dom0.sh'), ...command];
}

function withImage(spec: SandboxSpec, command: readonly string[]): readonly string[] {
  if (spec.image === undefined) return command;
  const { file, fileSystem, mountPoint, writable } = spec.image;
  return [
    ...[
      'unshare',
      '--mount',
      '--',
      '/bin/sh',
      script('with-image.sh'),
      file,
      fileSystem,
      mountPoint,
      writable ? 'rw' : 'ro',
    ],
    ...['setpriv', '--pdeathsig', 'KILL', '--'],
    ...command,
  ];
}

/** How /usr is completed on this machine. */
async function readBase(): Promise<Base> {
  const links: { text: string; target: string }[] = [];
  const folders: string[] = ['/usr'];
  for (const path of ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/etc/ld.so.cache']) {
    try {
      if ((await lstat(path)).isSymbolicLink()) links.push({ text: await readlink(path), target: path });
      else folders.push(path);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error; // No machine has all of them.
    }
  }
  return { links, folders };
}
