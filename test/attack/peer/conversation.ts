/** One conversation of a hostile peer: plays a recording, or a live service, as its attack says. */

import type { ByteIo } from '../../../shared/wire/io.ts';
import { Altered, CREDIT, FrameSplitter, MAGIC, PING, PING_FRAME } from './altered.ts';
import type { Doing, Frame } from './altered.ts';
import { MAGIC_TYPE } from './attack.ts';
import type { Script, Step } from './attack.ts';

/** From this type on frames cost credit: their length and so much more. */
const BULK = 0x80;
const FRAME_COST = 256;
/** Bytes of a flood that are said at once. */
const PIECE = 32 * 1024;

/** How a conversation ended: with an exit status, or by a signal. */
export type Ending = number | 'died';

/** What a peer can do to whoever called it. */
export interface Outlet {
  /** The process goes on to another conversation. */
  readonly livesOn: boolean;
  /** Resolves when it was taken. */
  say(bytes: Uint8Array): Promise<void>;
  complain(text: string): Promise<void>;
  /** Ends the output, and not the process. */
  close(): void;
}

/** Serves one session; true if all of it worked. */
export type Live = (io: ByteIo) => Promise<boolean>;

/** Thrown to leave a conversation for good. */
class Left extends Error {
  readonly ending: Ending;

  constructor(ending: Ending) {
    super('left the conversation');
    this.ending = ending;
  }
}

export class Conversation {
  readonly #script: Script;
  readonly #outlet: Outlet;
  readonly #altered: Altered;
  readonly #heard = new FrameSplitter();
  readonly #gone = Promise.withResolvers<undefined>();
  #change = Promise.withResolvers<undefined>();
  #hungUp = false;
  #frames = 0;
  #credit = 0;
  /** For a live service: bytes it has not read yet. */
  readonly #unread: Buffer[] = [];
  readonly #live: boolean;
  /** It left the conversation; what the live service goes on to say is not said. */
  #left = false;

  constructor(script: Script, outlet: Outlet) {
    this.#script = script;
    this.#outlet = outlet;
    this.#altered = new Altered(script.attack);
    this.#live = script.steps === undefined;
  }

  /** dom0 said something. */
  hear(bytes: Uint8Array): void {
    if (this.#live) this.#unread.push(Buffer.from(bytes));
    if (this.#script.plain !== true) for (const frame of this.#heard.take(bytes)) this.#count(frame);
    this.#wake();
  }

  /** dom0 will say no more. */
  hangUp(): void {
    this.#hungUp = true;
    this.#gone.resolve(undefined);
    this.#wake();
  }

  /** Plays to the end. `live` serves a script without a recording. */
  async run(live: Live | undefined): Promise<Ending> {
    try {
      if (this.#script.plain === true && live !== undefined) return (await live(this.#io())) ? 0 : 1;
      if (this.#script.steps !== undefined) await this.#replay(this.#script.steps);
      else if (live !== undefined) return (await this.#serve(live)) ? this.#script.attack.status : 1;
      await this.#gone.promise;
      return this.#script.attack.status;
    } catch (error) {
      if (error instanceof Left) return error.ending;
      throw error;
    }
  }

  async #replay(steps: readonly Step[]): Promise<void> {
    await this.#take({ type: MAGIC_TYPE, payload: MAGIC });
    for (const { type, payload: encoded, after } of steps) {
      const payload = Buffer.from(encoded, 'base64');
      const cost = type < BULK ? 0 : payload.length + FRAME_COST;
      const blurts = () => this.#script.attack.blurt && this.#altered.astray;
      await this.#until(() => blurts() || (this.#frames >= after && this.#credit >= cost));
      this.#credit -= cost;
      await this.#take({ type, payload });
    }
    for (const doing of this.#altered.finish()) await this.#do(doing);
  }

  /** What the service says is taken apart and altered; what dom0 says reaches it as it is. */
  async #serve(live: Live): Promise<boolean> {
    const said = new FrameSplitter();
    const left = Promise.withResolvers<never>();
    left.promise.catch(() => undefined); // Raced below; it may come later.
    const io: ByteIo = {
      ...this.#io(),
      write: async (pieces) => {
        try {
          for (const frame of said.take(Buffer.concat(pieces))) if (!this.#left) await this.#take(frame);
        } catch (error) {
          this.#left = true;
          left.reject(error);
          throw error;
        }
      },
    };
    const serving = live(io);
    try {
      return await Promise.race([serving, left.promise]);
    } finally {
      // In a process that lives on, the service must be over before the next conversation begins.
      if (this.#left && this.#outlet.livesOn) {
        this.#outlet.close();
        this.hangUp();
        await Promise.allSettled([serving]);
      }
    }
  }

  /** What is heard and said, as it is. */
  #io(): ByteIo {
    return {
      read: async (target) => {
        await this.#until(() => this.#unread.length > 0, true);
        const first = this.#unread[0];
        if (first === undefined) return 0;
        const count = first.copy(target);
        if (count === first.length) this.#unread.shift();
        else this.#unread[0] = first.subarray(count);
        return count;
      },
      write: (pieces) => this.#outlet.say(Buffer.concat(pieces)),
    };
  }

  async #take(frame: Frame): Promise<void> {
    for (const doing of this.#altered.take(frame)) await this.#do(doing);
  }

  async #do(doing: Doing): Promise<void> {
    if ('what' in doing) {
      if (doing.granted) return this.#sayAsGranted(doing.bytes, doing.times);
      // Small ones many at a time: a flood is to be one.
      const many = Math.max(1, Math.min(doing.times, Math.floor(PIECE / Math.max(1, doing.bytes.length))));
      const piece = Buffer.concat(Array.from({ length: many }, () => doing.bytes));
      for (let said = 0; said < doing.times && !this.#hungUp; said += many)
        await this.#outlet.say(piece.subarray(0, (doing.times - said) * doing.bytes.length));
      return;
    }
    switch (doing.do) {
      case 'stderr':
        for (let i = 0; i < doing.times && !this.#hungUp; i++) await this.#outlet.complain(doing.text);
        return;
      case 'trickle':
        return this.#drip(doing.every, () => Uint8Array.of(0));
      case 'ping':
        return this.#drip(doing.every, () => PING_FRAME);
      case 'close':
        this.#outlet.close();
        break;
      case 'exit':
        throw new Left(doing.status);
      case 'die':
        throw new Left('died');
      case 'stall':
        break;
    }
    await this.#gone.promise;
    throw new Left(1);
  }

  async #sayAsGranted(bytes: Buffer, times: number): Promise<void> {
    const cost = bytes.length + FRAME_COST;
    for (let said = 0; said < times; said++) {
      await this.#until(() => this.#credit >= cost);
      this.#credit -= cost;
      await this.#outlet.say(bytes);
    }
  }

  /** Says a little now and then until dom0 has enough. */
  async #drip(every: number, what: () => Uint8Array): Promise<never> {
    while (!this.#hungUp) {
      await this.#outlet.say(what());
      const pause = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => pause.resolve(undefined), every);
      await Promise.race([pause.promise, this.#gone.promise]);
      clearTimeout(timer);
    }
    throw new Left(1);
  }

  #count({ type, payload }: Frame): void {
    if (type === CREDIT) this.#credit += creditOf(payload);
    else if (type !== PING && type !== MAGIC_TYPE) this.#frames += 1;
  }

  async #until(condition: () => boolean, orEnd = false): Promise<void> {
    while (!condition()) {
      if (this.#hungUp) {
        if (orEnd) return;
        throw new Left(1);
      }
      await this.#change.promise;
    }
  }

  #wake(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers();
    resolve(undefined);
  }
}

/** The number in `{bytes: N}`, which is all that a credit frame holds. */
function creditOf(payload: Buffer): number {
  const at = 1 + 1 + 'bytes'.length;
  const info = payload.readUInt8(at) & 0x1f;
  if (info < 24) return info;
  const size = 1 << (info - 24);
  return size === 8 ? Number(payload.readBigUInt64BE(at + 1)) : payload.readUIntBE(at + 1, size);
}
