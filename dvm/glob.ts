/**
 * Globs over bytes: `*` any bytes but `/`, `**` any bytes, `**` and a slash at the start of a component any number of
 * directories or none, `?` one byte but `/`, `[a-z]` and `[!a-z]` one byte of a set but `/`, `\` takes the next
 * character as it is, `\xHH` is a byte. A `[` that is never closed stands for itself. A leading dot is nothing special.
 *
 * Names come from hostile volumes, so no pattern may make matching slow: all states are followed at once (Thompson,
 * "Regular Expression Search Algorithm", 1968), which takes time in proportion to pattern times text. A library that
 * turns globs into regular expressions of JavaScript backtracks.
 */

import type { ByteString } from '../shared/bytes.ts';

/** Takes one byte of `accepts`; with `repeats` any number of them. */
interface Step {
  readonly accepts: Uint8Array;
  readonly repeats: boolean;
}

/** `skip`: how many steps may be left out from here on, together. */
type Node = Step | { readonly skip: number };

const SLASH = 0x2f;
const ANY = new Uint8Array(256).fill(1);
const IN_NAME = accepting((code) => code !== SLASH);

/** True for texts that `pattern` matches from start to end. */
export function compileGlob(pattern: ByteString): (text: ByteString) => boolean {
  const matcher = new Matcher(new Parser(pattern).parse());
  return (text) => matcher.matches(text);
}

class Matcher {
  readonly #nodes: readonly Node[];
  /** The step at which each state was last reached: a state counts once in a step. */
  readonly #reachedAt: Float64Array;
  #step = 0;

  constructor(nodes: readonly Node[]) {
    this.#nodes = nodes;
    this.#reachedAt = new Float64Array(nodes.length + 1);
  }

  matches(text: ByteString): boolean {
    let states: number[] = [];
    this.#step += 1;
    this.#reach(0, states);
    for (let i = 0; i < text.length && states.length > 0; i++) {
      const code = text.charCodeAt(i);
      const next: number[] = [];
      this.#step += 1;
      for (const state of states) {
        const node = this.#nodes[state];
        if (node === undefined || 'skip' in node || node.accepts[code] !== 1) continue;
        this.#reach(node.repeats ? state : state + 1, next);
      }
      states = next;
    }
    return states.includes(this.#nodes.length);
  }

  /** Adds `state`, and all that are reached from it without taking a byte, to `states`. */
  #reach(state: number, states: number[]): void {
    for (let at = state; this.#reachedAt[at] !== this.#step; at++) {
      this.#reachedAt[at] = this.#step;
      states.push(at);
      const node = this.#nodes[at];
      if (node === undefined || !('skip' in node || node.repeats)) return;
      if ('skip' in node) this.#reach(at + 1 + node.skip, states);
    }
  }
}

class Parser {
  readonly #pattern: ByteString;
  #at = 0;

  constructor(pattern: ByteString) {
    this.#pattern = pattern;
  }

  parse(): Node[] {
    const nodes: Node[] = [];
    while (this.#at < this.#pattern.length) {
      const char = this.#pattern.charAt(this.#at);
      if (char === '*') nodes.push(...this.#stars());
      else nodes.push({ accepts: this.#one(char), repeats: false });
    }
    return nodes;
  }

  #stars(): Node[] {
    const start = this.#at;
    while (this.#pattern.charAt(this.#at) === '*') this.#at += 1;
    if (this.#at - start === 1) return [{ accepts: IN_NAME, repeats: true }];
    const any = { accepts: ANY, repeats: true };
    const startsComponent = start === 0 || this.#pattern.charCodeAt(start - 1) === SLASH;
    if (!startsComponent || this.#pattern.charCodeAt(this.#at) !== SLASH) return [any];
    this.#at += 1;
    return [{ skip: 2 }, any, { accepts: only(SLASH), repeats: false }];
  }

  /** The set of bytes that the pattern allows next. */
  #one(char: string): Uint8Array {
    if (char === '?') {
      this.#at += 1;
      return IN_NAME;
    }
    const set = char === '[' ? this.#set() : undefined;
    return set ?? only(this.#byte());
  }

  /** One byte of the pattern, escaped or not. */
  #byte(): number {
    const rest = this.#pattern.slice(this.#at, this.#at + 4);
    const byte = /^\\x([0-9a-fA-F]{2})/.exec(rest)?.[1];
    if (byte !== undefined) {
      this.#at += 4;
      return parseInt(byte, 16);
    }
    const isEscape = rest.startsWith('\\') && rest.length > 1;
    this.#at += isEscape ? 2 : 1;
    return rest.charCodeAt(isEscape ? 1 : 0);
  }

  /** A bracket expression, or undefined (and nothing taken) if it is not closed. */
  #set(): Uint8Array | undefined {
    const start = this.#at;
    this.#at += 1;
    const negated = ['!', '^'].includes(this.#pattern.charAt(this.#at));
    if (negated) this.#at += 1;
    const set = new Uint8Array(256);
    for (let first = true; this.#at < this.#pattern.length; first = false) {
      if (this.#pattern.charAt(this.#at) === ']' && !first) {
        this.#at += 1;
        return accepting((code) => code !== SLASH && (set[code] === 1) !== negated);
      }
      const low = this.#byte();
      // A hyphen at the end of the set stands for itself.
      const isRange =
        this.#pattern.charAt(this.#at) === '-' && !['', ']'].includes(this.#pattern.charAt(this.#at + 1));
      if (isRange) this.#at += 1;
      const high = isRange ? this.#byte() : low;
      for (let code = low; code <= high; code++) set[code] = 1;
    }
    this.#at = start;
    return undefined;
  }
}

function only(byte: number): Uint8Array {
  return accepting((code) => code === byte);
}

function accepting(test: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (test(code) ? 1 : 0));
}
