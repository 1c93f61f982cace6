/**
 * One qubes.BackupPut session: objects out, acknowledgements in. What is acknowledged survives a power cut. Of the objects that
 * wait, any is sent next: their order tells storage nothing of the order in which they were made (R07).
 */

import { randomInt } from 'node:crypto';
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
  /** A number from 0 to `count` - 1. */
  readonly #pick: (count: number) => number;
  /** Not sent yet. */
  readonly #unsent: (Waiting & { readonly object: SealedObject })[] = [];
  /** Sent, in that order, which is the order of acknowledgements. */
  readonly #sent: (Waiting & { readonly id: ObjectId })[] = [];
  #sending: Promise<void> | undefined;
  #listening = false;

  constructor(call: ServiceCall, pick: (count: number) => number = (count) => randomInt(count)) {
    this.#call = new Call(call, put, { window: 0, answerTimeout: ANSWER_TIMEOUT });
    this.#pick = pick;
  }

  /** Resolves when the storage VM acknowledged `object`. Flow control is the caller's: bound what is unacknowledged. */
  put(object: SealedObject): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#unsent.push({ object, resolve, reject });
      this.#sending ??= this.#sendAll();
    });
  }

  async finish(): Promise<void> {
    await this.#sending;
    await this.#call.finish();
  }

  /** True once nothing more can be put. */
  get failed(): boolean {
    return this.#call.session.failure !== undefined;
  }

  abort(): void {
    this.#call.abort();
  }

  /** Sends until nothing waits; never rejects. */
  async #sendAll(): Promise<void> {
    try {
      await Promise.resolve(); // What is put in the same moment waits together.
      for (let next = this.#takeAny(); next !== undefined; next = this.#takeAny()) {
        const { object, resolve, reject } = next;
        this.#sent.push({ id: object.id, resolve, reject });
        const written = this.#call.session.send('object', object.pieces);
        if (!this.#listening) void this.#listen();
        await written;
      }
    } catch (error) {
      this.#failAll(error);
    } finally {
      this.#sending = undefined;
    }
  }

  #takeAny() {
    if (this.#unsent.length === 0) return undefined;
    const at = this.#pick(this.#unsent.length);
    const chosen = this.#unsent[at];
    const last = this.#unsent.pop();
    if (last !== undefined && at < this.#unsent.length) this.#unsent[at] = last;
    return chosen;
  }

  /** Takes acknowledgements while any is owed: silence is only a fault of a peer that owes an answer. */
  async #listen(): Promise<void> {
    this.#listening = true;
    try {
      while (this.#sent.length > 0) {
        const message = await this.#call.session.receive();
        if (message === undefined) throw this.#broken('ended with objects unacknowledged');
        for (const { id } of message.value.objects) this.#acknowledge(id);
      }
    } catch (error) {
      this.#failAll(error);
    } finally {
      this.#listening = false;
    }
  }

  #acknowledge(id: ObjectId): void {
    const at = this.#sent.findIndex((sent) => sent.id === id);
    if (at < 0) throw this.#broken('acknowledged an object it was not sent');
    if (at > 0) throw this.#broken('acknowledged objects out of order');
    const [sent] = this.#sent.splice(at, 1);
    sent?.resolve();
  }

  #broken(what: string): BackupError {
    return this.#call.session.fail(new BackupError('protocol', what));
  }

  #failAll(cause: unknown): void {
    const waiting = [...this.#sent.splice(0), ...this.#unsent.splice(0)];
    if (waiting.length === 0) return;
    void this.#call.explain(cause).then((error) => {
      for (const { reject } of waiting) reject(error);
    });
  }
}
