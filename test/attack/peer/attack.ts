/**
 * What a hostile peer is told to do: an honest conversation, recorded or live, and the places where it leaves it. All
 * of it is data, so that a case can be written down, generated, printed, and played by a process in a sandbox that
 * knows nothing else.
 */

/** Bytes as base64: attacks travel as JSON. */
export type Base64 = string;

/** One frame that an honest service said. */
export interface Step {
  readonly type: number;
  readonly payload: Base64;
  /** Frames of dom0 that had come before it, without pings and credit. */
  readonly after: number;
}

/** Type of the magic, which counts as a peer's first frame. */
export const MAGIC_TYPE = -1;

/** How one item of a frame's CBOR is changed; items are counted in the order they are encoded, map keys included. */
export type Edit =
  /** Other bytes in place of the item. */
  | { readonly how: 'replace'; readonly bytes: Base64 }
  /** The same head in a longer form, by so many steps. */
  | { readonly how: 'lengthen'; readonly steps: number }
  /** The item's number, or its length without its content, becomes this. */
  | { readonly how: 'number'; readonly value: number }
  /** The same head with another major type. */
  | { readonly how: 'major'; readonly major: number }
  | { readonly how: 'tag'; readonly tag: number }
  /** Strings, arrays and maps of unstated length. */
  | { readonly how: 'indefinite' }
  /** The item within so many arrays. */
  | { readonly how: 'nest'; readonly depth: number }
  /** The item (of a map: the pair) left out, or said so many times; the count of what holds it fits. */
  | { readonly how: 'times'; readonly times: number }
  /** A pair more in the map that holds the item. */
  | { readonly how: 'field'; readonly key: string }
  /** The pair of the item and the one before it exchanged. */
  | { readonly how: 'unsort' }
  /** One bit of the item's bytes, at this share of them, the other way. */
  | { readonly how: 'flip'; readonly at: number };

/** What is done with a frame, instead of saying it. */
export type Act =
  /** These bytes in its place, or before it. */
  | { readonly do: 'say'; readonly bytes: Base64 }
  /** `granted`: each time not before dom0 granted as much. */
  | { readonly do: 'insert'; readonly bytes: Base64; readonly times: number; readonly granted?: true }
  /** With another type, payload or stated length; what is not given is the frame's own. */
  | {
      readonly do: 'frame';
      readonly type?: number;
      readonly payload?: Base64;
      readonly length?: number;
    }
  | { readonly do: 'cbor'; readonly item: number; readonly edit: Edit }
  /** Bytes left out of its payload or added to it, at this share of it; the length fits. */
  | { readonly do: 'shrink'; readonly bytes: number; readonly at: number }
  | { readonly do: 'grow'; readonly bytes: Base64; readonly at: number }
  | { readonly do: 'flip'; readonly at: number }
  /** The last bytes of the frame never come. */
  | { readonly do: 'cut'; readonly bytes: number }
  | { readonly do: 'drop' }
  | { readonly do: 'repeat'; readonly times: number }
  /** After the frame that follows. */
  | { readonly do: 'swap' }
  /** One byte at a time, so many milliseconds apart, for ever. */
  | { readonly do: 'trickle'; readonly every: number }
  /** Nothing but signs of life, so many milliseconds apart, for ever. */
  | { readonly do: 'ping'; readonly every: number }
  /** So many frames of so many zeros before the frame, or in its place; `granted` as above. */
  | {
      readonly do: 'zeros';
      readonly type: number;
      readonly size: number;
      readonly times: number;
      readonly granted?: true;
      readonly instead?: true;
    }
  /** Of an acknowledgement: its objects in the other order, or it comes after the next one. */
  | { readonly do: 'swap-acks' }
  /** Of a listing: every object of this size; or so many rows in their order, as fast as they are granted. */
  | { readonly do: 'sizes'; readonly size: number }
  | { readonly do: 'list-many'; readonly rows: number }
  | { readonly do: 'stall' }
  /** No more output, but no end of the process either. */
  | { readonly do: 'close' }
  | { readonly do: 'exit'; readonly status: number }
  | { readonly do: 'die' }
  /** Text on stderr, then the frame. */
  | { readonly do: 'stderr'; readonly text: string; readonly times: number };

/** One place where the peer leaves the honest conversation. */
export interface Turn {
  /** The frame: the `nth` (from 0) of `type`, or of all. */
  readonly type?: number;
  readonly nth: number;
  /** That one and all after it. */
  readonly onwards?: true;
  readonly act: Act;
  /** Done right after it. */
  readonly then?: Act;
}

export interface Attack {
  readonly turns: readonly Turn[];
  /** The final frame counts what was really said. */
  readonly recount: boolean;
  /** From the first turn on nothing is waited for: neither dom0's frames nor its credit. */
  readonly blurt: boolean;
  /** Exit status after an honest end. */
  readonly status: number;
  /** A storage VM's service works on a store that nobody reads. */
  readonly discards: boolean;
}

export const HONEST: Attack = { turns: [], recount: true, blurt: false, status: 0, discards: false };

/** All that a peer needs for one conversation. */
export interface Script {
  readonly service: string;
  readonly attack: Attack;
  /** The recorded conversation; a storage VM's service without one is the real one, on the store it is given. */
  readonly steps: readonly Step[] | undefined;
  /** The real service as it is: who calls it is the attacker, and what that says need be no frame. */
  readonly plain?: true;
}
