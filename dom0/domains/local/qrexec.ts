/**
 * The qrexec of the local driver: name and policy checks, service look-up, environment, and the service's own
 * process in the sandbox of its VM. Contract: that of a call from dom0 into a VM of Qubes OS.
 */

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupError, systemCode } from '../../../shared/errors.ts';
import { NODE_OPTIONS } from '../../../shared/node-options.ts';
import type { ServiceRole } from '../../../shared/node-options.ts';
import { TOOL_ENVIRONMENT } from '../child.ts';
import { checkCallName } from '../call-name.ts';
import type { ServiceCall } from '../domains.ts';
import { loadPolicy } from '../policy-loader.ts';
import { evaluatePolicy } from '../policy.ts';
import { RunningCalls } from '../running-calls.ts';
import { startService } from '../service-process.ts';
import type { PolicyVm } from '../policy.ts';
import { COMPILE_CACHE, bundledCompileCache, compileCache } from './compile-cache.ts';
import type { Bind, Capability, SandboxSpec } from './sandbox-spec.ts';
import type { Sandboxes } from './sandbox.ts';

/**
 * What runs in a VM: `services/ROLE` and the program's part for it, nothing of the others. A VM of the user's has
 * services of its own on Qubes OS; those that stand in for them here work on a volume, as a disposable does.
 */
const PARTS: Readonly<Record<ServiceRole, string>> = { dvm: 'dvm', storagevm: 'storagevm', vm: 'dvm' };

/** A VM as a target of calls. */
export interface CallTarget {
  readonly name: string;
  readonly role: ServiceRole;
  /** What policy may ask about it. */
  readonly policy: PolicyVm;
  /** What it is handed of the machine; `home` is its home folder on this machine, or undefined for a volatile one. */
  readonly binds: readonly Bind[];
  readonly home: string | undefined;
  /** Where its home is inside, if that is on what it was handed; it need not be there yet. */
  readonly homeWithin?: string;
  readonly image: SandboxSpec['image'];
  readonly capabilities: readonly Capability[];
  /** Whether it has a way to the network; default: no. */
  readonly network?: boolean;
  /** Variables by which it finds its owner's settings where nothing of the machine has another place. */
  readonly config?: Readonly<Record<string, string>>;
}

/** In a sandbox the program is here, and only here. */
const PROGRAM = '/opt/qubes-backup';
const NODE = '/opt/node';
const HOME = '/home/user';
/** Bytes of a sandbox's own /tmp and volatile home. They are memory: nothing large belongs there. */
const TMPFS_SIZE = 64 * 1024 * 1024;

/** What runs the services of a storage VM, with its home in `home`. */
export function storageTarget(name: string, policy: PolicyVm, home: string): CallTarget {
  return { name, role: 'storagevm', policy, binds: [], home, image: undefined, capabilities: [] };
}

export class Qrexec {
  readonly #program: string;
  readonly #policyFolder: string;
  readonly #sandboxes: Sandboxes;
  readonly #running = new RunningCalls();

  /** `program`: the folder with services (dom0/program.ts). */
  constructor(program: string, policyFolder: string, sandboxes: Sandboxes) {
    this.#program = program;
    this.#policyFolder = policyFolder;
    this.#sandboxes = sandboxes;
  }

  /**
   * Calls `service+argument` of `target` from dom0. Throws `usage` (names), `policy-denied`, `service-failed` (no
   * such service) or `sandbox`.
   */
  async call(target: CallTarget, service: string, argument = ''): Promise<ServiceCall> {
    checkCallName(service, argument);
    await requireAllowed(this.#policyFolder, target, service, argument);
    return this.run(target, service, argument);
  }

  /** {@link call} of what is no other VM: policy has nothing to say about a child of dom0. */
  async run(target: CallTarget, service: string, argument = ''): Promise<ServiceCall> {
    const file = await findService(this.#program, target, service, argument);
    const sandboxed = (await this.#sandboxes.mode()) !== 'none';
    const home = sandboxed ? HOME : (target.home ?? '/');
    const program = sandboxed ? PROGRAM : this.#program;
    const spec: SandboxSpec = {
      hostname: target.name,
      binds: [...programBinds(this.#program, target.role, file), ...homeBind(target), ...target.binds],
      tmpfs: (target.home === undefined ? ['/tmp', HOME] : ['/tmp']).map((path) => ({
        target: path,
        size: TMPFS_SIZE,
      })),
      image: target.image,
      capabilities: target.capabilities,
      network: target.network ?? false,
      environment: {
        ...environmentOf(service, argument, target.homeWithin ?? home, sandboxed ? 1 : process.pid),
        ...(sandboxed ? {} : target.config),
        ...compileCache(this.#program, program, cacheOf(target.role, file)),
      },
      cwd: home,
      argv: [
        sandboxed ? NODE : process.execPath,
        ...NODE_OPTIONS[target.role],
        join(program, 'services', target.role, file),
        ...(argument === '' ? [] : [argument]),
      ],
    };
    const command = await this.#sandboxes.command(spec);
    const call = await startService(`${target.name}: ${service}`, command, {
      environment: TOOL_ENVIRONMENT,
      directory: sandboxed ? '/' : home,
    });
    return this.#running.add(call);
  }

  /** Kills every call of this process and waits until they are gone. */
  stopAll(): Promise<void> {
    return this.#running.stopAll();
  }
}

/** Throws `policy-denied` unless the policy in `folder` lets dom0 call the service of `target`. */
export async function requireAllowed(
  folder: string,
  target: Pick<CallTarget, 'name' | 'policy'>,
  service: string,
  argument: string,
): Promise<void> {
  const rules = await loadPolicy(folder);
  const request = { service, argument, source: 'dom0', target: target.name };
  const permission = evaluatePolicy(rules, request, (name) =>
    name === target.name ? target.policy : undefined,
  );
  if (permission.target !== target.name) {
    throw new BackupError(
      'policy-denied',
      `${permission.where} redirects ${service} elsewhere; calls from dom0 are not redirected`,
    );
  }
}

/** What a service's file may end with: in a checkout, and as it is packaged, with all of its code in one folder. */
const SOURCE = '.ts';
const PACKAGED = '.mjs';

/** Where compiled code of the service's file is kept, below the program's folder. */
function cacheOf(role: ServiceRole, file: string): string {
  return file.endsWith(PACKAGED) ? bundledCompileCache(role) : COMPILE_CACHE;
}

/** The name of the service's file: the one for this very argument first. */
async function findService(
  program: string,
  target: CallTarget,
  service: string,
  argument: string,
): Promise<string> {
  const names = [`${service}+${argument}`, service];
  for (const file of names.flatMap((name) => [name + SOURCE, name + PACKAGED])) {
    try {
      await access(join(program, 'services', target.role, file));
      return file;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }
  throw new BackupError(
    'service-failed',
    `${target.name} has no service ${service}: is this program installed there?`,
  );
}

/** Never dom0's part, and never that of another role. */
function programBinds(program: string, role: ServiceRole, file: string): readonly Bind[] {
  const services = join('services', role);
  const rest = file.endsWith(PACKAGED) ? [] : ['package.json', 'node_modules', 'shared', PARTS[role]];
  const binds = [services, ...rest].map((part) => ({
    source: join(program, part),
    target: join(PROGRAM, part),
    writable: false,
  }));
  return [...binds, { source: process.execPath, target: NODE, writable: false }];
}

function homeBind(target: CallTarget): readonly Bind[] {
  return target.home === undefined ? [] : [{ source: target.home, target: HOME, writable: true }];
}

/** Exactly what qrexec and a login give a service. */
function environmentOf(
  service: string,
  argument: string,
  home: string,
  agent: number,
): Readonly<Record<string, string>> {
  return {
    HOME: home,
    USER: 'user',
    PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
    LANG: 'C',
    QREXEC_REMOTE_DOMAIN: 'dom0',
    QREXEC_SERVICE_FULL_NAME: `${service}+${argument}`, // No argument is an empty one.
    QREXEC_SERVICE_ARGUMENT: argument,
    QREXEC_AGENT_PID: String(agent),
    QREXEC_REQUESTED_TARGET_TYPE: '',
  };
}
