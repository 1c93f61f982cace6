/**
 * The qrexec policy that is installed in dom0. Qubes OS consults none for calls from dom0; we ask before each, so that its owner
 * can forbid us a VM, and obey a deny.
 */

import { BackupError } from '../../../shared/errors.ts';
import { evaluatePolicy } from '../policy.ts';
import type { PolicyVm } from '../policy.ts';
import { QUBES_POLICY, loadPolicyOf } from '../policy-loader.ts';
import type { PolicyFolders } from '../policy-loader.ts';
import type { ToolAsker } from './tools/tools.ts';

/** A call from dom0. */
export interface CallFromDom0 {
  readonly service: string;
  /** Empty for none. */
  readonly argument: string;
  readonly target: string;
  /** What policy may ask about the target. */
  readonly vm: PolicyVm;
}

export class InstalledPolicy {
  readonly #tools: ToolAsker;
  readonly #folders: PolicyFolders;

  constructor(tools: ToolAsker, folders: PolicyFolders = QUBES_POLICY) {
    this.#tools = tools;
    this.#folders = folders;
  }

  /** Throws `policy-denied` unless the call is allowed, to this very target. `ask` is a deny: there may be nobody to ask. */
  async check({ service, argument, target, vm }: CallFromDom0): Promise<void> {
    const args = ['--just-evaluate', 'dom0', target, `${service}+${argument}`];
    const answer = await this.#tools.ask('qrexec-policy-exec', args, { subject: `VM ${target}` });
    if (answer === false)
      throw new BackupError(
        'policy-denied',
        `the policy denies ${service} to ${target}: see 30-qubes-backup.policy, and what comes before it, in /etc/qubes/policy.d`,
      );
    if (answer === undefined) await this.#evaluate({ service, argument, target, vm });
  }

  /** Where the system's own evaluator is not there, or does not work. */
  async #evaluate({ service, argument, target, vm }: CallFromDom0): Promise<void> {
    const rules = await loadPolicyOf(this.#folders);
    const request = { service, argument, source: 'dom0', target };
    const permission = evaluatePolicy(rules, request, (name) => (name === target ? vm : undefined));
    if (permission.target !== target)
      throw new BackupError(
        'policy-denied',
        `${permission.where} sends ${service} for ${target} to ${permission.target}: a backup goes where it was asked to, or nowhere`,
      );
  }
}
