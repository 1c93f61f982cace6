/** A disposable of the local driver: every call is a process in a sandbox of the same content. */

import { BackupError } from '../../../shared/errors.ts';
import type { Volume } from '../../../shared/protocol/disposable.ts';
import type { Disposable, ServiceCall } from '../domains.ts';

export class LocalDisposable implements Disposable {
  readonly name: string;
  readonly attached: Volume | undefined;
  readonly #start: (service: string) => Promise<ServiceCall>;
  readonly #remove: () => Promise<void>;
  readonly #calls = new Set<ServiceCall>();
  #starting = new Set<Promise<ServiceCall>>();
  #destroyed: Promise<void> | undefined;

  /** `attached`: see Disposable. `start` runs a service in it, `remove` removes what it had on this machine. */
  constructor(
    name: string,
    attached: Volume | undefined,
    start: (service: string) => Promise<ServiceCall>,
    remove: () => Promise<void>,
  ) {
    this.name = name;
    this.attached = attached;
    this.#start = start;
    this.#remove = remove;
  }

  async call(service: string): Promise<ServiceCall> {
    if (this.#destroyed !== undefined) throw new BackupError('internal', `${this.name} is destroyed already`);
    const starting = this.#start(service);
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
