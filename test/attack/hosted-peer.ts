/**
 * A hostile peer's process that lives on: each call of it is a conversation of its own over the process's stdio, so that
 * ten thousand of them need no ten thousand processes. What a process of its own would tell (its end, its stderr) comes
 * as messages (peer/mux.ts).
 */

import type { ServiceCall } from '../../dom0/domains/domains.ts';
import type { Script } from './peer/attack.ts';
import { MESSAGE, MuxReader, PIECE, muxBytes } from './peer/mux.ts';
import type { MuxMessage } from './peer/mux.ts';

type End = Awaited<ServiceCall['exited']>;

/** stderr kept, as the local driver keeps it. */
const MAX_STDERR = 4096;

/** One conversation as its caller sees it. */
class Hosted {
  readonly number: number;
  readonly unread: Buffer[] = [];
  readonly ended = Promise.withResolvers<End>();
  stderr = '';
  /** It says no more; and it is over altogether. */
  closed = false;
  over = false;
  killed = false;

  constructor(number: number) {
    this.number = number;
  }

  /** The bytes that are there, as far as they fit into `target`. */
  take(target: Uint8Array): number {
    const first = this.unread[0];
    if (first === undefined) return 0;
    const count = first.copy(target);
    if (count === first.length) this.unread.shift();
    else this.unread[0] = first.subarray(count);
    return count;
  }
}

export class HostedPeer {
  readonly #process: ServiceCall;
  readonly #reader = new MuxReader();
  readonly #buffer = Buffer.alloc(64 * 1024);
  #writing: Promise<void> = Promise.resolve();
  #reading: Promise<void> | undefined;
  #current = new Hosted(0);

  constructor(process: ServiceCall) {
    this.#process = process;
  }

  /** Begins a conversation; the one before must have ended. */
  open(script: Script): ServiceCall {
    const hosted = new Hosted(this.#current.number + 1);
    this.#current = hosted;
    void this.#send(MESSAGE.open, hosted, Buffer.from(JSON.stringify(script), 'utf8'));
    const leave = () => {
      void this.#send(MESSAGE.hangUp, hosted, Buffer.alloc(0));
      void this.#drain(hosted);
    };
    return {
      peer: this.#process.peer,
      io: {
        read: (target) => this.#read(hosted, target),
        write: (pieces) => this.#say(hosted, Buffer.concat(pieces)),
      },
      exited: hosted.ended.promise,
      stderr: () => hosted.stderr.replace(/[^\x20-\x7e]/g, '?'),
      hangUp: leave,
      kill: () => {
        hosted.killed = true;
        hosted.unread.length = 0;
        leave();
      },
    };
  }

  /** Settles when the conversation of the last call is over. */
  async idle(): Promise<void> {
    if (this.#current.number > 0) await this.#current.ended.promise;
  }

  async #read(hosted: Hosted, target: Uint8Array): Promise<number> {
    for (;;) {
      const count = hosted.take(target);
      if (count > 0 || hosted.closed) return count;
      await this.#fetch();
    }
  }

  /** Takes what is said after dom0 stopped listening. */
  async #drain(hosted: Hosted): Promise<void> {
    while (!hosted.over) await this.#fetch();
  }

  /** Reads once from the process, however many wait for it. */
  #fetch(): Promise<void> {
    this.#reading ??= this.#fetchOnce().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #fetchOnce(): Promise<void> {
    const count = await this.#process.io.read(this.#buffer);
    if (count === 0) throw new Error(`the hostile peer itself died: ${this.#process.stderr()}`);
    for (const message of this.#reader.take(this.#buffer.subarray(0, count))) this.#accept(message);
  }

  #accept({ kind, conversation, bytes }: MuxMessage): void {
    const hosted = this.#current;
    if (conversation !== hosted.number) return;
    if (kind === MESSAGE.data && !hosted.killed) hosted.unread.push(Buffer.from(bytes));
    else if (kind === MESSAGE.complaint)
      hosted.stderr = (hosted.stderr + bytes.toString('utf8')).slice(0, MAX_STDERR);
    else if (kind === MESSAGE.closed) hosted.closed = true;
    else if (kind === MESSAGE.ended) {
      const ending = bytes.toString('latin1');
      hosted.closed = true;
      hosted.over = true;
      hosted.ended.resolve(
        ending === 'died' ? { code: null, signal: 'SIGKILL' } : { code: Number(ending), signal: null },
      );
    }
  }

  async #say(hosted: Hosted, bytes: Buffer): Promise<void> {
    const sent: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += PIECE)
      sent.push(this.#send(MESSAGE.data, hosted, bytes.subarray(at, at + PIECE)));
    await Promise.all(sent);
  }

  #send(kind: number, { number }: Hosted, bytes: Uint8Array): Promise<void> {
    const sent = this.#writing.then(() => this.#process.io.write([muxBytes(kind, number, bytes)]));
    this.#writing = sent.catch(() => undefined); // The failure reaches the caller through `sent`.
    return sent;
  }
}
