/** What a dom0 under attack is asked to do, and what it answers. Travels between processes. */

import type { Sandbox } from '../../dom0/config/schema.ts';
import type { Patience } from './case.ts';
import type { Attack, Step } from './peer/attack.ts';
import type { Move } from './peer/receiver.ts';

export type CommandName =
  | 'backup'
  | 'audit'
  | 'restore'
  | 'restore-first'
  | 'drill'
  | 'ls'
  | 'needing'
  | 'history'
  | 'diff'
  | 'diff-snapshots'
  | 'extract'
  | 'extract-into'
  | 'check'
  | 'list';

/** Conversations by service. */
export type Recordings = Readonly<Record<string, readonly Step[]>>;

/** Where a dom0 works. */
export interface Place {
  /** The home of the local driver, and in it the file `key-file`. */
  readonly home: string;
  readonly sandbox: Sandbox;
  /** Program folders: hostile services of one conversation a process, and of many. */
  readonly alone: string;
  readonly hosted: string;
  /** Another home, where peers live that must see nothing of the first. */
  readonly elsewhere: string;
}

export interface Job {
  readonly command: CommandName;
  readonly vm: string;
  /** The service that is attacked, or undefined. Other services of the storage VM are served honestly in dom0's process. */
  readonly service: string | undefined;
  readonly attack: Attack;
  /** What disposables say, honest or the base of the attack; without any, real ones run. */
  readonly recordings: Recordings | undefined;
  /** The attacker's process serves many conversations. */
  readonly hosted: boolean;
  /** What the VM does that receives files, if it is the attacker. */
  readonly receiver: readonly Move[] | undefined;
  /** Honest services of the storage VM are processes of their own. */
  readonly apart: boolean;
  /** Milliseconds that count as stuck, where the product's own limits would take too long. */
  readonly patience: Patience;
  /** Open with a passphrase instead of the key file. */
  readonly passphrase: boolean;
  /** Bytes that the volume is said to hold, if not its own. */
  readonly capacity: number | undefined;
  /** The check that is left out, in a copy of the program that was prepared for that (mutants.ts). */
  readonly mutant: string | undefined;
}

export interface Report {
  /** How it failed, if it did. */
  readonly failure: { readonly code: string; readonly message: string } | undefined;
  readonly warnings: number;
  /** What a person, and what a program would have seen. */
  readonly lines: readonly string[];
  readonly events: readonly string[];
  /** What each service of the attacked kind said, as far as it was short. */
  readonly said: readonly Uint8Array[];
  /** What each disposable said, with dom0's frames before each of its own. */
  readonly recorded: Recordings;
  readonly milliseconds: number;
}

export type Message =
  { readonly kind: 'place'; readonly place: Place } | { readonly kind: 'job'; readonly job: Job };
