/**
 * A session: typed messages over frames, with credit, pings, timeouts and a counted end. The same class serves
 * both ends; the tables of its protocol are swapped.
 *
 * - Reading never stops: credit is taken at once, everything else waits in a queue that credit (bulk, pages) and
 *   MAX_CONTROL_QUEUED (control) bound. So two sides that both write cannot dead-lock.
 * - send() keeps its order; a bulk message or page waits for credit, credit and pings pass it by.
 * - Every failure ends the session, rejects every waiting call with the same error, and names the peer.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { lengthOf } from '../bytes.ts';
import { BackupError, isBackupError } from '../errors.ts';
import { FRAME_COST, IDLE_TIMEOUT, MAX_CONTROL_QUEUED, PING_INTERVAL, SLOWEST } from '../limits.ts';
import { COMMON, FrameReader, HEADER_SIZE, MAGIC, creditFor, decodeFrame, encodeFrame } from './frame.ts';
import type { BulkSpec, FrameSpec, FrameTable, RawFrame, ValueOf } from './frame.ts';
import type { ByteIo } from './io.ts';

/** One message of a direction: `name` tells the type of `value`. */
export type Message<Table extends FrameTable> = {
  [Name in keyof Table & string]: { readonly name: Name; readonly value: ValueOf<Table[Name]> };
}[keyof Table & string];

/** What may be passed to send() for a frame: bulk values also as pieces, to spare a copy. */
export type Sendable<Spec> = Spec extends BulkSpec ? Uint8Array | readonly Uint8Array[] : ValueOf<Spec>;

/** Bytes that are written at once where an answer is owed in time: each piece that goes is a sign that it goes on. */
const PIECE = 128 * 1024;

/** Milliseconds to wait for the last words of a peer that no longer reads. */
const LAST_WORDS = 1_000;

export interface SessionOptions {
  /** How messages name the peer: `vault: qubes.BackupPut`. */
  readonly peer: string;
  /** Bulk bytes the peer may send before anything was received. */
  readonly window: number;
  /** Bulk frames that may wait unread: for whom tiny ones are no honest answer. */
  readonly maxBulkQueued?: number;
  /** Give credit back when receive() hands a message over (default), or only through grant(). */
  readonly autoGrant?: boolean;
  /** Silence after which a waiting receive() or send() gives up, in milliseconds. */
  readonly idleTimeout?: number;
  /**
   * Time after which a waiting receive() or send() gives up whatever signs of life there are, in milliseconds. It begins anew
   * whenever as much has come or gone as SLOWEST allows for it.
   */
  readonly answerTimeout?: number;
}

export class Session<Incoming extends FrameTable, Outgoing extends FrameTable> {
  readonly #io: ByteIo;
  readonly #outgoing: Outgoing;
  readonly #options: SessionOptions;
  readonly #reader: FrameReader;
  readonly #queue: RawFrame[] = [];
  readonly #ping: NodeJS.Timeout;
  #controlQueued = 0;
  #bulkQueued = 0;
  #peerMaySend = 0;
  #credit = 0;
  #heard = performance.now();
  /** When enough bytes of payloads had last come or gone, and how many there were since. */
  #progressed = 0;
  #moved = 0;
  #received = { frames: 0, bytes: 0 };
  #sent = { frames: 0, bytes: 0 };
  #peerEnded = false;
  #pumpDone = false;
  #finished = false;
  #failure: BackupError | undefined;
  #waiters = new Set<() => void>();
  readonly #pumping: Promise<void>;
  #order: Promise<void> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  constructor(io: ByteIo, tables: { incoming: Incoming; outgoing: Outgoing }, options: SessionOptions) {
    this.#io = io;
    this.#outgoing = tables.outgoing;
    this.#options = options;
    this.#reader = new FrameReader(io, tables.incoming, {
      admit: (spec, length) => this.#admit(spec, length),
      onBytes: (ofPayload) => {
        this.#heard = performance.now();
        this.#move(ofPayload);
      },
    });
    this.#ping = setInterval(() => {
      this.#sendNow(COMMON.ping, {}).catch((error: unknown) => this.fail(error));
    }, PING_INTERVAL);
    this.#ping.unref();
    this.#write([MAGIC]).catch((error: unknown) => this.fail(error));
    if (options.window > 0) this.grant(options.window);
    this.#pumping = this.#pump();
  }

  /** Sends one message. Resolves when it is written; rejects when the session failed. */
  send<Name extends keyof Outgoing & string>(name: Name, value: Sendable<Outgoing[Name]>): Promise<void> {
    const spec = this.#outgoing[name];
    if (spec === undefined) throw new BackupError('internal', `no frame ${name} in this direction`);
    const turn = this.#order.then(async () => {
      const pieces = encodeFrame(spec, value);
      if (spec.form !== 'control') await this.#spend(lengthOf(pieces) - HEADER_SIZE);
      await this.#patiently(this.#sendPieces(pieces));
    });
    this.#order = turn.catch(() => undefined); // The failure reaches the caller through `turn`.
    return turn;
  }

  /** The next message, or undefined after the peer's final frame. Rejects on failure or silence. */
  async receive(): Promise<Message<Incoming> | undefined> {
    await this.#until(() => this.#queue.length > 0 || this.#peerEnded);
    const frame = this.#queue.shift();
    if (frame === undefined) return undefined;
    if (frame.spec.form === 'control') this.#controlQueued -= frame.payload.length + FRAME_COST;
    else {
      this.#bulkQueued -= 1;
      if (this.#options.autoGrant ?? true) this.grant(creditFor(frame.payload.length));
    }
    try {
      return { name: frame.name, value: decodeFrame(frame) } as Message<Incoming>;
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Takes back the memory of a received bulk value that nobody will look at again. */
  giveBack(value: Uint8Array): void {
    this.#reader.memory.giveBack(value);
  }

  /** True if receive() would answer without waiting. */
  get pending(): boolean {
    return this.#queue.length > 0 || this.#peerEnded || this.#failure !== undefined;
  }

  /** How the session failed, if it did. receive() first hands over what came before. */
  get failure(): BackupError | undefined {
    return this.#failure;
  }

  /** Lets the peer send `bytes` more of bulk. */
  grant(bytes: number): void {
    if (bytes === 0 || this.#failure !== undefined) return;
    this.#peerMaySend += bytes;
    this.#sendNow(COMMON.credit, { bytes }).catch((error: unknown) => this.fail(error));
  }

  /** Resolves when nothing more will be read: the peer ended, hung up, or broke the protocol. */
  get closed(): Promise<void> {
    return this.#pumping;
  }

  /** True once {@link closed} resolved. */
  get ended(): boolean {
    return this.#pumpDone;
  }

  /** Sends the final frame. Nothing may be sent afterwards; receiving goes on. */
  async finish(): Promise<void> {
    await this.#order;
    this.#finished = true;
    clearInterval(this.#ping);
    const { frames, bytes } = this.#sent;
    await this.#patiently(this.#write(encodeFrame(COMMON.end, { frames, bytes })));
  }

  /** Waits for the peer's final frame; throws `protocol` if it still had something to say. */
  async drained(): Promise<void> {
    const extra = await this.receive();
    if (extra !== undefined)
      throw this.fail(new BackupError('protocol', `sent ${extra.name} after the work was done`));
  }

  /** Ends the session with `error`, which every waiting and later call gets. Returns the error to throw. */
  fail(error: unknown): BackupError {
    if (this.#failure === undefined) {
      clearInterval(this.#ping);
      const code = isBackupError(error) ? error.code : 'internal';
      const text = error instanceof Error ? error.message : String(error);
      this.#failure = new BackupError(code, `${this.#options.peer} ${text}`, { cause: error });
      this.#wake();
    }
    return this.#failure;
  }

  /** Tells the peer why this side gives up, as far as it still listens. */
  async sendError(code: string, message: string): Promise<void> {
    this.#finished = true;
    clearInterval(this.#ping);
    await this.#write(encodeFrame(COMMON.error, { code, message }));
  }

  async #pump(): Promise<void> {
    try {
      await this.#reader.readMagic();
      while (!this.#peerEnded) this.#accept(await this.#reader.next());
    } catch (error) {
      this.fail(error);
    }
    this.#pumpDone = true;
  }

  #accept(frame: RawFrame): void {
    const spec: FrameSpec = frame.spec;
    if (spec === COMMON.end) {
      const { frames, bytes } = decodeFrame(frame) as ValueOf<typeof COMMON.end>;
      if (frames !== this.#received.frames || bytes !== this.#received.bytes) {
        throw new BackupError('protocol', 'ended with wrong counts: something was lost on the way');
      }
      this.#peerEnded = true;
      this.#wake();
      return;
    }
    this.#received.frames += 1;
    this.#received.bytes += HEADER_SIZE + frame.payload.length;
    if (spec === COMMON.error) {
      const { code, message } = decodeFrame(frame) as ValueOf<typeof COMMON.error>;
      throw new BackupError('service-failed', `reports ${code}: ${message}`);
    }
    if (spec === COMMON.credit) {
      this.#credit += (decodeFrame(frame) as ValueOf<typeof COMMON.credit>).bytes;
      if (this.#credit > Number.MAX_SAFE_INTEGER)
        throw new BackupError('protocol', 'granted impossible credit');
    } else if (spec === COMMON.ping) decodeFrame(frame);
    else this.#queue.push(frame);
    this.#wake();
  }

  #admit(spec: FrameSpec, length: number): void {
    if (spec.form !== 'control') {
      if (creditFor(length) > this.#peerMaySend)
        throw new BackupError('protocol', 'sent more than it was granted');
      this.#peerMaySend -= creditFor(length);
      this.#bulkQueued += 1;
      if (this.#bulkQueued > (this.#options.maxBulkQueued ?? Infinity))
        throw new BackupError('protocol', 'floods with small blobs');
    } else if (spec !== COMMON.ping && spec !== COMMON.credit) {
      this.#controlQueued += length + FRAME_COST;
      if (this.#controlQueued > MAX_CONTROL_QUEUED) throw new BackupError('protocol', 'floods with messages');
    }
  }

  /** Waits until the peer granted a bulk payload of `length` bytes. */
  async #spend(length: number): Promise<void> {
    const cost = creditFor(length);
    await this.#until(() => this.#credit >= cost || this.#peerEnded);
    if (this.#credit < cost)
      throw this.fail(new BackupError('protocol', 'ended without taking what was sent'));
    this.#credit -= cost;
  }

  /** Sends credit or a ping, which pass by what waits. */
  async #sendNow(spec: FrameSpec, value: unknown): Promise<void> {
    if (!this.#finished) await this.#sendPieces(encodeFrame(spec, value));
  }

  async #sendPieces(pieces: readonly Uint8Array[]): Promise<void> {
    if (this.#finished) throw new BackupError('internal', 'sending after the final frame');
    if (this.#failure !== undefined) throw this.#failure;
    this.#sent.frames += 1;
    this.#sent.bytes += lengthOf(pieces);
    await this.#write(pieces);
  }

  #write(pieces: readonly Uint8Array[]): Promise<void> {
    const written = this.#writing.then(() => this.#writeAll(pieces));
    this.#writing = written.catch(() => undefined); // The failure reaches the caller through `written`.
    return written.catch(async (error: unknown) => {
      // What the peer said before it went away explains more than the broken pipe.
      await Promise.race([this.#pumping, delay(LAST_WORDS, undefined, { ref: false })]);
      throw this.fail(error);
    });
  }

  async #writeAll(pieces: readonly Uint8Array[]): Promise<void> {
    const inParts = this.#options.answerTimeout !== undefined && lengthOf(pieces) > PIECE;
    for (const part of inParts ? pieces.flatMap(partsOf) : [pieces]) {
      await this.#io.write(part);
      this.#move(lengthOf(part));
    }
  }

  #move(bytes: number): void {
    const { answerTimeout = Infinity } = this.#options;
    this.#moved += bytes;
    if (this.#moved < (SLOWEST * answerTimeout) / 1000) return;
    this.#moved = 0;
    this.#progressed = performance.now();
  }

  /** Waits for `write`, but no longer than the session lives: a peer that stopped reading fails it. */
  async #patiently(write: Promise<void>): Promise<void> {
    let settled = false;
    const done = () => {
      settled = true;
      this.#wake();
    };
    write.then(done, done);
    await this.#until(() => settled);
    await write;
  }

  /** Waits for `condition`, which may become true only through frames of the peer. */
  async #until(condition: () => boolean): Promise<void> {
    const { idleTimeout = IDLE_TIMEOUT, answerTimeout = Infinity } = this.#options;
    const started = performance.now();
    this.#heard = started;
    while (!condition()) {
      if (this.#failure !== undefined) throw this.#failure;
      const now = performance.now();
      const deadline = Math.max(started, this.#progressed) + answerTimeout;
      if (now >= this.#heard + idleTimeout) throw this.fail(late('said nothing', idleTimeout));
      if (now >= deadline) throw this.fail(late('lives, but did not answer', now - started));
      await this.#change(Math.min(this.#heard + idleTimeout, deadline) - now);
    }
  }

  #change(within: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, within);
      this.#waiters.add(done);
    });
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }
}

/** `piece` in parts of at most PIECE bytes, each to be written by itself. */
function partsOf(piece: Uint8Array): Uint8Array[][] {
  return Array.from({ length: Math.ceil(piece.length / PIECE) }, (_, at) => [
    piece.subarray(at * PIECE, (at + 1) * PIECE),
  ]);
}

function late(what: string, milliseconds: number): BackupError {
  const seconds = Math.round(milliseconds / 1000);
  return new BackupError('timeout', `${what} for ${seconds} s: is that VM paused, or its disk stuck?`);
}
