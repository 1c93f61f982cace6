/** One qubes.BackupPut session: objects out, acknowledgements in. What is acknowledged survives a power cut. */

import { BackupError } from '../../shared/errors.ts';
import type { ObjectId } from '../../shared/ids.ts';
import { ANSWER_TIMEOUT } from '../../shared/limits.ts';
import { put } from '../../shared/protocol/storage.ts';
import { Call } from '../call.ts';
import type { ServiceCall } from '../domains/domains.ts';
import type { SealedObject } from '../seal/object.ts';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class ObjectWriter {
  readonly #call: Call<typeof put.toService, typeof put.toCaller>;
  readonly #waiting = new Map<ObjectId, Waiting>();
  #listening = false;

  constructor(call: ServiceCall) {
    this.#call = new Call(call, put, { window: 0, answerTimeout: ANSWER_TIMEOUT });
  }

  /** Resolves when the storage VM acknowledged `object`. Flow control is the caller's: bound what is unacknowledged. */
  put(object: SealedObject): Promise<void> {
    const acknowledged = new Promise<void>((resolve, reject) =>
      this.#waiting.set(object.id, { resolve, reject }),
    );
    this.#call.session.send('object', object.pieces).catch((error: unknown) => this.#failAll(error));
    if (!this.#listening) void this.#listen();
    return acknowledged;
  }

  async finish(): Promise<void> {
    await this.#call.finish();
  }

  abort(): void {
    this.#call.abort();
  }

  /** Takes acknowledgements while any is owed: silence is only a fault of a peer that owes an answer. */
  async #listen(): Promise<void> {
    this.#listening = true;
    try {
      while (this.#waiting.size > 0) {
        const message = await this.#call.session.receive();
        if (message === undefined)
          throw this.#call.session.fail(new BackupError('protocol', 'ended with objects unacknowledged'));
        for (const { id } of message.value.objects) {
          const [oldest] = this.#waiting.keys(); // A map keeps the order in which they were sent.
          const waiting = this.#waiting.get(id);
          if (waiting === undefined)
            throw this.#call.session.fail(
              new BackupError('protocol', 'acknowledged an object it was not sent'),
            );
          if (id !== oldest)
            throw this.#call.session.fail(new BackupError('protocol', 'acknowledged objects out of order'));
          this.#waiting.delete(id);
          waiting.resolve();
        }
      }
    } catch (error) {
      this.#failAll(error);
    } finally {
      this.#listening = false;
    }
  }

  #failAll(cause: unknown): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    void this.#call.explain(cause).then((error) => {
      for (const { reject } of waiting) reject(error);
    });
  }
}
