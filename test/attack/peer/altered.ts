/** Puts an attack into effect: honest frames in, what the hostile peer does out. */

import { MAGIC_TYPE } from './attack.ts';
import type { Act, Attack } from './attack.ts';
import { countItems, edited, head } from './cbor.ts';

export const MAGIC = Buffer.from('\x89QIB\r\n\x1a\x04', 'latin1');
export const NEWER_MAGIC = Buffer.concat([MAGIC.subarray(0, 7), Buffer.of(MAGIC.readUInt8(7) + 1)]);
const HEADER = 5;
/** Bytes of one row of a listing, and rows of a page. */
const ROW = 36;
const ROWS = Math.floor((1024 * 1024) / ROW);
export const END = 0x01;
export const CREDIT = 0x03;
export const PING = 0x04;

export interface Frame {
  readonly type: number;
  readonly payload: Buffer;
}

/** A frame as bytes; `length` is what its header says. */
export function frameBytes(type: number, payload: Uint8Array, length = payload.length): Buffer {
  if (type === MAGIC_TYPE) return Buffer.from(payload);
  const header = Buffer.alloc(HEADER);
  header[0] = type;
  header.writeUInt32BE(length, 1);
  return Buffer.concat([header, payload]);
}

export const PING_FRAME = frameBytes(PING, head(5, 0));

/** What to do, in order. */
export type Doing =
  /** `granted`: not before dom0 granted as much. */
  | { readonly what: 'say'; readonly bytes: Buffer; readonly times: number; readonly granted: boolean }
  | Extract<Act, { do: 'trickle' | 'ping' | 'stall' | 'close' | 'exit' | 'die' | 'stderr' }>;

export class Altered {
  readonly #attack: Attack;
  readonly #seen = new Map<number | undefined, number>();
  /** Frames that wait for the one after them. */
  #held: Frame[] = [];
  /** An acknowledgement that waits for another one; credit may well come between them. */
  #heldAck: Frame | undefined;
  #said = { frames: 0, bytes: 0 };
  /** Bytes of the magic, or of what is said for it, that are to come. */
  #unsaidMagic = MAGIC.length;
  /** True once the peer left the honest conversation. */
  astray = false;

  constructor(attack: Attack) {
    this.#attack = attack;
  }

  /** What the peer does where an honest one would say `frame`. */
  take(frame: Frame): Doing[] {
    const nth = new Map<number | undefined, number>();
    for (const key of [undefined, frame.type]) {
      nth.set(key, this.#seen.get(key) ?? 0);
      this.#seen.set(key, (this.#seen.get(key) ?? 0) + 1);
    }
    const turn = this.#attack.turns.find(({ type, nth: at, onwards }) => {
      const place = nth.get(type);
      return place === at || (onwards === true && place !== undefined && place > at);
    });
    const held = this.#held;
    this.#held = [];
    if (this.#heldAck !== undefined && [this.#heldAck.type, END].includes(frame.type)) {
      held.push(this.#heldAck);
      this.#heldAck = undefined;
    }
    if (turn !== undefined) this.astray = true;
    const now = turn === undefined ? this.#honest(frame) : this.#act(turn.act, frame);
    if (turn?.then !== undefined) now.push(...this.#act(turn.then, frame));
    return [...now, ...held.flatMap((one) => this.#honest(one))];
  }

  /** What is left to say after the last frame. */
  finish(): Doing[] {
    return this.#held.splice(0).flatMap((frame) => this.#honest(frame));
  }

  #honest(frame: Frame): Doing[] {
    if (frame.type !== END || !this.#attack.recount) return this.#say(frameOf(frame));
    const { frames, bytes } = this.#said;
    const counts = [text('bytes'), head(0, bytes), text('frames'), head(0, frames)];
    return this.#say(frameBytes(END, Buffer.concat([head(5, 2), ...counts])));
  }

  #act(act: Act, frame: Frame): Doing[] {
    const { type, payload } = frame;
    switch (act.do) {
      case 'say':
        return this.#say(Buffer.from(act.bytes, 'base64'));
      case 'insert':
        return [
          ...this.#say(Buffer.from(act.bytes, 'base64'), act.times, act.granted === true),
          ...this.#honest(frame),
        ];
      case 'frame': {
        const other = act.payload === undefined ? payload : Buffer.from(act.payload, 'base64');
        return this.#say(frameBytes(act.type ?? type, other, act.length ?? other.length));
      }
      case 'cbor':
        return this.#say(frameBytes(type, edited(payload, act.item, act.edit)));
      case 'shrink': {
        const at = Math.floor(act.at * Math.max(0, payload.length - act.bytes));
        return this.#say(
          frameBytes(type, Buffer.concat([payload.subarray(0, at), payload.subarray(at + act.bytes)])),
        );
      }
      case 'grow': {
        const at = Math.floor(act.at * payload.length);
        const parts = [payload.subarray(0, at), Buffer.from(act.bytes, 'base64'), payload.subarray(at)];
        return this.#say(frameBytes(type, Buffer.concat(parts)));
      }
      case 'flip': {
        const changed = Buffer.from(payload);
        const at = Math.min(Math.floor(act.at * changed.length), changed.length - 1);
        if (at >= 0) changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
        return this.#say(frameBytes(type, changed));
      }
      case 'cut': {
        const whole = frameOf(frame);
        return this.#say(whole.subarray(0, Math.max(0, whole.length - act.bytes)));
      }
      case 'drop':
        return [];
      case 'repeat':
        return this.#say(frameOf(frame), act.times);
      case 'swap':
        this.#held.push(frame);
        return [];
      case 'zeros': {
        const zeros = this.#say(
          frameBytes(act.type, Buffer.alloc(act.size)),
          act.times,
          act.granted === true,
        );
        return act.instead === true ? zeros : [...zeros, ...this.#honest(frame)];
      }
      case 'swap-acks':
        // Of two objects in one acknowledgement the second is item 8.
        if (countItems(payload) > 8)
          return this.#say(frameBytes(type, edited(payload, 8, { how: 'unsort' })));
        this.#heldAck = frame;
        return [];
      case 'sizes': {
        const changed = Buffer.from(payload);
        for (let at = ROW - 4; at < changed.length; at += ROW) changed.writeUInt32BE(act.size, at);
        return this.#say(frameBytes(type, changed));
      }
      case 'list-many':
        return pagesOf(act.rows).flatMap((page) => this.#say(frameBytes(type, page), 1, true));
      case 'stderr':
        return [act, ...this.#honest(frame)];
      default:
        return [act];
    }
  }

  #say(bytes: Buffer, times = 1, granted = false): Doing[] {
    // What stands where the magic belongs is no frame.
    const start = Math.min(this.#unsaidMagic, bytes.length);
    this.#unsaidMagic -= start;
    for (let at = start; at + HEADER <= bytes.length;) {
      const size = HEADER + bytes.readUInt32BE(at + 1);
      this.#said.frames += times;
      this.#said.bytes += size * times;
      at += size;
    }
    return [{ what: 'say', bytes, times, granted }];
  }
}

/** Pages of a listing of `rows` objects of 5,000 bytes, in order. */
function pagesOf(rows: number): Buffer[] {
  const pages: Buffer[] = [];
  for (let first = 0; first < rows; first += ROWS) {
    const page = Buffer.alloc(Math.min(ROWS, rows - first) * ROW);
    for (let at = 0; at < page.length; at += ROW) {
      page.writeUInt32BE(first + at / ROW, at);
      page.writeUInt32BE(5000, at + ROW - 4);
    }
    pages.push(page);
  }
  return pages;
}

function frameOf({ type, payload }: Frame): Buffer {
  return frameBytes(type, payload);
}

function text(value: string): Buffer {
  return Buffer.concat([head(3, value.length), Buffer.from(value, 'latin1')]);
}

/** Takes frames off a byte stream as they become complete; the first is the magic. */
export class FrameSplitter {
  #pending: Buffer = Buffer.alloc(0);
  #begun = false;

  take(bytes: Uint8Array): Frame[] {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    const frames: Frame[] = [];
    for (;;) {
      const size = this.#begun ? this.#frameSize() : MAGIC.length;
      if (size === undefined || this.#pending.length < size) return frames;
      const whole = this.#pending.subarray(0, size);
      this.#pending = this.#pending.subarray(size);
      frames.push(
        this.#begun
          ? { type: whole.readUInt8(0), payload: whole.subarray(HEADER) }
          : { type: MAGIC_TYPE, payload: whole },
      );
      this.#begun = true;
    }
  }

  #frameSize(): number | undefined {
    return this.#pending.length < HEADER ? undefined : HEADER + this.#pending.readUInt32BE(1);
  }
}
