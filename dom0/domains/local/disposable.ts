/** A disposable of the local driver: every call is a process in a sandbox of the same content. */

import { BackupError } from '../../../shared/errors.ts';
import type { Volume } from '../../../shared/protocol/disposable.ts';
import type { Disposable, ServiceCall } from '../domains.ts';
import type { CallTarget, Qrexec } from './qrexec.ts';

export class LocalDisposable implements Disposable {
  readonly name: string;
  readonly attached: Volume | undefined;
  readonly #target: CallTarget;
  readonly #qrexec: Qrexec;
  readonly #remove: () => Promise<void>;
  readonly #calls = new Set<ServiceCall>();
  #starting = new Set<Promise<ServiceCall>>();
  #destroyed: Promise<void> | undefined;

  /** `attached`: see Disposable. `remove` removes what it had on this machine. */
  constructor(target: CallTarget, attached: Volume | undefined, qrexec: Qrexec, remove: () => Promise<void>) {
    this.name = target.name;
    this.attached = attached;
    this.#target = target;
    this.#qrexec = qrexec;
    this.#remove = remove;
  }

  async call(service: string): Promise<ServiceCall> {
    if (this.#destroyed !== undefined) throw new BackupError('internal', `${this.name} is destroyed already`);
    const starting = this.#qrexec.call(this.#target, service);
    this.#starting.add(starting);
    try {
      const call = await starting;
      this.#calls.add(call);
      return call;
    } finally {
      this.#starting.delete(starting);
    }
  }

  destroy(): Promise<void> {
    this.#destroyed ??= this.#destroy();
    return this.#destroyed;
  }

  async #destroy(): Promise<void> {
    await Promise.allSettled(this.#starting); // A call on its way is ended as well.
    for (const call of this.#calls) call.kill();
    await Promise.all([...this.#calls].map((call) => call.exited));
    await this.#remove();
  }
}
