/**
 * Calls of services over one pair of byte streams, as a host and an agent in a guest have them. Frames: type (1 byte), stream (1),
 * zero (2), call (4), length (4, big endian), payload. Each of a call's three streams has credit of its own: who does not read one
 * holds up nothing but that. What the other side sends is believed only within its limits; beyond them the channel ends, and with it
 * every call, with the status that qrexec has for a lost connection.
 */

import { Readable, Writable, finished } from 'node:stream';
import type { Readable as Input, Writable as Output } from 'node:stream';

/** Bytes of one frame's payload: pieces of qrexec have at most as much. */
const MAX_PIECE = 64 * 1024;
/** Bytes of one stream that may be under way. */
export const WINDOW = 256 * 1024;
/** As qrexec's daemon has them. */
const MAX_CALLS = 256;
/** What a call ends with whose channel is gone. */
const LOST = 255;

const HEADER = 12;
/** Types of frames. */
export const TYPE = {
  ready: 0,
  open: 1,
  data: 2,
  end: 3,
  credit: 4,
  exit: 5,
  abandon: 6,
  shutdown: 7,
} as const;
const STREAM = { stdin: 0, stdout: 1, stderr: 2 } as const;
type StreamNumber = (typeof STREAM)[keyof typeof STREAM];

/** What is called. */
export interface Request {
  readonly service: string;
  readonly argument: string;
  /** The calling VM. */
  readonly source: string;
}

interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly call: number;
  readonly payload: Buffer;
}

/** Of one that concerns no call, or has no payload, the rest is zeros. */
type SentFrame = Partial<Frame> & { readonly type: number };

export function encodeFrame({ type, stream = 0, call = 0, payload = Buffer.alloc(0) }: SentFrame): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(type, 0);
  header.writeUInt8(stream, 1);
  header.writeUInt32BE(call, 4);
  header.writeUInt32BE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

/** One call, as who sent or serves it sees it. */
interface Call {
  readonly incoming: ReadonlyMap<number, Incoming>;
  readonly outgoing: ReadonlyMap<number, Outgoing>;
  readonly ended: (status: number) => void;
  readonly abandoned: () => void;
}

/** The calling side of a call. */
export interface ClientCall {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The status that it ended with; 255 if the channel is gone. Never rejects. */
  readonly exited: Promise<number>;
  /** Takes no further interest in it. As in qrexec, no signal goes to the service: it meets closed descriptors. */
  abandon(): void;
}

/** The serving side of a call. */
export interface ServedCall {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Once stdout and stderr have ended as well, tells the caller. */
  exit(status: number): void;
  /** Settles if nobody is interested any more. */
  readonly abandoned: Promise<void>;
}

export class Channel {
  readonly #output: Output;
  readonly #serve: ((request: Request, call: ServedCall) => void) | undefined;
  readonly #calls = new Map<number, Call>();
  readonly #frames = new Frames();
  #next = 1;
  #open = true;
  #close: (why: string) => void = () => undefined;
  #getReady: () => void = () => undefined;
  #getShutdown: () => void = () => undefined;
  /** Why there is no channel any more. */
  readonly closed = new Promise<string>((resolve) => (this.#close = resolve));
  /** Settles when the other side has said that it serves. */
  readonly ready = new Promise<void>((resolve) => (this.#getReady = resolve));
  /** Settles when the other side asks this one to end. */
  readonly shutdown = new Promise<void>((resolve) => (this.#getShutdown = resolve));

  /** `serve` answers calls of the other side; without it there must be none. */
  constructor(input: Input, output: Output, serve?: (request: Request, call: ServedCall) => void) {
    this.#output = output;
    this.#serve = serve;
    input.on('data', (bytes: Buffer) => this.#receive(bytes));
    for (const event of ['end', 'close'] as const)
      input.on(event, () => this.#fail('the other side is gone'));
    for (const stream of [input, output])
      stream.on('error', (error: Error) => this.#fail(`the other side is gone: ${error.message}`));
  }

  /** Says that this side serves. */
  announce(): void {
    void this.send({ type: TYPE.ready });
  }

  /** Asks the other side to end. */
  requestShutdown(): void {
    void this.send({ type: TYPE.shutdown });
  }

  call(request: Request): ClientCall {
    const call = this.#next++;
    const stdin = new Outgoing(this, call, STREAM.stdin);
    const stdout = new Incoming(this, call, STREAM.stdout);
    const stderr = new Incoming(this, call, STREAM.stderr);
    let ended: (status: number) => void = () => undefined;
    const exited = new Promise<number>((resolve) => (ended = resolve));
    if (this.#open) {
      this.#calls.set(call, {
        incoming: new Map([
          [STREAM.stdout, stdout],
          [STREAM.stderr, stderr],
        ]),
        outgoing: new Map([[STREAM.stdin, stdin]]),
        ended,
        abandoned: () => undefined,
      });
      void this.send({ type: TYPE.open, call, payload: Buffer.from(JSON.stringify(request)) });
    } else endAll([stdout, stderr], [stdin], () => ended(LOST));
    const abandon = () => {
      if (!this.#calls.delete(call)) return;
      stdin.lose();
      void this.send({ type: TYPE.abandon, call });
    };
    return { stdin, stdout, stderr, exited, abandon };
  }

  /** Hands a frame on; settles when the transport has taken it. For the streams of this file. */
  send(frame: SentFrame): Promise<void> {
    if (!this.#open) return Promise.resolve();
    return new Promise((resolve) => this.#output.write(encodeFrame(frame), () => resolve()));
  }

  #receive(bytes: Buffer): void {
    try {
      for (const frame of this.#frames.feed(bytes)) if (this.#open) this.#take(frame);
    } catch (error) {
      if (!(error instanceof ChannelError)) throw error;
      this.#fail(error.message);
    }
  }

  #take(frame: Frame): void {
    const { type, call, payload } = frame;
    if (type === TYPE.ready) this.#getReady();
    else if (type === TYPE.shutdown) this.#getShutdown();
    else if (type === TYPE.open) this.#accept(call, payload);
    else this.#takeOf(frame);
  }

  /** A frame of a call that there is already. */
  #takeOf({ type, call, stream, payload }: Frame): void {
    const known = this.#calls.get(call);
    if (known === undefined) {
      // It was abandoned while this was under way.
      if (this.#serve !== undefined || (call > 0 && call < this.#next)) return;
      throw new ChannelError(`a frame of call ${call}, which there never was`);
    }
    if (type === TYPE.data) taker(known.incoming, stream).accept(payload);
    else if (type === TYPE.end) taker(known.incoming, stream).finish();
    else if (type === TYPE.credit) taker(known.outgoing, stream).grant(creditOf(payload));
    else if (type === TYPE.exit) this.#ended(call, known, payload);
    else if (type === TYPE.abandon && this.#serve !== undefined) this.#abandoned(call, known);
    else throw new ChannelError(`a frame of type ${type}, which there is not`);
  }

  #accept(call: number, payload: Buffer): void {
    if (this.#serve === undefined) throw new ChannelError('a call of a side that may make none');
    if (this.#calls.has(call) || this.#calls.size >= MAX_CALLS)
      throw new ChannelError(`call ${call} cannot be opened`);
    const request = requestOf(payload);
    const stdin = new Incoming(this, call, STREAM.stdin);
    const stdout = new Outgoing(this, call, STREAM.stdout);
    const stderr = new Outgoing(this, call, STREAM.stderr);
    let abandon: () => void = () => undefined;
    const abandoned = new Promise<void>((resolve) => (abandon = resolve));
    const outgoing = new Map([
      [STREAM.stdout, stdout],
      [STREAM.stderr, stderr],
    ] as const);
    const incoming = new Map([[STREAM.stdin, stdin]]);
    this.#calls.set(call, { incoming, outgoing, ended: () => undefined, abandoned: abandon });
    const exit = (status: number) =>
      void Promise.all([stdout.over, stderr.over]).then(() => {
        if (this.#calls.delete(call)) void this.send({ type: TYPE.exit, call, payload: Buffer.of(status) });
        stdin.finish();
      });
    this.#serve(request, { stdin, stdout, stderr, exit, abandoned });
  }

  #ended(call: number, known: Call, payload: Buffer): void {
    const [status] = payload;
    if (this.#serve !== undefined || status === undefined || payload.length !== 1)
      throw new ChannelError('an end that is none');
    this.#calls.delete(call);
    endAll(known.incoming.values(), known.outgoing.values(), () => known.ended(status));
  }

  #abandoned(call: number, known: Call): void {
    this.#calls.delete(call);
    endAll(known.incoming.values(), known.outgoing.values(), known.abandoned);
  }

  #fail(why: string): void {
    if (!this.#open) return;
    this.#open = false;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { incoming, outgoing, ended, abandoned } of calls) {
      endAll(incoming.values(), outgoing.values(), () => ended(LOST));
      abandoned();
    }
    this.#output.destroy();
    this.#close(why);
  }
}

/** Makes of one call another, on another channel. */
export function relay(served: ServedCall, client: ClientCall): void {
  served.stdin.pipe(client.stdin);
  client.stdout.pipe(served.stdout);
  client.stderr.pipe(served.stderr);
  void client.exited.then((status) => served.exit(status));
  void served.abandoned.then(() => client.abandon());
}

class ChannelError extends Error {}

/** Bytes that come: what its reader has taken is granted again. */
class Incoming extends Readable {
  readonly #channel: Channel;
  readonly #call: number;
  readonly #stream: StreamNumber;
  readonly #queue: Buffer[] = [];
  #wanted = false;
  #finished = false;
  /** Bytes that the sender may send, and those that it may send again soon. */
  #credit = WINDOW;
  #due = 0;

  constructor(channel: Channel, call: number, stream: StreamNumber) {
    super({ highWaterMark: MAX_PIECE });
    this.#channel = channel;
    this.#call = call;
    this.#stream = stream;
  }

  accept(bytes: Buffer): void {
    this.#credit -= bytes.length;
    if (this.#credit < 0 || this.#finished) throw new ChannelError('more bytes than were granted');
    if (this.destroyed) {
      this.#grant(bytes.length); // Its reader went away: the rest vanishes.
      return;
    }
    this.#queue.push(bytes);
    this.#feed();
  }

  finish(): void {
    this.#finished = true;
    this.#feed();
  }

  override _read(): void {
    this.#wanted = true;
    this.#feed();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#grant(this.#queue.splice(0).reduce((sum, { length }) => sum + length, 0));
    done(error);
  }

  #feed(): void {
    if (!this.#wanted) return;
    const bytes = this.#queue.shift();
    if (bytes === undefined && !this.#finished) return;
    this.#wanted = false;
    if (bytes !== undefined) this.#grant(bytes.length);
    this.push(bytes ?? null);
  }

  #grant(bytes: number): void {
    this.#due += bytes;
    if (this.#due < WINDOW / 4 || this.#finished) return;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(this.#due);
    this.#credit += this.#due;
    this.#due = 0;
    void this.#channel.send({ type: TYPE.credit, stream: this.#stream, call: this.#call, payload });
  }
}

/** Bytes that go, as far as there is credit. */
class Outgoing extends Writable {
  readonly #channel: Channel;
  readonly #call: number;
  readonly #stream: StreamNumber;
  #credit = WINDOW;
  #lost = false;
  #more: () => void = () => undefined;
  /** Settles when it has ended, or nobody takes it any more. */
  readonly over: Promise<void>;

  constructor(channel: Channel, call: number, stream: StreamNumber) {
    super({ highWaterMark: MAX_PIECE });
    this.#channel = channel;
    this.#call = call;
    this.#stream = stream;
    this.over = new Promise((resolve) => finished(this, () => resolve()));
  }

  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > WINDOW) throw new ChannelError('more credit than there are bytes');
    this.#more();
  }

  /** What is written from now on vanishes, as it does in qrexec when the other side is gone. */
  lose(): void {
    this.#lost = true;
    this.#more();
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    void this.#sendAll(bytes).then(done);
  }

  override _final(done: () => void): void {
    if (!this.#lost) void this.#channel.send({ type: TYPE.end, stream: this.#stream, call: this.#call });
    done();
  }

  async #sendAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#lost;) {
      if (this.#credit === 0) {
        await new Promise<void>((resolve) => (this.#more = resolve));
        continue;
      }
      const payload = bytes.subarray(at, at + Math.min(MAX_PIECE, this.#credit));
      this.#credit -= payload.length;
      at += payload.length;
      await this.#channel.send({ type: TYPE.data, stream: this.#stream, call: this.#call, payload });
    }
  }
}

/** Cuts a stream of bytes into frames. */
class Frames {
  readonly #header = Buffer.alloc(HEADER);
  #have = 0;
  #payload: Buffer | undefined;
  #filled = 0;

  *feed(bytes: Buffer): Generator<Frame, void, undefined> {
    for (let at = 0; at < bytes.length || this.#isComplete();) {
      if (this.#payload === undefined) {
        const taken = bytes.copy(this.#header, this.#have, at, at + HEADER - this.#have);
        at += taken;
        this.#have += taken;
        if (this.#have < HEADER) return;
        this.#payload = Buffer.alloc(this.#length());
        this.#filled = 0;
      }
      at += this.#fill(this.#payload, bytes.subarray(at));
      if (!this.#isComplete()) return;
      const [type, stream, call] = [0, 1, 4].map((place) =>
        place === 4 ? this.#header.readUInt32BE(4) : this.#header.readUInt8(place),
      ) as [number, number, number];
      const payload = this.#payload;
      this.#payload = undefined;
      this.#have = 0;
      yield { type, stream, call, payload };
    }
  }

  #fill(payload: Buffer, bytes: Buffer): number {
    const taken = bytes.copy(payload, this.#filled);
    this.#filled += taken;
    return taken;
  }

  #isComplete(): boolean {
    return this.#payload !== undefined && this.#filled === this.#payload.length;
  }

  #length(): number {
    const length = this.#header.readUInt32BE(8);
    if (length > MAX_PIECE || this.#header.readUInt16BE(2) !== 0)
      throw new ChannelError('a frame that is none');
    return length;
  }
}

function taker<T>(streams: ReadonlyMap<number, T>, stream: number): T {
  const found = streams.get(stream);
  if (found === undefined) throw new ChannelError(`a frame of stream ${stream}, which there is not`);
  return found;
}

function creditOf(payload: Buffer): number {
  if (payload.length !== 4) throw new ChannelError('credit that is none');
  return payload.readUInt32BE(0);
}

function requestOf(payload: Buffer): Request {
  try {
    const { service, argument, source } = JSON.parse(payload.toString('utf8')) as Record<string, unknown>;
    return { service: String(service), argument: String(argument), source: String(source) };
  } catch {
    throw new ChannelError('a call of nothing');
  }
}

function endAll(incoming: Iterable<Incoming>, outgoing: Iterable<Outgoing>, then: () => void): void {
  for (const stream of incoming) stream.finish();
  for (const stream of outgoing) stream.lose();
  then();
}
