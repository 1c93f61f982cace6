/** One written case: what the peer does, and what dom0 must do about it. */

import type { ErrorCode } from '../../shared/errors.ts';
import type { CommandName, Recordings } from './job.ts';
import type { Act, Turn } from './peer/attack.ts';
import type { Move } from './peer/receiver.ts';

/**
 * How a command may end: with a typed error; exactly as without the attack; the same with warnings; or with what is the
 * peer's to say and nobody else's to know (a disposable's counts, names, contents of its own VM), in its proper form.
 */
export type Outcome = ErrorCode | 'honest' | 'warned' | 'claimed';

/** What a command may leave in a home: objects in the store, a published root, a root about to be published, a VM, a file, files in a VM. */
export type Trace = 'objects' | 'root' | 'pending' | 'vm' | 'output' | 'incoming' | 'other';

export interface Case {
  readonly id: string;
  /** In words, of the peer. */
  readonly attack: string;
  readonly command: CommandName;
  readonly vm: string;
  readonly service: string;
  readonly turns: readonly Turn[];
  /** What a hostile receiver of files does instead. */
  readonly receiver: readonly Move[] | undefined;
  readonly recount: boolean;
  readonly blurt: boolean;
  /** Exit status of the peer after an honest end. */
  readonly status: number;
  /** The store of a storage VM that throws away what it is given. */
  readonly discards: boolean;
  readonly expected: Outcome;
  /** What may be left when the command fails; nothing unless said. */
  readonly leaves: readonly Trace[];
  /** Milliseconds that count as stuck: idle, owing an answer, for a whole session. */
  readonly patience: Patience;
  /** The other services of the storage VM are processes of their own: where so much is stored that it would count as dom0's. */
  readonly apart: boolean;
  /** By a dom0 that has done nothing before, as every run of the product: where it comes close to the memory that it may take. */
  readonly fresh: boolean;
  /** On a machine that has seen no root yet. */
  readonly clean: boolean;
  /** Opened with a passphrase, not with the key file: as `clean` says, unless given. */
  readonly passphrase: boolean | undefined;
  /** Bytes that the backed-up volume can hold, if not its own. */
  readonly capacity: number | undefined;
  /** What is said instead of the recorded conversation; null for a real disposable. */
  readonly recordings: Readonly<Record<string, Recordings[string] | null>>;
  /** Nothing costly may have been run: what dom0 held grew by less than {@link UNRUN}. */
  readonly unrun: boolean;
  /** What the next command, without any attack, has to end with. */
  readonly next: { readonly command: CommandName; readonly outcome: ErrorCode | 'done' } | undefined;
}

/** KiB: less than the least that a key derivation takes. */
export const UNRUN = 48 * 1024;

export interface Patience {
  readonly idle?: number;
  readonly answer?: number;
  readonly session?: number;
}

/** Fields that most cases do not need. */
const USUAL = {
  vm: 'work',
  recount: true,
  blurt: false,
  status: 0,
  discards: false,
  leaves: [],
  patience: {},
  fresh: false,
  clean: false,
  apart: false,
  unrun: false,
  recordings: {},
  next: undefined,
  receiver: undefined,
  passphrase: undefined,
  capacity: undefined,
} as const;

export type Sketch = Pick<Case, 'id' | 'attack' | 'command' | 'service' | 'turns' | 'expected'> &
  Partial<Case>;

export function caseOf(sketch: Sketch): Case {
  return { ...USUAL, ...sketch };
}

/** At the first frame of `type`. */
export function at(type: number, act: Act, then?: Act): Turn {
  return then === undefined ? { type, nth: 0, act } : { type, nth: 0, act, then };
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
