/** The calls of a process that are not over. */

import type { ServiceCall } from './domains.ts';

export class RunningCalls {
  readonly #calls = new Set<ServiceCall>();

  /** Keeps `call` in mind until it has ended; answers it. */
  add(call: ServiceCall): ServiceCall {
    this.#calls.add(call);
    void call.exited.then(() => this.#calls.delete(call));
    return call;
  }

  /** Kills all and waits until they are gone. */
  async stopAll(): Promise<void> {
    const calls = [...this.#calls];
    for (const call of calls) call.kill();
    await Promise.all(calls.map((call) => call.exited));
  }
}
