/** Calls of services from dom0, by qrexec-client. */

import { checkCallName } from '../call-name.ts';
import { TOOL_ENVIRONMENT } from '../child.ts';
import type { ServiceCall } from '../domains.ts';
import { RunningCalls } from '../running-calls.ts';
import { startService } from '../service-process.ts';
import type { CallFromDom0, InstalledPolicy } from './policy.ts';
import type { ToolFinder } from './tools/tools.ts';

/** Exit statuses that are qrexec's own; no service of ours ends with one. */
const QREXEC_STATUS: Readonly<Record<number, string>> = {
  125: 'qrexec could not run it: see the journal of dom0 and of the VM',
  126: 'the VM refused the call',
  127: 'the service is not installed there: see docs/install-qubes.md',
  255: 'the connection to the VM was lost',
};

export interface CallOptions {
  /** Seconds in which the VM's agent must answer: it may be starting. */
  readonly connectTimeout: number;
  /** As whom it runs, if not as the service itself says. */
  readonly user?: 'root';
  /** Milliseconds; see ServiceCall. */
  readonly idleTimeout?: number;
}

export class QubesCalls {
  readonly #tools: ToolFinder;
  readonly #policy: InstalledPolicy;
  readonly #running = new RunningCalls();

  constructor(tools: ToolFinder, policy: InstalledPolicy) {
    this.#tools = tools;
    this.#policy = policy;
  }

  /** Calls a service of a VM that runs. Throws `usage` (names), `policy-denied`, `io` if there is no qrexec here. */
  async call(what: CallFromDom0, options: CallOptions): Promise<ServiceCall> {
    const { service, argument, target } = what;
    checkCallName(service, argument);
    await this.#policy.check(what);
    const program = await this.#tools.find('qrexec-client', `VM ${target}`);
    const command = [
      program,
      // -T: of its stderr nothing that a terminal obeys comes to dom0. Its stdout is no text, and must come as it is.
      ...['-d', target, '-w', String(options.connectTimeout), '-T'],
      ...['--', `${options.user ?? 'DEFAULT'}:QUBESRPC ${service}+${argument} dom0`],
    ] as const;
    const started = await startService(`${target}: ${service}`, [...command], {
      environment: TOOL_ENVIRONMENT,
      directory: '/',
    });
    return this.#running.add(explained(started, options));
  }

  /** Kills every call of this process and waits until they are gone. */
  stopAll(): Promise<void> {
    return this.#running.stopAll();
  }
}

/** `call`, which says what a status of qrexec's own means. */
function explained(call: ServiceCall, { idleTimeout }: CallOptions): ServiceCall {
  let meaning: string | undefined;
  const exited = call.exited.then((end) => {
    meaning = QREXEC_STATUS[end.code ?? 0];
    return end;
  });
  return {
    ...call,
    ...(idleTimeout === undefined ? {} : { idleTimeout }),
    exited,
    stderr: () => [meaning, call.stderr()].filter((text) => text !== undefined && text !== '').join('; '),
  };
}
