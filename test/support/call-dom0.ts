/**
 * Plays the calls that VMs make of dom0: the shipped policy with lines of the test's before it, then the service as a process of its
 * own, by the contract of qrexec.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { evaluatePolicy } from '../../dom0/domains/policy.ts';
import type { PolicyVm } from '../../dom0/domains/policy.ts';
import { loadPolicyOf } from '../../dom0/domains/policy-loader.ts';
import { isBackupError } from '../../shared/errors.ts';
import { NODE_FLAGS } from './home.ts';
import { COMPILED, PROJECT, outcome, start } from './processes.ts';
import type { Child } from './processes.ts';
import { tempFolder } from './temp.ts';

/** What qrexec itself exits with where the policy refuses. */
const REFUSED = 126;

/** Of the disposables of these tests; all else is an AppVM. */
const policyOf = (name: string): PolicyVm => ({ klass: /^disp\d/.test(name) ? 'DispVM' : 'AppVM', tags: [] });

export interface Ended {
  readonly code: number | null;
  readonly lines: readonly string[];
}

export class Dom0 {
  readonly #home: string;
  readonly #own = tempFolder();

  /** `policy`: lines that its owner has put before ours. */
  constructor(home: string, ...policy: readonly string[]) {
    this.#home = home;
    writeFileSync(join(this.#own, '20-own.policy'), `${policy.join('\n')}\n`);
  }

  /** Starts the call that `vm` makes; undefined if the policy refuses it. */
  async start(vm: string, call: string): Promise<Child | undefined> {
    const [service = '', ...rest] = call.replace(/[^A-Za-z0-9._+-]/g, '_').split('+');
    const argument = rest.join('+');
    try {
      const rules = await loadPolicyOf({ folders: [this.#own, join(PROJECT, 'policies')] });
      evaluatePolicy(rules, { service, argument, source: vm, target: 'dom0' }, policyOf);
    } catch (error) {
      if (isBackupError(error, 'policy-denied')) return undefined;
      throw error;
    }
    const entry = join(PROJECT, 'test/support/request-service.ts');
    return start(process.execPath, [...NODE_FLAGS, '--no-warnings', entry, service, this.#home], {
      cwd: '/',
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        ...COMPILED,
        QREXEC_REMOTE_DOMAIN: vm,
        QREXEC_SERVICE_FULL_NAME: `${service}+${argument}`,
        QREXEC_SERVICE_ARGUMENT: argument,
        QREXEC_REQUESTED_TARGET_TYPE: 'keyword',
        QREXEC_REQUESTED_TARGET_KEYWORD: 'adminvm',
      },
    });
  }

  /** Makes a call with `input` on its stdin, which is then closed. What it says on stderr would reach the VM. */
  async call(vm: string, call: string, input: string | Uint8Array = ''): Promise<Ended> {
    const child = await this.start(vm, call);
    if (child === undefined) return { code: REFUSED, lines: [] };
    child.stdin.end(input);
    return ended(child);
  }
}

/** How a call ended. Fails if it said anything on stderr, or what is not a short answer. */
export async function ended(child: Child): Promise<Ended> {
  const { code, signal, stdout, stderr } = await outcome(child);
  const text = stdout.toString('latin1');
  const shaped = /^(?:ok|busy|refused|failed): [\x20-\x7e]+\n(?:[\x20-\x7e]+\n)*$/.test(text);
  if (stderr !== '' || text.length > 8192 || !shaped || (code === 0) !== text.startsWith('ok: '))
    throw new Error(`not an answer (${signal ?? ''}): ${stderr}${text}`);
  return { code, lines: text.split('\n').slice(0, -1) };
}

/** The form that a client sends. */
export function formOf(snapshot: string, ...paths: readonly string[]): Buffer {
  return Buffer.from(`${[snapshot, ...paths].map((field) => `${field}\0`).join('')}\0`, 'latin1');
}
