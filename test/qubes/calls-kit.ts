/** VMs whose services can be called through the stand-in for qrexec-client, and a policy that is asked before. */

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { InstalledPolicy } from '../../dom0/domains/qubes/policy.ts';
import { QubesCalls } from '../../dom0/domains/qubes/service-call.ts';
import { Tools } from '../../dom0/domains/qubes/tools/tools.ts';
import { PROJECT, compiledCommand } from '../support/processes.ts';
import { tempFolder } from '../support/temp.ts';

const STAND_IN = join(PROJECT, 'test/qubes/tools/qrexec-client.ts');

/** What calls go through: two programs, and the folder of a policy. */
export interface CallPrograms {
  readonly client: string;
  readonly evaluator: string;
  readonly policy: string;
}

/** Calls as a new process makes them. */
export function callsBy({ client, evaluator, policy }: CallPrograms): QubesCalls {
  const tools = new Tools({ paths: { 'qrexec-client': client, 'qrexec-policy-exec': evaluator } });
  return new QubesCalls(tools, new InstalledPolicy(tools, { folders: [policy] }));
}

export class Callable {
  /** Where the VMs are. */
  readonly folder = tempFolder();
  readonly #policy = tempFolder();
  readonly #evaluator: string;
  readonly programs: CallPrograms;
  readonly calls: QubesCalls;

  /** `machine`: the folder of the other stand-ins, by which VMs have devices. */
  constructor(machine = '') {
    const words = compiledCommand([process.execPath, STAND_IN, this.folder, machine]);
    const client = this.#program('client', `exec ${words} "$@"`);
    this.#evaluator = join(this.#policy, 'evaluator');
    this.programs = { client, evaluator: this.#evaluator, policy: this.#policy };
    this.calls = callsBy(this.programs);
    this.evaluator('exit 0');
    onTestFinished(() => this.calls.stopAll());
  }

  /** What the system's own evaluator does: a shell script. */
  evaluator(script: string): void {
    this.#program('evaluator', script);
  }

  /** Replaces the policy's only file. */
  policy(text: string): void {
    writeFileSync(join(this.#policy, '30-test.policy'), text);
  }

  /** A VM that runs, with services that are shell scripts. */
  vm(name: string, services: Readonly<Record<string, string>>): void {
    mkdirSync(join(this.folder, name, 'home/user'), { recursive: true });
    for (const folder of ['run/qubes-rpc', 'usr/local/etc/qubes-rpc', 'etc/qubes-rpc'])
      mkdirSync(join(this.folder, name, folder), { recursive: true });
    for (const [path, script] of Object.entries(services)) {
      const file = join(this.folder, name, path.includes('/') ? path : `etc/qubes-rpc/${path}`);
      writeFileSync(file, `#!/bin/sh\n${script}\n`);
      chmodSync(file, 0o755);
    }
  }

  /** Command lines that qrexec-client was started with. */
  get seen(): string[] {
    return readFileSync(join(this.folder, 'calls'), 'utf8').trim().split('\n');
  }

  #program(name: string, script: string): string {
    const path = join(this.#policy, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  }
}
