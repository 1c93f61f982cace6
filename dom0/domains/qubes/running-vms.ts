/** VMs that are to run because a service of theirs is called: each is started, and looked at, once a run. */

import type { BackupError } from '../../../shared/errors.ts';
import type { ServiceCall } from '../domains.ts';
import type { PolicyVm } from '../policy.ts';
import { isAdminError } from './admin/admin-error.ts';
import type { Admin } from './admin/admin.ts';
import type { QubesCalls } from './service-call.ts';

/** What a call needs to know of a VM that runs. */
interface RunningVm {
  readonly policy: PolicyVm;
  /** Seconds. */
  readonly connectTimeout: number;
}

export class RunningVms {
  readonly #admin: Admin;
  readonly #calls: QubesCalls;
  readonly #running = new Map<string, Promise<RunningVm>>();

  constructor(admin: Admin, calls: QubesCalls) {
    this.#admin = admin;
    this.#calls = calls;
  }

  /** Calls a service of `vm`, which is started if need be. Throws `missing` if there is no such VM. */
  async call(vm: string, service: string, argument: string, missing: BackupError): Promise<ServiceCall> {
    let running = this.#running.get(vm);
    if (running === undefined) {
      running = this.#start(vm, missing);
      this.#running.set(vm, running);
    }
    try {
      const { policy, connectTimeout } = await running;
      return await this.#calls.call({ service, argument, target: vm, vm: policy }, { connectTimeout });
    } catch (error) {
      this.#running.delete(vm); // The next call looks anew.
      throw error;
    }
  }

  async #start(vm: string, missing: BackupError): Promise<RunningVm> {
    try {
      await this.#admin.start(vm);
      const [tags, klass, timeout] = await Promise.all([
        this.#admin.tags(vm),
        this.#admin.property(vm, 'klass'),
        this.#admin.property(vm, 'qrexec_timeout'),
      ]);
      return { policy: { klass: klass.value, tags }, connectTimeout: Number(timeout.value) };
    } catch (error) {
      throw isAdminError(error, 'QubesVMNotFoundError') ? missing : error;
    }
  }
}
