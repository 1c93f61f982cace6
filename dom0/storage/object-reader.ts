/** One qubes.BackupGet session: names out, objects in, in the order asked. Nothing here is verified yet. */

import { BackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { ANSWER_TIMEOUT } from '../../shared/limits.ts';
import { get } from '../../shared/protocol/storage.ts';
import { Call } from '../call.ts';
import type { ServiceCall } from '../domains/domains.ts';

export class ObjectReader {
  readonly #call: Call<typeof get.toService, typeof get.toCaller>;
  #turn: Promise<unknown> = Promise.resolve();

  /** `window`: bytes that may come before they are taken, at least one object. */
  constructor(call: ServiceCall, window: number) {
    this.#call = new Call(call, get, { window, answerTimeout: ANSWER_TIMEOUT });
  }

  /** The untrusted bytes the storage VM has under `id`, or undefined if it has none. Calls may overlap. */
  get(id: ObjectId): Promise<Uint8Array | undefined> {
    return this.#ask(
      () => this.#call.session.send('want', { ids: [id] }),
      (message) => {
        if (message.name === 'object') return message.value;
        if (message.name === 'missing' && message.value.id === id) return undefined;
        throw new BackupError('protocol', `answered ${message.name} when asked for an object`);
      },
    );
  }

  /** Takes back the memory of an object from {@link get}. */
  giveBack(object: Uint8Array): void {
    this.#call.session.giveBack(object);
  }

  /** The untrusted bytes of the current root, or undefined if there is none. */
  root(): Promise<Uint8Array | undefined> {
    return this.#ask(
      () => this.#call.session.send('wantRoot', {}),
      (message) => {
        if (message.name === 'root') return message.value;
        if (message.name === 'noRoot') return undefined;
        throw new BackupError('protocol', `answered ${message.name} when asked for the root`);
      },
    );
  }

  async finish(): Promise<void> {
    await this.#call.finish();
  }

  /** True once nothing more can be asked. */
  get failed(): boolean {
    return this.#call.session.failure !== undefined;
  }

  abort(): void {
    this.#call.abort();
  }

  /** Sends a request at once, and reads its answer after those of all earlier requests. */
  #ask<T>(request: () => Promise<void>, accept: (message: Answer) => T): Promise<T> {
    const sent = request();
    const answer = this.#turn.then(async () => {
      try {
        await sent;
        const message = await this.#call.session.receive();
        if (message === undefined) throw new BackupError('protocol', 'ended before it answered');
        return accept(message);
      } catch (error) {
        throw await this.#call.explain(this.#call.session.fail(error));
      }
    });
    this.#turn = answer.catch(() => undefined); // The failure reaches the caller through `answer`.
    sent.catch(() => undefined); // As above: `answer` awaits it.
    return answer;
  }
}

type Answer = NonNullable<
  Awaited<ReturnType<Call<typeof get.toService, typeof get.toCaller>['session']['receive']>>
>;
