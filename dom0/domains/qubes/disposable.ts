/**
 * Disposable VMs for one job on one VM's data (R03). Each is created under a name of ours, so that a run that dies leaves none that
 * nobody knows, and is not one that Qubes has started before (from 4.3 it keeps some). Nothing is attached before it is shown to be
 * halted and without network, and to have dom0's own agent once it runs.
 */

import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { BackupError } from '../../../shared/errors.ts';
import { parseVmName } from '../../../shared/ids.ts';
import type { VmName } from '../../../shared/ids.ts';
import type { Volume } from '../../../shared/protocol/disposable.ts';
import type { Disposable, ServiceCall } from '../domains.ts';
import { RunningCalls } from '../running-calls.ts';
import type { Admin } from './admin/admin.ts';
import type { Agent } from './agent.ts';
import type { Journal, StepKind, Transaction, Undone } from './journal.ts';
import type { QubesCalls } from './service-call.ts';

/** What the shipped policy knows a disposable by. */
export const DISPOSABLE_TAG = 'qubes-backup-disposable';
const NAME = /^qib-disp-[0-9a-f]{8}$/;
const LABEL = 'red';
/** What the policy may ask about one. */
const POLICY = { klass: 'DispVM', tags: [DISPOSABLE_TAG] };

const disposableData = z.strictObject({ name: z.string().regex(NAME), vm: z.string() });
type DisposableData = z.output<typeof disposableData>;

export interface DisposableSettings {
  /** The DVM template it is made of. */
  readonly template: string;
  /** MiB; what the DVM template says if undefined. */
  readonly memory?: number;
  readonly vcpus?: number;
}

export class Disposables {
  readonly #admin: Admin;
  readonly #calls: QubesCalls;
  readonly #journal: Journal;
  readonly #agent: Agent | undefined;
  readonly #kind: StepKind<DisposableData>;

  /** `agent`: what each of them must have; undefined where services are not installed but those of a checkout. */
  constructor(admin: Admin, calls: QubesCalls, journal: Journal, agent?: Agent) {
    this.#agent = agent;
    this.#admin = admin;
    this.#calls = calls;
    this.#journal = journal;
    this.#kind = journal.register({
      name: 'disposable',
      schema: disposableData,
      survivesReboot: true,
      undo: (data) => this.#remove(data),
    });
  }

  /**
   * Creates and starts one for the data of `vm`. `attach` gives it what it works on, once it runs. Throws what Qubes refuses;
   * nothing is left then.
   */
  async start(
    vm: VmName,
    settings: DisposableSettings,
    attach: (disposable: VmName) => Promise<Volume | undefined>,
  ): Promise<Disposable> {
    const name = parseVmName(`qib-disp-${randomBytes(4).toString('hex')}`);
    const transaction = this.#journal.begin();
    await transaction.write(this.#kind, { name, vm });
    try {
      await this.#create(name, settings);
      await this.#prove(vm, name);
      await this.#admin.start(name);
      const timeout = Number((await this.#admin.property(name, 'qrexec_timeout')).value);
      await this.#agent?.ensure({ name, template: settings.template, vm: POLICY, connectTimeout: timeout });
      const attached = await attach(name);
      return new QubesDisposable(name, attached, { calls: this.#calls, timeout, transaction });
    } catch (error) {
      throw await transaction.rollBackAfter(error);
    }
  }

  async #create(name: VmName, { template, memory, vcpus }: DisposableSettings): Promise<void> {
    await this.#admin.create({ klass: 'DispVM', name, label: LABEL, template });
    await this.#admin.setTag(name, DISPOSABLE_TAG);
    await this.#admin.setFeature(name, 'internal', '1');
    // No network, no way to another disposable, and no debris in a backup.
    for (const property of ['netvm', 'default_dispvm']) await this.#admin.setProperty(name, property, '');
    await this.#admin.setProperty(name, 'include_in_backups', 'False');
    if (memory !== undefined) await this.#admin.setProperty(name, 'memory', String(memory));
    if (vcpus !== undefined) await this.#admin.setProperty(name, 'vcpus', String(vcpus));
  }

  /** Believes nothing of what was set: reads it back. */
  async #prove(vm: VmName, name: VmName): Promise<void> {
    const state = await this.#admin.state(name);
    const netvm = (await this.#admin.property(name, 'netvm')).value;
    if (state === 'Halted' && netvm === '') return;
    throw new BackupError(
      'refused',
      `VM ${vm}: the new disposable ${name} ${state === 'Halted' ? `has the network of ${netvm}` : `is ${state} and not halted`}, ` +
        'so it got no data and was removed. Look for what changes new VMs on this machine',
    );
  }

  async #remove({ name, vm }: DisposableData): Promise<Undone> {
    const found = (await this.#admin.list()).find((listed) => listed.name === name);
    if (found === undefined) return { outcome: 'nothing', line: `the disposable ${name} is gone` };
    if (found.class !== 'DispVM')
      return { outcome: 'left', line: `left ${name} alone: it is no disposable of ours` };
    await this.#admin.kill(name);
    await this.#admin.remove(name);
    return { outcome: 'undone', line: `removed the disposable ${name} of VM ${vm}` };
  }
}

class QubesDisposable implements Disposable {
  readonly name: VmName;
  readonly attached: Volume | undefined;
  readonly #calls: QubesCalls;
  readonly #timeout: number;
  readonly #transaction: Transaction;
  readonly #starting = new Set<Promise<ServiceCall>>();
  readonly #running = new RunningCalls();
  #destroyed: Promise<void> | undefined;

  constructor(
    name: VmName,
    attached: Volume | undefined,
    parts: { readonly calls: QubesCalls; readonly timeout: number; readonly transaction: Transaction },
  ) {
    this.name = name;
    this.attached = attached;
    this.#calls = parts.calls;
    this.#timeout = parts.timeout;
    this.#transaction = parts.transaction;
  }

  async call(service: string): Promise<ServiceCall> {
    if (this.#destroyed !== undefined)
      throw new BackupError('internal', `${this.name} was destroyed: it runs nothing any more`);
    const what = { service, argument: '', target: this.name, vm: POLICY };
    const starting = this.#calls.call(what, { connectTimeout: this.#timeout });
    this.#starting.add(starting);
    try {
      return this.#running.add(await starting);
    } finally {
      this.#starting.delete(starting);
    }
  }

  destroy(): Promise<void> {
    return (this.#destroyed ??= this.#destroy());
  }

  async #destroy(): Promise<void> {
    await Promise.allSettled(this.#starting); // A call on its way is ended as well.
    await this.#running.stopAll();
    await this.#transaction.rollBack();
  }
}
